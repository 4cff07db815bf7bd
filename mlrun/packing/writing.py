"""Writing a value as a file in the format that a log hint asks for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["write_as"]


def write_as(value: Any, path: Path, format: str) -> Path:
    """Write `value` to `path`.

    Frames: parquet, csv, json, jsonl, arrow, feather. Arrays: npy, npz, csv, txt. Plain values: json, jsonl, yaml, txt.

    Raises:
        ConfigError: the format is none of those of this value.
    """
    from mlrun.content import arrays, frames

    if frames.is_frame(value):
        writers = _frame_writers(frames.rows_to_frame(value))
    elif arrays.is_array(value) or _holds_arrays(value):
        writers = _array_writers(value)
    else:
        writers = _plain_writers(value)
    if format not in writers:
        raise ConfigError(
            f"a {type(value).__name__} cannot be written as {format!r}{did_you_mean(format, writers)}; "
            f"one of {', '.join(sorted(writers))}"
        )
    writers[format](path)
    return path


def _holds_arrays(value: Any) -> bool:
    from mlrun.content.arrays import is_array

    return isinstance(value, dict) and bool(value) and all(is_array(v) for v in value.values())


def _frame_writers(frame: Any) -> dict[str, Callable[[Path], Any]]:
    return {
        "parquet": frame.write_parquet,
        "csv": frame.write_csv,
        "json": frame.write_json,
        "jsonl": frame.write_ndjson,
        "arrow": frame.write_ipc,
        "feather": frame.write_ipc,
    }


def _array_writers(value: Any) -> dict[str, Callable[[Path], Any]]:
    import numpy as np

    from mlrun.content.arrays import as_array

    if isinstance(value, dict):
        named = {str(k): as_array(v) for k, v in value.items()}
        return {"npz": lambda path: np.savez(path, allow_pickle=False, **named)}
    array = as_array(value)
    return {
        "npy": lambda path: np.save(path, array, allow_pickle=False),
        "npz": lambda path: np.savez(path, allow_pickle=False, array=array),
        "csv": lambda path: np.savetxt(path, array, delimiter=","),
        "txt": lambda path: np.savetxt(path, array),
    }


def _plain_writers(value: Any) -> dict[str, Callable[[Path], Any]]:
    from mlrun.content.bodies import to_json

    def yaml(path: Path) -> None:
        import yaml

        plain = json.loads(to_json(value))
        path.write_text(
            yaml.safe_dump(plain, allow_unicode=True, sort_keys=False), encoding="utf-8"
        )

    def lines(path: Path) -> None:
        rows = value if isinstance(value, (list, tuple)) else [value]
        path.write_bytes(b"".join(to_json(row) + b"\n" for row in rows))

    return {
        "json": lambda path: path.write_bytes(to_json(value)),
        "jsonl": lines,
        "yaml": yaml,
        "yml": yaml,
        "txt": lambda path: path.write_text(str(value), encoding="utf-8"),
    }
