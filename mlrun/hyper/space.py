"""Search spaces of the strategy "tune": what may be drawn for each hyperparameter, in words that need no Ray.

| written as | means |
|---|---|
| `[32, 64, 128]` | one of these |
| `("uniform", 0, 1)`, `{"uniform": [0, 1]}` | any number between the two |
| `("quniform", 0, 1, 0.1)` | a multiple of the last number |
| `("loguniform", 1e-4, 1e-1)`, `("qloguniform", 1e-4, 1e-1, 5e-5)` | the same, evenly over the orders of magnitude |
| `("randint", 1, 10)`, `("qrandint", 1, 10, 2)` | a whole number, the upper end left out |
| `("lograndint", 1, 1000)`, `("qlograndint", 1, 1000, 5)` | the same, evenly over the orders of magnitude |
| `("randn", 0, 1)`, `("qrandn", 0, 1, 0.1)` | normal: mean and deviation |
| `("choice", [...])` | one of these |

The forms with braces are for JSON files.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError
from mlrun.hyper.strategies import given_hyperparams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.hyper.options import HyperParamOptions

__all__ = ["KINDS", "Draw", "read_space", "space_record"]

# kind -> how many numbers it takes
KINDS = {
    "uniform": 2, "quniform": 3, "loguniform": 2, "qloguniform": 3, "randint": 2, "qrandint": 3,
    "lograndint": 2, "qlograndint": 3, "randn": 2, "qrandn": 3,
}  # fmt: skip


@dataclass(frozen=True)
class Draw:
    """How one hyperparameter is drawn: a kind of `KINDS` with its numbers, or "choice" with its values."""

    kind: str
    args: tuple[Any, ...]

    @classmethod
    def of(cls, key: str, given: Any) -> Draw:
        """Read one of the forms above.

        Example:
            >>> Draw.of("lr", ("loguniform", 1e-4, 0.1))
            Draw(kind='loguniform', args=(0.0001, 0.1))
            >>> Draw.of("depth", [2, 4]).kind
            'choice'

        Raises:
            ConfigError: it is none of them.
        """
        if isinstance(given, Draw):
            return given
        if hasattr(given, "items"):
            kind, args = next(iter(given.items())) if len(given) == 1 else ("", ())
            if kind not in KINDS and kind != "choice":
                raise ConfigError(f"hyperparams[{key!r}]: {given!r:.80} is none of {_known()}")
            return cls.of(key, (kind, args) if kind == "choice" else (kind, *args))
        if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
            raise ConfigError(
                f"hyperparams[{key!r}] is a list of values or a range such as ('uniform', 0, 1), not {given!r:.80}"
            )
        values = list(given)
        if isinstance(given, tuple) and values and values[0] in ("choice", *KINDS):
            return cls._range(key, values[0], values[1:])
        if not values:
            raise ConfigError(f"hyperparams[{key!r}] is empty: there is nothing to draw from")
        return cls("choice", tuple(values))

    @classmethod
    def _range(cls, key: str, kind: str, args: list[Any]) -> Draw:
        if kind == "choice":
            [values] = args if len(args) == 1 else [[]]
            return cls.of(key, list(values))
        if len(args) != KINDS[kind] or not all(isinstance(a, Real) for a in args):
            raise ConfigError(
                f"hyperparams[{key!r}]: {kind} takes {KINDS[kind]} numbers, not {args!r:.80}"
            )
        if "randn" not in kind and not args[0] < args[1]:
            raise ConfigError(f"hyperparams[{key!r}]: {args[0]!r} is not below {args[1]!r}")
        if "log" in kind and not args[0] > 0:
            raise ConfigError(f"hyperparams[{key!r}]: {kind} begins above 0, not at {args[0]!r}")
        return cls(kind, tuple(args))


def read_space(
    hyperparams: Mapping[str, Any] | None, options: HyperParamOptions
) -> dict[str, Draw]:
    """Return how each hyperparameter is drawn.

    Raises:
        ConfigError: there are none, they come twice, or one has no meaning.
    """
    given, _ = given_hyperparams(hyperparams, options)
    return {str(key): Draw.of(str(key), values) for key, values in given.items()}


def space_record(space: Mapping[str, Draw]) -> dict[str, Any]:
    """Return a space in its JSON form."""
    from mlrun.tracking.values import decode, encode

    found = {}
    for key, draw in space.items():
        args = [decode(encode(a)[0]) for a in draw.args]
        found[key] = args if draw.kind == "choice" else {draw.kind: args}
    return found


def _known() -> str:
    return ", ".join(("choice", *KINDS))
