"""Code made to run: the module of a function, and the callable in it. Loaded once a process for each content."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib
import linecache
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, did_you_mean
from mlrun.functions.documentation import default_handler, is_script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["function_to_module", "load_callable", "load_source"]

_KEPT = 256  # modules and pickles
_PREFIX = "mlrun_function_"
_lock = threading.RLock()


def load_callable(spec: Mapping[str, Any], handler: str | None = None) -> Callable[..., Any]:
    """Return what a function calls.

    Args:
        spec: of the function, as `FunctionSpec.to_dict()` gives it.
        handler: `train`, `Trainer::fit` (the class is made first, with the param `_init_args` if there is one) or
            `module.train`; default the spec's own, then the function called `handler` or as the function is, then the
            only one. Code without functions, or with several and an `if __name__ == "__main__"`, is run as a script.

    Raises:
        ConfigError: there is no such handler, or code that cannot be loaded.
        Exception: whatever the code raises as it is loaded.
    """
    code = spec.get("code") or {}
    wanted = handler or spec.get("handler") or ""
    _reach(spec)
    kind = code.get("kind")
    if kind == "pickle":
        found = _unpickled(code["data"], str(code.get("python", "")))
        return (
            _member(found, wanted) if wanted and wanted != spec.get("handler") else _called(found)
        )
    if kind == "source":
        return _from_source(code, wanted, str(spec.get("name") or ""))
    if kind == "module":
        return _find(_imported(code["name"]), wanted, str(spec.get("name") or ""))
    if not code and "." in wanted:
        path, _, name = wanted.rpartition(".")
        return _find(_imported(path), name, "")
    said = f"code of kind {kind!r}" if kind else "no code"
    raise ConfigError(f"function {spec.get('name', '')!r} has {said}: nothing can be called")


def _from_source(code: Mapping[str, Any], wanted: str, name: str) -> Callable[..., Any]:
    text, filename = code["text"], str(code.get("filename") or "handler.py")
    origin = str(code.get("origin") or "")
    if not wanted and is_script(text, name):
        return _script(text, filename, origin)
    return _find(load_source(text, filename, origin), wanted, name)


def _script(text: str, filename: str, origin: str) -> Callable[[], None]:
    """Return what performs the text as `python file.py` would."""

    def script() -> None:
        known = _unchanged(origin, text)
        shown = known or _shown(_digest(text), text, filename)
        _beside(known)
        names = {"__name__": "__main__", "__file__": shown, "__builtins__": __builtins__}
        exec(compile(text, shown, "exec", dont_inherit=True), names)

    script.__qualname__ = script.__name__ = Path(filename).stem
    return script


def load_source(text: str, filename: str = "", origin: str = "") -> ModuleType:
    """Return a module made of source text; its tracebacks show the lines of that text.

    Args:
        text: Python source.
        filename: what it is called in tracebacks.
        origin: the file it was read from: `__file__`, as long as that file is there and holds the same text.
    """
    with _lock:
        return _made(text, filename or "handler.py", origin)


@functools.lru_cache(maxsize=_KEPT)
def _made(text: str, filename: str, origin: str) -> ModuleType:
    digest = _digest(text)
    origin = _unchanged(origin, text)
    shown = origin or _shown(digest, text, filename)
    stem = "".join(c if c.isalnum() else "_" for c in Path(filename).stem)
    module = ModuleType(f"{_PREFIX}{stem}_{digest[:12]}")
    module.__file__ = shown
    _beside(origin)
    compiled = compile(text, shown, "exec", dont_inherit=True)
    # dataclasses and typing look their module up by its name
    sys.modules[module.__name__] = module
    try:
        exec(compiled, module.__dict__)
    except BaseException:
        sys.modules.pop(module.__name__, None)
        raise
    _travels_by_value(module)
    return module


def _digest(text: str) -> str:
    return hashlib.sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def _shown(digest: str, text: str, filename: str) -> str:
    """Return the name of a file that is nowhere; tracebacks find its lines under it."""
    shown = f"<{digest[:8]}>/{Path(filename).name}"
    linecache.cache[shown] = (len(text), None, text.splitlines(keepends=True), shown)
    return shown


def _beside(origin: str) -> None:
    """Let what lies beside a script be imported; at the end of the path, where it hides nothing."""
    if origin and (folder := str(Path(origin).parent)) not in sys.path:
        sys.path.append(folder)


def _unchanged(origin: str, text: str) -> str:
    try:
        same = bool(origin) and Path(origin).read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        same = False
    return origin if same else ""


def _travels_by_value(module: ModuleType) -> None:
    """Have objects of its classes pickled with their class: no other process can import it."""
    import cloudpickle

    cloudpickle.register_pickle_by_value(module)


def _reach(spec: Mapping[str, Any]) -> None:
    """Put the function's source folder on the import path, where it is on this host."""
    source, context = str(spec.get("source") or ""), str(spec.get("context") or "")
    if not source or ("://" in source and not context):
        return
    # of a repository, the working copy is meant where there is one; elsewhere the executor has brought it along
    place = Path(context) if "://" in source else Path(context or ".", source)
    folder = Path(place, str(spec.get("workdir") or "")).absolute()
    if folder.is_dir() and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(f"there is no module {name!r} where the function runs") from error
        raise


