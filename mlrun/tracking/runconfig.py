"""`run.config`: the params of a run, nested as they were given, stored flat as `a.b`."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, did_you_mean
from mlrun.names import as_text
from mlrun.tracking.values import as_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["RunConfig", "dict_of", "nest", "tree_of"]

_MAX_DEPTH = 32
_ABSENT = object()


class RunConfig(MutableMapping[str, Any]):
    """Params of a run as a mapping; every change is stored.

    A nested part is reached step by step or by its dotted path. Assignment replaces what was there, `update()` merges
    into nested parts. Keys that are not text become `str(key)`.

    Example:
        >>> config = RunConfig({"lr": 0.1, "model": {"depth": 3, "width": 8}})
        >>> config["model"]["depth"], config["model.width"]
        (3, 8)
        >>> config.update({"model": {"depth": 5}}, epochs=3)
        >>> config.flat()
        {'lr': 0.1, 'model.depth': 5, 'model.width': 8, 'epochs': 3}
    """

    __slots__ = ("_changed", "_key", "_tree", "_warn")

    def __init__(
        self,
        tree: dict[str, Any] | None = None,
        changed: Callable[[dict[str, Any], list[str]], None] | None = None,
        key: Callable[[Any], str] = str,
        warn: Callable[[str, str], None] | None = None,
    ) -> None:
        """Wrap a tree of plain dicts.

        Args:
            tree: nested dicts with text keys; used as it is.
            changed: told (params to store, keys of params to delete) after each change, with flat keys.
            key: makes text that can be stored out of any key.
            warn: told (code, message) when `update()` is given what is no mapping; without it, that raises.
        """
        self._tree = {} if tree is None else tree
        self._changed = changed
        self._key = key
        self._warn = warn

    def __getitem__(self, key: str) -> Any:
        """Return a value, or a view of a nested part; KeyError names the nearest known key."""
        found = self._find(self._key(key))
        if found is None:
            known = {*self._tree, *self.flat()}
            raise KeyError(f"no param {key!r}{did_you_mean(str(key), known)}")
        branch, last = found
        value = branch[last]
        if isinstance(value, dict) and value:
            path = _path_of(self._tree, branch)
            return RunConfig(value, self._below([*(path or []), last]), self._key, self._warn)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        """Set a param; a mapping replaces the nested part of that name whole."""
        name = self._key(key)
        branch, last = self._find(name) or (self._tree, name)
        before = self.flat()
        branch[last] = tree_of(value, self._key)
        self._tell(before)

    def __delitem__(self, key: str) -> None:
        """Remove a param or a nested part."""
        found = self._find(self._key(key))
        if found is None:
            raise KeyError(key)
        before = self.flat()
        del found[0][found[1]]
        self._tell(before)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names at this level."""
        return iter(list(self._tree))

    def __len__(self) -> int:
        """Count the names at this level."""
        return len(self._tree)

    def __repr__(self) -> str:
        """Show it as the dict that it stands for."""
        return repr(self._tree)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and travel as a plain nested dict: changes of a copy are not the run's."""
        return dict, (self.as_dict(),)

    def update(self, other: Any = (), /, **values: Any) -> None:
        """Merge a mapping, a config object (Namespace, dataclass, pydantic, OmegaConf) or pairs, and keywords.

        The config of a run warns once about anything else, and takes the keywords all the same.

        Raises:
            ConfigError: `other` is none of these, and this is not the config of a run.
        """
        before = self.flat()
        try:
            given = dict_of(other, "config.update()", "takes")
        except ConfigError as error:
            if self._warn is None:
                raise
            self._warn("config", f"{error}; it is left out")
            given = {}
        for source in (given, values):
            _merge(self._tree, tree_of(source, self._key))
        self._tell(before)

    def flat(self) -> dict[str, Any]:
        """Return the params as they are stored: dotted keys, no nested dicts."""
        return dict(_flat(self._tree, ""))

    def as_dict(self) -> dict[str, Any]:
        """Return a nested copy."""
        return _copy(self._tree)

    def _find(self, name: str) -> tuple[dict[str, Any], str] | None:
        """Return (dict, key in it) of a name: as it stands, else as a dotted path."""
        return _seek(self._tree, name)

    def _tell(self, before: dict[str, Any]) -> None:
        if self._changed is None:
            return
        now = self.flat()
        new = {k: v for k, v in now.items() if not _same(before.get(k, _ABSENT), v)}
        gone = [k for k in before if k not in now]
        if new or gone:
            self._changed(new, gone)

    def _below(self, path: list[str]) -> Callable[[dict[str, Any], list[str]], None] | None:
        changed = self._changed
        if changed is None:
            return None
        prefix = ".".join(path) + "."

        def tell(new: dict[str, Any], gone: list[str]) -> None:
            changed({prefix + k: v for k, v in new.items()}, [prefix + k for k in gone])

        return tell


