"""Log hints: under which key, and as what, a returned value is kept."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ARTIFACT_TYPES", "LogHint", "parse_hints"]

ARTIFACT_TYPES = (
    "result", "dataset", "model", "plot", "figure", "table", "image", "html", "file", "path", "object", "artifact",
)  # fmt: skip
_HINT = re.compile(
    r"^\s*(?:(?P<depth>\d*)(?P<star>\*+))?\s*(?P<key>[^:\[\]]*?)\s*"
    r"(?::\s*(?P<type>\w+)?\s*(?:\[(?P<options>.*)\])?\s*)?$",
    re.DOTALL,
)


@dataclass(frozen=True)
class LogHint:
    """How one returned value is kept.

    Attributes:
        key: name of the result or artifact; of an unbundled collection, what the names of its parts begin with.
        artifact_type: one of `ARTIFACT_TYPES`; empty for what suits the value.
        itemized: levels of a collection to unbundle: each part is kept on its own. 0 keeps it whole.
        packing_kwargs: options of the type, such as `format="csv"`.
        tag: an alias for the artifact.
        labels: labels of the artifact.
        metrics: metrics of a model.

    Example:
        >>> LogHint.of("model : model[framework='sklearn']")
        LogHint(key='model', artifact_type='model', itemized=0, packing_kwargs={'framework': 'sklearn'})
        >>> LogHint.of("*fold_").itemized
        1
    """

    key: str
    artifact_type: str = ""
    itemized: int = 0
    packing_kwargs: Mapping[str, Any] = field(default_factory=dict)
    tag: str = field(default="", repr=False)
    labels: Mapping[str, Any] = field(default_factory=dict, repr=False)
    metrics: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.key:
            raise ConfigError("a log hint needs a key")
        if self.artifact_type and self.artifact_type not in ARTIFACT_TYPES:
            hint = did_you_mean(self.artifact_type, ARTIFACT_TYPES)
            raise ConfigError(
                f"log hint {self.key!r}: no type {self.artifact_type!r}{hint}; one of {', '.join(ARTIFACT_TYPES)}"
            )

    @classmethod
    def of(cls, given: LogHint | str | Mapping[str, Any]) -> LogHint:
        """Read a hint: `key`, `key : type`, `key : type[option=value, …]`, with `*` or `2*` before it to unbundle.

        Raises:
            ConfigError: it cannot be read.
        """
        if isinstance(given, LogHint):
            return given
        if isinstance(given, str):
            return _parse(given)
        if hasattr(given, "items"):
            try:
                return cls(**{str(k): v for k, v in given.items()})
            except TypeError as error:
                raise ConfigError(f"log hint {dict(given)!r}: {error}") from None
        raise ConfigError(f"a log hint is text such as 'model : model', not {given!r:.80}")


def parse_hints(
    given: Iterable[LogHint | str | Mapping[str, Any] | None] | None,
) -> list[LogHint | None]:
    """Read the hints of `returns=`: one for each returned value, None for one that is not kept.

    Raises:
        ConfigError: one cannot be read, or two have the same key.
    """
    if given is None:
        return []
    if isinstance(given, (str, LogHint)) or hasattr(given, "items"):
        given = [given]  # type: ignore[list-item]  # one hint, not a list of them
    hints = [None if g is None else LogHint.of(g) for g in given]
    keys = [h.key for h in hints if h is not None]
    if twice := {k for k in keys if keys.count(k) > 1}:
        raise ConfigError(f"returns: two values have the key {sorted(twice)[0]!r}")
    return hints


def _parse(text: str) -> LogHint:
    match = _HINT.match(text)
    if match is None or not match["key"]:
        raise ConfigError(f"cannot read the log hint {text!r}: say 'key', 'key : type' or '*key'")
    stars = len(match["star"] or "")  # `**` is a dict unbundled, as `*` is
    depth = int(match["depth"] or 1) if stars else 0
    return LogHint(match["key"], match["type"] or "", depth, _options(match["options"], text))


def _options(text: str | None, whole: str) -> dict[str, Any]:
    if not text or not text.strip():
        return {}
    try:
        call = ast.parse(f"f({text})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        call = None
    if not isinstance(call, ast.Call) or call.args:
        raise ConfigError(f"log hint {whole!r}: options are written [name=value, name=value]")
    out = {}
    for option in call.keywords:
        if option.arg is None:
            raise ConfigError(f"log hint {whole!r}: options are written [name=value, name=value]")
        try:
            out[option.arg] = ast.literal_eval(option.value)
        except (ValueError, TypeError):
            if not isinstance(option.value, ast.Name):
                raise ConfigError(
                    f"log hint {whole!r}: the value of {option.arg!r} is a plain value"
                ) from None
            out[option.arg] = option.value.id  # format=csv
    return out