@functools.lru_cache(maxsize=_KEPT)
def _unpickled(data: str, python: str) -> Any:
    import pickle

    here = ".".join(map(str, sys.version_info[:2]))
    if python and python != here:
        raise ConfigError(
            f"the function was pickled by Python {python} and this is {here}: put it into a file, whose source is kept"
        )
    return pickle.loads(base64.b64decode(data))  # a function is code: whoever runs it trusts it


def _find(module: ModuleType, wanted: str, name: str) -> Callable[..., Any]:
    if not wanted:
        return _only(module, name)
    if "::" not in wanted and "." in wanted and wanted.partition(".")[0] not in vars(module):
        path, _, wanted = wanted.rpartition(".")
        module = _imported(path)
    return _member(module, wanted)


def _only(module: ModuleType, name: str) -> Callable[..., Any]:
    own: dict[str, Callable[..., Any]] = {
        k: v
        for k, v in vars(module).items()
        if callable(v)
        and not isinstance(v, type)
        and getattr(v, "__module__", None) == module.__name__
    }
    if chosen := default_handler(list(own), name):
        return own[chosen]
    public = sorted(n for n in own if not n.startswith("_"))
    said = f"one of {', '.join(public)}" if public else "and its code holds none"
    raise ConfigError(f"which function is meant? Say handler=…, {said}")


def _member(holder: Any, wanted: str) -> Callable[..., Any]:
    """Follow `Class::method` or `name`."""
    path, _, method = wanted.partition("::")
    found: Any = holder
    for part in path.split("."):
        found = _attribute(found, part, wanted)
    if not method:
        return _called(found)
    if isinstance(found, type) and not isinstance(
        found.__dict__.get(method), (staticmethod, classmethod)
    ):
        _attribute(found, method, wanted)
        found = found(**_init_args())
    return _called(_attribute(found, method, wanted))


def _attribute(holder: Any, name: str, wanted: str) -> Any:
    try:
        return getattr(holder, name)
    except AttributeError:
        known = [
            n for n in dir(holder) if not n.startswith("_") and callable(getattr(holder, n, None))
        ]
        where = getattr(holder, "__file__", None) or getattr(holder, "__name__", "the function")
        hint = did_you_mean(name, known)
        raise ConfigError(f"no handler {wanted!r} in {Path(str(where)).name}{hint}") from None


def _called(found: Any) -> Callable[..., Any]:
    if not callable(found):
        raise ConfigError(f"the handler is a {type(found).__name__}, which cannot be called")
    made: Callable[..., Any] = found
    return made


def _init_args() -> dict[str, Any]:
    from mlrun.tracking.current import current_run

    run = current_run()
    given = {} if run is None else run.config.as_dict().get("_init_args") or {}
    return dict(given)


def function_to_module(code: Any = "", workdir: str = "", secrets: Any = None) -> ModuleType:
    r"""Return the code of a function as a Python module, to be tried out.

    Args:
        code: a `Function`, or the path of a `.py`, `.ipynb` or `function.yaml` file.
        workdir: folder that a relative path means, and that is put on the import path.
        secrets: name -> reference; set as environment variables while the code is loaded.

    Example:
        >>> import mlrun, pathlib
        >>> _ = pathlib.Path("shop.py").write_text("def price(n, each=2):\n    return n * each\n")
        >>> mlrun.function_to_module("shop.py").price(3)
        6
    """
    from mlrun.execution.environment import environment
    from mlrun.execution.secrets import check_references
    from mlrun.functions.function import Function
    from mlrun.functions.making import code_to_function

    if not isinstance(code, (Function, ModuleType)):
        code = code_to_function(filename=str(Path(workdir, code)))
    if isinstance(code, ModuleType):
        return code
    spec = code.spec
    if workdir and str(Path(workdir).absolute()) not in sys.path:
        sys.path.insert(0, str(Path(workdir).absolute()))
    _reach(spec.to_dict())
    with environment(None, check_references(secrets)):
        kind = spec.code.get("kind")
        if kind == "module":
            return _imported(spec.code["name"])
        if kind != "source":
            raise ConfigError(f"function {spec.name!r} has no source that a module can be made of")
        return load_source(
            spec.code["text"], spec.code.get("filename", ""), spec.code.get("origin", "")
        )
