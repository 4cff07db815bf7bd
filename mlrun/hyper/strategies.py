"""Strategies: hyperparams to the parameters of each iteration."""

from __future__ import annotations

import csv
import json
import math
import random
from itertools import islice
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mlrun.hyper.options import HyperParamOptions

__all__ = ["Plan", "given_hyperparams", "plan", "read_param_file"]

_RANDOM_DRAWS = 10


class Plan:
    """The iterations of a job: how many, and the parameters of each, made when they are asked for.

    Attributes:
        size: number of iterations.
        keys: the hyperparameters, in the order given.
    """

    def __init__(self, keys: tuple[str, ...], size: int, draw: Iterator[dict[str, Any]]) -> None:
        self.keys = keys
        self.size = size
        self._draw = draw

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._draw


def plan(hyperparams: Mapping[str, Any] | None, options: HyperParamOptions) -> Plan:
    """Return the iterations of "grid", "list" or "random".

    Raises:
        ConfigError: there are no hyperparams, or they come twice; a value is no list; lists of unequal length.
    """
    values, from_csv = _values(hyperparams, options)
    strategy = options.strategy or ("list" if from_csv else "grid")
    if from_csv and strategy != "list":
        raise ConfigError(
            f"the rows of a CSV file are the iterations (strategy 'list'), not {strategy!r}"
        )
    keys = tuple(values)
    if strategy == "list":
        return Plan(keys, _length(values), _zipped(values))
    if strategy == "random":
        size = options.max_iterations or _RANDOM_DRAWS
        return Plan(keys, size, islice(_draws(values, options.seed), size))
    return Plan(keys, math.prod(len(v) for v in values.values()), _grid(values))


def read_param_file(path: str | Path, text: str) -> tuple[dict[str, list[Any]], bool]:
    """Read hyperparams from the text of a file; returns them and whether it is CSV.

    Cells of a CSV file become numbers, booleans or None where they look like it, as JSON would read them.

    Raises:
        ConfigError: neither JSON with an object of lists, nor CSV with a header and rows of equal length.
    """
    name = str(path)
    if name.lower().rsplit("?", 1)[0].endswith(".csv"):
        rows = list(csv.reader(text.splitlines()))
        rows = [row for row in rows if row]
        if len(rows) < 2:
            raise ConfigError(f"{name}: a header and at least one row are wanted")
        header = [cell.strip() for cell in rows[0]]
        if bad := [i for i, row in enumerate(rows, 1) if len(row) != len(header)]:
            raise ConfigError(f"{name}: row {bad[0]} has not {len(header)} cells as the header has")
        return {key: [_cell(row[i]) for row in rows[1:]] for i, key in enumerate(header)}, True
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{name}: neither .csv nor JSON: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{name}: an object of lists is wanted")
    return found, False


def given_hyperparams(
    hyperparams: Mapping[str, Any] | None, options: HyperParamOptions
) -> tuple[Mapping[str, Any], bool]:
    """Return the hyperparams, from the file if there is one, and whether it is a CSV file.

    Raises:
        ConfigError: there are none, or they come twice.
    """
    from_csv = False
    if options.param_file:
        if hyperparams:
            raise ConfigError("give hyperparams or a param_file, not both")
        hyperparams, from_csv = _read(options.param_file)
    if not hyperparams:
        raise ConfigError("a hyperparameter job needs hyperparams: {'lr': [0.1, 0.01]}")
    return hyperparams, from_csv


def _values(
    hyperparams: Mapping[str, Any] | None, options: HyperParamOptions
) -> tuple[dict[str, list[Any]], bool]:
    given, from_csv = given_hyperparams(hyperparams, options)
    out = {}
    for key, values in given.items():
        if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
            raise ConfigError(f"hyperparams[{key!r}] is a list of values, not {values!r:.80}")
        out[str(key)] = list(values)
        if not out[str(key)]:
            raise ConfigError(f"hyperparams[{key!r}] is empty: there is nothing to run")
    return out, from_csv


def _read(param_file: str) -> tuple[dict[str, list[Any]], bool]:
    from mlrun.execution.inputs import input_item

    with input_item(param_file).open() as file:
        text = file.read()
    return read_param_file(param_file, text.decode("utf-8-sig"))


def _cell(text: str) -> Any:
    text = text.strip()
    try:
        return json.loads(text)
    except ValueError:
        return {"": None, "True": True, "False": False, "None": None}.get(text, text)


def _grid(values: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination; the first key varies fastest."""
    for number in range(math.prod(len(v) for v in values.values())):
        row = {}
        for key, options in values.items():
            number, place = divmod(number, len(options))
            row[key] = options[place]
        yield row


def _length(values: dict[str, list[Any]]) -> int:
    lengths = {len(v) for v in values.values()}
    if len(lengths) > 1:
        told = ", ".join(f"{k} has {len(v)}" for k, v in values.items())
        raise ConfigError(f"strategy 'list' wants lists of one length: {told}")
    return lengths.pop()


def _zipped(values: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for row in zip(*values.values(), strict=True):
        yield dict(zip(values, row, strict=True))


def _draws(values: dict[str, list[Any]], seed: int | None) -> Iterator[dict[str, Any]]:
    chance = random.Random(seed)
    while True:
        yield {key: chance.choice(options) for key, options in values.items()}
