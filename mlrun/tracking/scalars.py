"""Values given to `log()`: what is a point, what is not, and under which key.

Numbers of any library become floats without importing it: whatever has one element and says `item()` or `__float__`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.names import as_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["NOTHING", "UNTAKEN", "as_float", "as_step", "count_elements", "flatten"]

NOTHING = type("NOTHING", (), {"__doc__": "None was given: no point."})()
UNTAKEN = type("UNTAKEN", (), {"__doc__": "Not a number."})()

_MAX_DEPTH = 32
_TEXT = (str, bytes, bytearray)


def as_float(value: Any) -> Any:
    """Return the number that a value stands for, `NOTHING` for None, or `UNTAKEN`.

    bool counts as 1.0 and 0.0. Zero-dimensional and one-element arrays and tensors, NumPy scalars, Decimal and Fraction
    are numbers; NaN and infinities stay what they are. An int beyond the range of a float is infinite.

    Example:
        >>> from fractions import Fraction
        >>> as_float(True), as_float(Fraction(1, 4)), as_float(-10**400)
        (1.0, 0.25, -inf)
        >>> as_float("0.3") is UNTAKEN
        True
    """
    kind = type(value)
    if kind is float:
        return value
    if value is None:
        return NOTHING
    if isinstance(value, int):  # bool too, and enums of ints
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    if isinstance(value, (*_TEXT, complex)):
        return UNTAKEN
    try:
        return _from_library(value)
    except Exception:  # noqa: BLE001  somebody's __float__ or item() may raise anything; the value is then not a number
        return UNTAKEN


def _from_library(value: Any) -> Any:
    if count_elements(value) != 1:
        return UNTAKEN
    item = getattr(value, "item", None)
    if callable(item):
        plain = item()  # one element, brought to the host; bfloat16 too
        if isinstance(plain, (float, int)):
            return as_float(plain)
        if plain is None or isinstance(plain, (*_TEXT, complex)):
            return UNTAKEN
        value = plain
    if hasattr(type(value), "__float__"):
        return _finite_or_infinite(value)
    return UNTAKEN


def _finite_or_infinite(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a Fraction beyond the range
        return float("inf") if value > 0 else float("-inf")


def count_elements(value: Any) -> int:
    """Return the product of `value.shape`; 1 for a value without a shape."""
    shape = getattr(value, "shape", None)
    if shape is None:
        return 1
    count = 1
    for length in shape:
        count *= int(length)
    return count


def as_step(step: Any) -> int | None:
    """Return a step as int if it is one: int-likes and floats without a fraction; None otherwise.

    Example:
        >>> as_step(3.0), as_step(True), as_step(2.5), as_step("4")
        (3, 1, None, None)
    """
    number: Any = step
    if not isinstance(number, int):
        number = as_float(step)
        if not isinstance(number, float) or not number.is_integer():
            return None
    number = int(number)
    return number if -(2**63) <= number < 2**63 else None


def flatten(data: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield (key, value) with nested dicts joined by slashes; a top key keeps its type.

    A dict with a `_type` (media of other trackers), one that holds itself and one nested deeper than 32 are handed over
    whole; an empty one holds no value.

    Example:
        >>> dict(flatten({"val": {"acc": 0.9, "loss": 0.2}, "lr": 0.1}))
        {'val/acc': 0.9, 'val/loss': 0.2, 'lr': 0.1}
    """
    yield from _walk(data, "", ())


def _walk(
    data: Mapping[Any, Any], prefix: str, above: tuple[int, ...]
) -> Iterator[tuple[Any, Any]]:
    above = (*above, id(data))
    for key, value in data.items():
        name = f"{prefix}{as_text(key)}" if prefix else key
        whole = not isinstance(value, dict) or "_type" in value
        if whole or len(above) > _MAX_DEPTH or id(value) in above:
            yield name, value
        else:
            yield from _walk(value, f"{as_text(name)}/", above)
