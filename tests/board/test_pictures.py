"""The main pages look as the pictures in `docs/images/` do; `MLRUN_PICTURES=write` takes new ones."""

from __future__ import annotations

import io
import math
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import mlrun
from mlrun.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT = Path(__file__).parents[2] / "docs" / "images"
WRITE = os.environ.get("MLRUN_PICTURES") == "write"
GRID = (
    64,
    45,
)  # in so many fields pictures are compared: fonts and times may differ, what stands where may not
ALIKE = 0.85  # correlation of what is drawn where


@pytest.fixture
def experiments() -> dict[str, str]:
    """Log twelve runs that learn, each a little differently; returns their ids by name."""
    chance = random.Random(7)
    ids = {}
    for number in range(12):
        lr = (0.0003, 0.001, 0.003, 0.01)[number % 4]
        hidden = (32, 64, 96)[number % 3]
        name = f"mlp-{hidden}-{lr}"
        config = {"lr": lr, "hidden": hidden, "batch": 64}
        with mlrun.init(
            project="digits", name=name, config=config, tags=["baseline"] if number < 4 else []
        ) as run:
            pace = 0.02 + 8 * lr + hidden / 4000
            for step in range(200):
                noise = chance.gauss(0, 0.02)
                loss = 2.3 * math.exp(-pace * step / 4) + 0.1 + abs(noise)
                run.log(
                    {
                        "loss": loss,
                        "val/loss": loss * 1.1 + 0.03,
                        "val/accuracy": 1 - 0.4 * loss / 2.4 - 0.02,
                    },
                    step=step,
                )
            run.log_result("accuracy", round(1 - 0.4 * loss / 2.4 - 0.02, 4))
            ids[name] = run.id
    return ids


def ink(png: bytes) -> np.ndarray[Any, Any]:
    """Return how much is drawn in each of few fields of a picture: the distance from its background."""
    with Image.open(io.BytesIO(png)) as picture:
        grey = np.asarray(picture.convert("L"), dtype=float)
        drawn = Image.fromarray(np.abs(grey - np.median(grey)))
        return np.asarray(drawn.resize(GRID, Image.Resampling.BOX))


def likeness(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Return how alike two pictures are: 1 the same, 0 nothing in common."""
    if not (one.std() and other.std()):
        return 0.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@pytest.mark.slow
def test_the_main_pages_look_as_they_did(
    experiments: dict[str, str], dashboard: Callable[..., Any], browser: Any
) -> None:
    board = dashboard(open_store().url)
    ids = list(experiments.values())
    pages = {
        "runs": board.at("runs", project="digits"),
        "run": board.at("run", id=ids[5], room="charts"),
        "compare": board.at("compare", id=ids[:6], project="digits"),
    }
    alike = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        page.set_default_timeout(60_000)
        for name, address in pages.items():
            page.goto(address)
            page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()
            page.locator(
                '[data-testid="stVegaLiteChart"], [data-testid="stDataFrame"]'
            ).first.wait_for()
            page.wait_for_timeout(1500)  # charts and tables draw themselves
            taken = page.screenshot(animations="disabled")
            kept = KEPT / f"{name}-{scheme}.png"
            if WRITE:
                with Image.open(io.BytesIO(taken)) as picture:
                    kept.parent.mkdir(exist_ok=True)
                    picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(
                        kept, optimize=True
                    )
            alike[kept.name] = likeness(ink(taken), ink(kept.read_bytes()))
        context.close()
    assert min(alike.values()) > ALIKE, alike


def test_a_page_that_lost_its_table_is_told() -> None:
    with Image.open(KEPT / "runs-light.png") as picture:
        whole = picture.convert("RGB")
    broken = whole.copy()
    broken.paste((255, 255, 255), (310, 300, 1280, 900))
    found = []
    for one in (whole, broken):
        file = io.BytesIO()
        one.save(file, "PNG")
        found.append(ink(file.getvalue()))
    assert likeness(*found) < ALIKE
    assert likeness(found[0], found[0]) > ALIKE
