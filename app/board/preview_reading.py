"""What of an artifact can be looked at: its kind, and as many bytes, rows or files of it as a screen shows.

Nothing stored is run: pickles are not loaded, URLs are not fetched, markup becomes text or goes into a frame that may
neither run scripts nor fetch anything.
"""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

import polars as pl

from mlrun.content import folders
from mlrun.content.references import is_url
from mlrun.errors import ObjectError

if TYPE_CHECKING:
    from mlrun.content.dataitem import DataItem
    from mlrun.store import Store

__all__ = [
    "MOST_BYTES", "ROWS", "boxed", "drawable", "files_of", "first_rows", "kept_rows", "kind_of", "pretty",
    "text_of",
]  # fmt: skip

MOST_BYTES = 20_000_000  # of an artifact that are read without being asked for
ROWS = 1_000
_TEXT_BYTES = 200_000
_KINDS = {
    **dict.fromkeys(("parquet", "arrow", "csv", "tsv", "jsonl"), "table"),
    **dict.fromkeys(("png", "jpg", "gif", "webp", "bmp"), "image"),
    **dict.fromkeys(("json", "geojson"), "json"),
    **dict.fromkeys(("wav", "mp3", "ogg", "flac"), "audio"),
    **dict.fromkeys(("mp4", "webm"), "video"),
    "html": "html", "svg": "svg", "text": "text", "npy": "array", "plotly": "plotly", "vega-lite": "vega",
    folders.FORMAT: "folder",
}  # fmt: skip
# keys of a Vega-Lite chart that draw and do nothing else: no URL, link, expression, signal or loader
_DRAWS = frozenset(
    """$schema config data datasets name values mark type encoding field title x y x2 y2 xOffset yOffset color fill
    stroke opacity size shape angle strokeDash strokeWidth detail order row column facet tooltip text theta radius
    aggregate bin timeUnit sort stack scale domain range scheme zero nice axis legend grid tickCount labelAngle orient
    width height layer hconcat vconcat concat columns spec resolve bandPosition value filled interpolate point line
    maxbins view continuousWidth continuousHeight align baseline dx dy fontSize fontWeight spacing bounds center
    cornerRadius extent step reverse padding paddingInner paddingOuter titleFontSize labelFontSize format labels
    ticks labelLimit description content clip""".split()  # noqa: SIM905
)
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; media-src data:"
)


def kind_of(item: DataItem) -> str:
    """Return how an artifact is shown: `table`, `image`, …; `elsewhere` for a URL, `bytes` for what has no picture."""
    if is_url(item.url):
        return "elsewhere"
    found = _KINDS.get(str(item.meta.get("format")), "bytes")
    return "table" if found == "bytes" and isinstance(item.meta.get("preview"), dict) else found


def first_rows(item: DataItem, rows: int = ROWS) -> pl.DataFrame:
    """Return the first rows of a table; of Parquet and Arrow no more is read than they need.

    Raises:
        ObjectError: the file is not what it claims to be.
    """
    kind, path = str(item.meta.get("format")), item.path()
    try:
        match kind:
            case "parquet":
                return pl.read_parquet(path, n_rows=rows)
            case "arrow":
                return pl.scan_ipc(path).head(rows).collect()
            case "jsonl":
                return pl.scan_ndjson(path).head(rows).collect()
            case _:
                between = "\t" if kind == "tsv" else ","
                return pl.read_csv(path, separator=between, n_rows=rows, truncate_ragged_lines=True)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ObjectError(f"the artifact is not the {kind} that it claims to be") from error


def kept_rows(item: DataItem) -> pl.DataFrame | None:
    """Return the rows that were kept with the metadata when it was logged; None if there are none."""
    kept = item.meta.get("preview")
    if not isinstance(kept, dict) or not isinstance(kept.get("columns"), list):
        return None
    names = [f"{name}" for name in kept["columns"]]
    rows = [row for row in kept.get("rows") or [] if isinstance(row, list)]
    cells = [[_cell(v) for v in row] for row in rows if len(row) == len(names)]
    return pl.DataFrame(
        cells, schema=[(n, pl.String) for n in dict.fromkeys(names)], orient="row"
    ) if len(set(names)) == len(names) else None  # fmt: skip


def text_of(item: DataItem) -> tuple[str, bool]:
    """Return the beginning of a text, and whether there is more."""
    data = item.get(_TEXT_BYTES + 1)
    return data[:_TEXT_BYTES].decode("utf-8", "replace"), len(data) > _TEXT_BYTES


def pretty(text: str) -> str:
    """Return JSON with its structure made visible; what is none, as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def files_of(store: Store, item: DataItem) -> pl.DataFrame:
    """Return `file, size` of a folder."""
    with store.objects.open(item.sha256) as manifest:
        found = folders.members(manifest)
    rows = [(str(f["path"]), int(f["size"])) for f in found[:10_000]]
    return pl.DataFrame(rows, schema={"file": pl.String, "size": pl.Int64}, orient="row")


def boxed(markup: str) -> str:
    """Return a page that holds stored markup in a frame of no origin, without scripts, links out or fetches."""
    return (
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        "<style>html,body{margin:0;height:100%}iframe{border:0;width:100%;height:100%;background:#fff}</style>"
        f'<iframe sandbox="" title="The stored page" referrerpolicy="no-referrer" srcdoc="{escape(markup)}"></iframe>'
    )


def drawable(text: str) -> dict[str, Any] | None:
    """Return a stored Vega-Lite chart if it only draws values that it brings along, else None."""
    try:
        spec = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(spec, dict):
        return None
    kept = {k: v for k, v in spec.items() if k not in ("$schema", "usermeta", "params")}
    return kept if _only_draws(kept) else None


def _only_draws(part: Any) -> bool:
    if isinstance(part, dict):
        return all(
            _are_rows(value) if key in ("datasets", "values") else key in _DRAWS and _only_draws(value)
            for key, value in part.items()
        )  # fmt: skip
    return all(_only_draws(each) for each in part) if isinstance(part, list) else True


def _are_rows(value: Any) -> bool:
    """Whether this is data: rows of plain values, or several such tables by name."""
    tables = list(value.values()) if isinstance(value, dict) else [value]
    return all(
        isinstance(rows, list)
        and all(
            not isinstance(cell, list | dict)
            for row in rows
            for cell in (row.values() if isinstance(row, dict) else [row])
        )
        for rows in tables
    )


def _cell(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
