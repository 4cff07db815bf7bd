"""The main pages look as the pictures in `docs/images/` do, and have no grave faults for those who cannot see them.

`MLRUN_PICTURES=write` takes new pictures.
"""

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

pytestmark = pytest.mark.xdist_group("browser")  # one dashboard serves them all

KEPT = Path(__file__).parents[2] / "docs" / "images"
WRITE = os.environ.get("MLRUN_PICTURES") == "write"
GRID = (
    64,
    45,
)  # in so many fields pictures are compared: fonts and times may differ, what stands where may not
ALIKE = 0.85  # correlation of what is drawn where
GRAVE = ("serious", "critical")
# faults of Streamlit's own markup: the rule, and what the fault lies in. Its list of pages has sections between the
# list and its items
STREAMLIT = (("list", "[data-testid=stSidebarNav]"), ("listitem", "[data-testid=stSidebarNav]"))
SHOWS = '[data-testid="stVegaLiteChart"], [data-testid="stDataFrame"]'
BUSY = "[data-testid=stApp][data-test-script-state=running], [data-testid=stSkeleton], [data-stale=true]"
GROUND = "() => getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"


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


def faults(page: Any, *rules: str) -> list[tuple[str, str, str]]:
    """Return the grave faults of a page that are not Streamlit's own: rule, markup, and what is wrong with it."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    options: dict[str, Any] = {"resultTypes": ["violations"]}  # what passes is not described
    found = axe.run(page, options={**options, **({"runOnly": list(rules)} if rules else {})})
    return [
        (fault["id"], node["html"][:160], str(node.get("failureSummary"))[:300])
        for fault in found.response["violations"]
        if fault["impact"] in GRAVE
        for node in fault["nodes"]
        if not any(
            fault["id"] == rule and lies_in(page, node["target"][-1], place)
            for rule, place in STREAMLIT
        )
    ]


def lies_in(page: Any, selector: str, place: str) -> bool:
    lies = "([one, place]) => !!document.querySelector(one)?.closest(place)"
    return bool(page.evaluate(lies, [selector, place]))


def compared(page: Any, name: str) -> float:
    """Return how like the page is to its picture; takes the picture if that is asked for."""
    taken = page.screenshot(animations="disabled")
    kept = KEPT / f"{name}.png"
    if WRITE:
        with Image.open(io.BytesIO(taken)) as picture:
            kept.parent.mkdir(exist_ok=True)
            few = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
            few.save(kept, optimize=True)
    return likeness(ink(taken), ink(kept.read_bytes()))


@pytest.mark.slow
def test_the_main_pages_look_as_they_did_and_have_no_grave_fault_in_light_or_dark(
    experiments: dict[str, str], dashboard: Callable[..., Any], page: Any
) -> None:
    """Each page is opened once: it follows the system from light to dark, and only colours depend on that."""
    board = dashboard(open_store().url)
    ids = list(experiments.values())
    with pytest.raises(ValueError, match="bad"), mlrun.init(project="other", name="fails"):
        raise ValueError("bad")
    addresses = {
        "runs": board.at("runs", project="digits"),
        "run": board.at("run", id=ids[5], room="charts"),
        "compare": board.at("compare", id=ids[:6], project="digits"),
        "home": board.at("home"),
        "overview": board.at("run", id=ids[5]),
        "sql": board.at("sql"),
    }
    alike, wrong, grounds = {}, {}, set()
    page.set_default_timeout(60_000)
    for name, address in addresses.items():
        page.emulate_media(color_scheme="light")
        page.goto(address)
        page.get_by_role("heading", level=1).first.wait_for()
        page.wait_for_function("busy => !document.querySelector(busy)", arg=BUSY)
        if name not in ("sql", "overview"):
            page.locator(SHOWS).first.wait_for()
        for scheme, rules in (("light", ()), ("dark", ("color-contrast",))):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(
                1000
            )  # charts draw themselves; what fades in has no contrast before
            grounds.add((scheme, page.evaluate(GROUND)))
            if (KEPT / f"{name}-{scheme}.png").exists():
                alike[f"{name}-{scheme}"] = compared(page, f"{name}-{scheme}")
            if found := faults(page, *rules):
                wrong[f"{name}-{scheme}"] = found
    assert len(alike) == 6
    assert len({ground for _, ground in grounds}) == len(grounds) == 2
    assert min(alike.values()) > ALIKE, alike
    assert not wrong, wrong


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
