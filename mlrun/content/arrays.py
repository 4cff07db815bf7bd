"""Arrays and tensors as artifacts: NumPy's own file, or the histogram of their values."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from mlrun.content.bodies import Body, library, to_json
from mlrun.errors import UntrustedPickle

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["as_array", "encode_npy", "histogram", "is_array", "read_npy"]

_LIBRARIES = {"numpy", "torch", "jax", "jaxlib", "tensorflow", "cupy", "mlx"}


def is_array(value: Any) -> bool:
    """Whether this is an array or tensor of a library that we know; imports nothing."""
    return library(value) in _LIBRARIES and hasattr(value, "shape") and hasattr(value, "dtype")


def as_array(value: Any) -> NDArray[Any]:
    """Bring an array, a tensor of any library, or a list of numbers to the host as a NumPy array.

    Raises:
        TypeError: a list has rows of different lengths.
    """
    import numpy as np

    for step in ("detach", "cpu"):
        value = getattr(value, step)() if callable(getattr(value, step, None)) else value
    try:
        return np.asarray(value)
    except TypeError:  # torch's bfloat16 has no NumPy type
        return np.asarray(value.float())
    except ValueError as error:
        raise TypeError(f"{type(value).__name__} is no array: {error}") from error


def encode_npy(value: Any) -> Body:
    """Write an array as `.npy`.

    Raises:
        TypeError: it holds Python objects.
    """
    import numpy as np

    array = as_array(value)
    if array.dtype.hasobject:
        raise TypeError(
            "an array of Python objects has no safe form; log it as a table, or as JSON"
        )
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    meta = {"shape": list(array.shape), "dtype": str(array.dtype)}
    return Body(buffer.getvalue(), "npy", "array", meta)


def read_npy(path: Path, format: str, *, trust: bool = False) -> Any:
    """Read an array, or a dict of arrays from `npz`.

    Raises:
        UntrustedPickle: it holds Python objects and `trust` is off.
    """
    import numpy as np

    try:
        with path.open("rb") as file:
            if not file.read(6).startswith((b"\x93NUMPY", b"PK\x03\x04", b"PK\x05\x06")):
                raise TypeError(
                    "it does not begin as NumPy's files do"
                )  # np.load would try a pickle
            file.seek(0)
            found = np.load(file, allow_pickle=trust)
            return {name: found[name] for name in found.files} if format == "npz" else found
    except ValueError as error:
        if "allow_pickle" not in str(error) and "Object arrays" not in str(error):
            raise
        raise UntrustedPickle("the array holds Python objects: say load(trust=True)") from error


def histogram(values: Any = None, *, bins: int = 64, counts: Any = None, edges: Any = None) -> Body:
    """Count values into bins, or take what `np.histogram` returned.

    The artifact is JSON: `counts` (n), `edges` (n + 1), and how many values were `nan` or `infinite`: no bin holds
    those.

    Raises:
        TypeError: the values are no real numbers, or counts and edges do not fit each other.
    """
    import numpy as np

    left_out = {"nan": 0, "infinite": 0}
    if counts is None or edges is None:
        array = as_array(values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"a histogram is of real numbers, not {array.dtype}")
        array = array.ravel().astype(np.float64)
        finite = array[np.isfinite(array)]
        nan = int(np.isnan(array).sum())
        left_out = {"nan": nan, "infinite": array.size - finite.size - nan}
        if not 1 <= int(bins) <= 100_000:
            raise TypeError(f"a histogram has 1 to 100,000 bins, not {bins}")
        counts, edges = _bins(finite, int(bins))
    counts, edges = as_array(counts), as_array(edges)
    if counts.ndim != 1 or edges.shape != (len(counts) + 1,):
        raise TypeError(f"{counts.shape} counts need one edge more, not {edges.shape}")
    content = {"counts": counts.tolist(), "edges": edges.tolist(), **left_out}
    return Body(
        to_json(content), "json", "histogram", {"bins": len(counts), "count": float(counts.sum())}
    )


def _bins(finite: NDArray[Any], bins: int) -> tuple[NDArray[Any], NDArray[Any]]:
    import numpy as np

    try:
        with np.errstate(over="raise"):
            return np.histogram(finite, bins)
    except FloatingPointError:  # the range itself is beyond the largest float
        counts, edges = np.histogram(finite / 4, bins)
        return counts, edges * 4
    except ValueError:  # so near each other that no edge fits between
        return np.array([finite.size]), np.array([finite.min(), finite.max()])
