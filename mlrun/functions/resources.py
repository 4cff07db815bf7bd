"""What a function needs of the place where it runs, in words that people and Kubernetes use: `500m`, `4Gi`, `2`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NAMES", "check_resources", "read_quantity"]

NAMES = ("num_cpus", "num_gpus", "memory", "custom")
_UNITS = {
    "": 1, "m": 1e-3, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]{0,2})")


def read_quantity(given: Any) -> float:
    """Return a number of cores or bytes.

    Example:
        >>> read_quantity("500m"), read_quantity("4Gi"), read_quantity(2)
        (0.5, 4294967296.0, 2.0)

    Raises:
        ConfigError: it is no quantity.
    """
    if isinstance(given, bool):
        raise ConfigError(f"{given!r} is no quantity")
    match = _QUANTITY.fullmatch(str(given).strip().removesuffix("B"))
    if match is None or match[2] not in _UNITS:
        raise ConfigError(f"{given!r} is no quantity: say 2, '500m' or '4Gi'")
    return float(match[1]) * _UNITS[match[2]]


def check_resources(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return resources with numbers for words.

    Raises:
        ConfigError: an unknown name, or no quantity.
    """
    out: dict[str, Any] = {}
    for name, value in (given or {}).items():
        if name not in NAMES:
            hint = did_you_mean(name, NAMES) or "; other resources stand in 'custom'"
            raise ConfigError(f"resources has no {name!r}{hint}")
        if value is None:
            continue
        if name == "custom":
            out[name] = {str(k): _whole(read_quantity(v)) for k, v in dict(value).items()}
        else:
            out[name] = (
                int(read_quantity(value)) if name == "memory" else _whole(read_quantity(value))
            )
    return out


def _whole(number: float) -> float:
    """Show 2.0 as 2: the same need is then written, and hashed, in one way."""
    return int(number) if number == int(number) else number