def dict_of(given: Any, what: str, verb: str = "is") -> dict[Any, Any]:
    """Return a mapping, config object or iterable of pairs as a dict, its parts as they are.

    Args:
        given: anything.
        what: the argument's name, for the error: "config", "labels".
        verb: what stands behind the name.

    Raises:
        ConfigError: it is none of these; names its type, and never shows its value.
    """
    reason = ""
    try:
        if (tree := as_tree(given)) is not None:
            return tree
    except Exception as error:  # noqa: BLE001  methods of somebody's object may raise anything
        from mlrun.redact import redact_text

        reason = f": {redact_text(as_text(error))[:200]}"
    else:
        pairs = _pairs(given)
        if pairs is not None:
            return pairs
    kind = type(given).__name__
    raise ConfigError(f"{what} {verb} a dict or a config object, not {kind}{reason}")


def _pairs(given: Any) -> dict[Any, Any] | None:
    if isinstance(given, (str, bytes, bytearray)):
        return None
    try:
        parts = list(given)
        return None if any(isinstance(p, (str, bytes)) for p in parts) else dict(parts)
    except (TypeError, ValueError):
        return None


def tree_of(value: Any, key: Callable[[Any], str] = str, depth: int = 0) -> Any:
    """Copy a config object into nested dicts with text keys; anything else is returned as it is."""
    if isinstance(value, RunConfig):
        return value.as_dict()
    try:
        tree = None if depth > _MAX_DEPTH else as_tree(value)
    except Exception:  # noqa: BLE001  methods of somebody's object may raise anything: it stays one value
        tree = None
    if tree is None:
        return value
    return {key(k): tree_of(v, key, depth + 1) for k, v in tree.items()}


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn stored params back into a tree; a key whose beginning is itself a param stays whole.

    Example:
        >>> nest({"lr": 0.1, "model.depth": 3, "lr.min": 0.0})
        {'lr': 0.1, 'model': {'depth': 3}, 'lr.min': 0.0}
    """
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        parts = name.split(".")
        prefixes = (".".join(parts[:i]) for i in range(1, len(parts)))
        if not all(parts) or any(p in flat for p in prefixes):
            tree[name] = value
            continue
        branch = tree
        for part in parts[:-1]:
            branch = branch.setdefault(part, {})
        branch[parts[-1]] = value
    return tree


def _seek(tree: dict[str, Any], name: str) -> tuple[dict[str, Any], str] | None:
    if name in tree:
        return tree, name
    for i, char in enumerate(name):
        if char == "." and isinstance(branch := tree.get(name[:i]), dict):
            found = _seek(branch, name[i + 1 :])
            if found is not None:
                return found
    return None


def _path_of(tree: dict[str, Any], branch: dict[str, Any]) -> list[str] | None:
    if tree is branch:
        return []
    for name, value in tree.items():
        if isinstance(value, dict) and (path := _path_of(value, branch)) is not None:
            return [name, *path]
    return None


def _merge(tree: dict[str, Any], new: dict[str, Any]) -> None:
    for name, value in new.items():
        old = tree.get(name)
        if isinstance(old, dict) and isinstance(value, dict) and old and value:
            _merge(old, value)
        else:
            tree[name] = value


def _flat(tree: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _copy(tree: dict[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, dict) else v for k, v in tree.items()}


def _same(old: Any, new: Any) -> bool:
    # a list may have been changed in place: only plain values can be told apart safely
    return type(old) is type(new) and isinstance(new, (str, int, float, bool)) and bool(old == new)
