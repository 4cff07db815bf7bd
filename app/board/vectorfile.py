"""A chart of lines as an SVG file, for papers and slides; drawn here, because the browser's menu gives pixels only."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Scale = Callable[[Floats], Floats]

__all__ = ["svg", "ticks"]

_WIDTH, _HEIGHT = 960.0, 420.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 70.0, 20.0, 40.0, 52.0
_PER_ROW, _ROW = 4, 20.0  # names under the chart
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def svg(
    frame: pl.DataFrame,
    names: Sequence[str],
    colors: Sequence[str],
    *,
    title: str = "",
    along: str = "",
    time: bool = False,
    log: tuple[bool, bool] = (False, False),
    bands: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the file.

    Args:
        frame: `series, x, y` and the columns of the bands; times are milliseconds since 1970. Missing and infinite
            values break a line.
        names: the series that have a colour and a name; others are thin and grey, behind them.
        colors: of the names, in their order.
        title: above the chart.
        along: what x is.
        time: whether x are moments.
        log: whether x, and whether y, are logarithmic; what is not above zero is left out.
        bands: pairs of columns between which is filled.
    """
    ends = [name for pair in bands for name in pair]
    frame = frame.with_columns(pl.col("x", "y", *ends).cast(pl.Float64))
    across = _Axis(frame["x"].to_numpy(), (_LEFT, _WIDTH - _RIGHT), log=log[0])
    upward = [frame[name].drop_nulls().to_numpy() for name in ("y", *ends)]
    up = _Axis(np.concatenate(upward), (_HEIGHT - _BOTTOM, _TOP), log=log[1])
    parts = [*_frame(across, up, time=time), _text(_WIDTH / 2, 22, title, size=15, anchor="middle")]
    parts.append(_text(_WIDTH / 2, _HEIGHT - 12, along, anchor="middle"))
    tone = dict(zip(names, colors, strict=False))
    known = frame.partition_by("series", as_dict=True)
    told = [(str(name), part) for (name,), part in known.items()]
    for name, part in sorted(told, key=lambda one: one[0] in tone):
        for low, high in bands:
            parts.append(_area(part, low, high, across, up, tone.get(name, "#8a919c")))
        thin = 'stroke-width="1.6"' if name in tone else 'stroke-width="0.7" opacity="0.4"'
        x, y = across.at(part["x"].to_numpy()), up.at(part["y"].to_numpy())
        parts.append(
            f'<path fill="none" stroke="{tone.get(name, "#8a919c")}" {thin} d="{_path(x, y)}"/>'
        )
    return _page([*parts, *_legend(list(tone.items()))], _HEIGHT + _ROW * -(-len(tone) // _PER_ROW))


class _Axis:
    """Where values lie on the page."""

    def __init__(self, values: Floats, pixels: tuple[float, float], *, log: bool) -> None:
        self.log = log
        found = self._turned(values)
        found = found[np.isfinite(found)]
        self.low, self.high = (float(found.min()), float(found.max())) if found.size else (0.0, 1.0)
        if self.low == self.high:
            self.low, self.high = self.low - 0.5, self.high + 0.5
        self._pixels = pixels

    def _turned(self, values: Floats) -> Floats:
        if not self.log:
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(values > 0, np.log10(values), np.nan))

    def at(self, values: Floats) -> Floats:
        """Return the pixels of values; NaN of what has no place."""
        first, last = self._pixels
        share = (self._turned(values) - self.low) / (self.high - self.low)
        return np.where(np.isfinite(share), first + share * (last - first), np.nan)

    def marks(self) -> list[float]:
        """Return round values of the axis."""
        if not self.log:
            return ticks(self.low, self.high)
        powers = range(math.ceil(self.low), math.floor(self.high) + 1)
        few = [10.0**p for p in powers][:: max(len(powers) // 8, 1)]
        return few or [10**self.low, 10**self.high]


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Return round numbers between two, about so many.

    Example:
        >>> ticks(0, 10)
        [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    wide = high - low
    if not (math.isfinite(wide) and wide > 0):
        return [low]
    power = 10.0 ** math.floor(math.log10(wide / about))
    step = next(power * f for f in (1, 2, 5, 10) if wide / (power * f) <= about)
    first = math.ceil(low / step - 1e-9)
    count = min(int((high / step + 1e-9) - first) + 1, 50)
    return [round((first + n) * step, 12 - math.floor(math.log10(step))) for n in range(count)]


def _frame(across: _Axis, up: _Axis, *, time: bool) -> list[str]:
    out = []
    for value in across.marks():
        x = float(across.at(np.array([value]))[0])
        told = _moment(value, across.high - across.low) if time else f"{value:.6g}"
        out.append(_rule(x, _TOP, x, _HEIGHT - _BOTTOM))
        out.append(_text(x, _HEIGHT - _BOTTOM + 18, told, anchor="middle"))
    for value in up.marks():
        y = float(up.at(np.array([value]))[0])
        out.append(_rule(_LEFT, y, _WIDTH - _RIGHT, y))
        out.append(_text(_LEFT - 8, y + 4, f"{value:.6g}", anchor="end"))
    return out


def _legend(tone: Sequence[tuple[str, str]]) -> list[str]:
    out = []
    wide = (_WIDTH - _LEFT - _RIGHT) / _PER_ROW
    for n, (name, color) in enumerate(tone):
        x, y = _LEFT + wide * (n % _PER_ROW), _HEIGHT + _ROW * (n // _PER_ROW)
        out.append(f'<path stroke="{color}" stroke-width="3" d="M{x:.1f},{y:.1f}h18"/>')
        out.append(_text(x + 24, y + 4, name if len(name) < 34 else name[:32] + "…"))
    return out


def _path(x: Floats, y: Floats) -> str:
    out = []
    pen = "M"
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        if a != a or b != b:
            pen = "M"
            continue
        out.append(f"{pen}{a:.2f},{b:.2f}")
        pen = "L"
    return "".join(out)


def _area(part: pl.DataFrame, low: str, high: str, across: _Axis, up: _Axis, color: str) -> str:
    part = part.filter(pl.all_horizontal(pl.col("x", low, high).is_finite()))
    x = across.at(part["x"].to_numpy())
    top, bottom = up.at(part[high].to_numpy()), up.at(part[low].to_numpy())
    there = np.isfinite(x) & np.isfinite(top) & np.isfinite(bottom)
    x, top, bottom = x[there], top[there], bottom[there]
    path = _path(np.concatenate([x, x[::-1]]), np.concatenate([top, bottom[::-1]]))
    return f'<path fill="{color}" opacity="0.18" d="{path}z"/>' if path else ""


def _rule(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<path stroke="#dfe3e8" d="M{x:.2f},{y:.2f}L{to_x:.2f},{to_y:.2f}"/>'


def _text(x: float, y: float, said: str, *, size: int = 12, anchor: str = "start") -> str:
    told = escape(_NOT_XML.sub("\ufffd", said))
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{told}</text>'


def _moment(ms: float, wide: float) -> str:
    day = 86_400_000
    form = "%Y-%m-%d" if wide > 6 * day else "%m-%d %H:%M" if wide > day / 4 else "%H:%M:%S"
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime(form)
    except (OverflowError, ValueError, OSError):
        return f"{ms:.6g}"


def _page(parts: Sequence[str], height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:.0f} {height:.0f}" '
        f'width="{_WIDTH:.0f}" height="{height:.0f}" font-family="sans-serif" fill="#1b2530">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )
