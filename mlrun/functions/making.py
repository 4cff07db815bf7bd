"""Functions from what people have: a file, a notebook, a callable, the name of one, YAML, a stored version."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.config import settings as read_settings
from mlrun.content.references import is_url, local_path
from mlrun.errors import ConfigError, NotFound, did_you_mean
from mlrun.functions.callables import code_of, module_digest, name_of
from mlrun.functions.function import Function
from mlrun.functions.notebook import notebook_source
from mlrun.functions.requirements import read_requirements
from mlrun.functions.resources import check_resources
from mlrun.functions.spec import FunctionSpec, check_kind, read_yaml
from mlrun.functions.uri import FunctionName, check_name, check_tag
from mlrun.names import clean_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlrun.store import Store

__all__ = ["as_name", "code_of_file", "code_to_function", "import_function", "make", "new_function"]

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+(::\w+)?")
_STORED = ("db://", "store://functions/")


def new_function(
    name: str = "",
    project: str = "",
    tag: str = "",
    kind: str = "",
    command: str = "",
    image: str = "",
    args: Sequence[str] = (),
    runtime: Mapping[str, Any] | None = None,
    handler: Any = "",
    source: str = "",
    requirements: str | Sequence[str] = (),
    requirements_file: str | os.PathLike[str] = "",
    **fields: Any,
) -> Function:
    """Return a new function.

    Args:
        name: default what the handler or command is called.
        project: default the current project.
        tag: set when it is saved.
        kind: job (default), handler or local.
        command: script or command line that is run, as a process of its own; with a handler, the file it is in.
        image: container image.
        args: of the command; `{lr}` in one stands for the param `lr`.
        runtime: a spec to begin with, as `fn.to_dict()` gives it.
        handler: a callable, or the name of one: `train`, `Trainer::fit`, `package.module.train`.
        source: folder, archive or git URL of code that comes along.
        requirements: pip requirements.
        requirements_file: a file of them.
        **fields: further fields of its spec: `env`, `resources`, `replicas`, `retry`, `description`, …

    Example:
        >>> import mlrun
        >>> fn = mlrun.new_function("add", handler=lambda a, b: a + b)
        >>> fn.run(params={"a": 1, "b": 2}).results
        {'return': 3}
    """
    base = FunctionSpec.from_dict(runtime or {})
    code, called = base.code, ""
    if handler and not isinstance(handler, str):
        code, called = code_of(handler)
        name = name or base.name or name_of(handler)
    elif handler and command:
        code, called = code_of_file(Path(command)), handler
    elif command:
        code = _command(command, args)
    elif handler and _DOTTED.fullmatch(handler) and not code:
        code, called = _module_code(handler)
    else:
        called = handler
    fallback = base.name or called.rpartition("::")[2] or (Path(command).stem if command else "")
    given = {
        "name": name or fallback, "project": project or base.project, "tag": tag or base.tag,
        "kind": kind or base.kind, "image": image or base.image, "source": source or base.source,
        "requirements": [
            *base.requirements, *read_requirements(requirements), *read_requirements(requirements_file)
        ],
    }  # fmt: skip
    return _function(replace(base, code=code, handler=called or base.handler), {**given, **fields})


def code_to_function(
    name: str = "",
    project: str = "",
    tag: str = "",
    filename: Any = "",
    handler: str = "",
    kind: str = "",
    image: str = "",
    description: str = "",
    requirements: str | Sequence[str] = (),
    labels: Mapping[str, Any] | None = None,
    requirements_file: str | os.PathLike[str] = "",
    code_output: str | os.PathLike[str] = "",
    **fields: Any,
) -> Function:
    """Return a function with the code of a file, a notebook or a callable in it.

    Args:
        name: default the file's, without what a name cannot hold.
        project: default the current project.
        tag: set when it is saved.
        filename: `.py`, `.ipynb` or `.yaml` file or URL, `package.module.train`, a callable, a class or its method.
        handler: what of it is called.
        kind: job (default), handler or local.
        image: container image.
        description: one sentence for people.
        requirements: pip requirements.
        labels: words to find it by.
        requirements_file: a file of them.
        code_output: where to write the source of a notebook as well: a `.py` file, or a folder.
        **fields: further fields of its spec.
    """
    fields = {"description": description, "labels": labels, **fields}
    made = make(
        filename, name=name, project=project, tag=tag, kind=kind, handler=handler, image=image,
        requirements=[*read_requirements(requirements), *read_requirements(requirements_file)],
        **{k: v for k, v in fields.items() if v},
    )  # fmt: skip
    if code_output:
        target = Path(code_output)
        target = target / str(made.spec.code["filename"]) if target.is_dir() else target
        target.write_text(str(made.spec.code["text"]), encoding="utf-8")
    return made


def import_function(
    url: str = "", project: str = "", new_name: str = "", *, store: Store | None = None
) -> Function:
    """Return a function from YAML, from a file of code, or from the store.

    Args:
        url: path or URL of a `.yaml`, `.py` or `.ipynb` file, or `[project/]name[:tag][@hash]` of a stored version,
            also behind `db://`.
        project: which it shall belong to; of names that say none, where it is looked up.
        new_name: another name for it.
        store: where stored versions are looked up; default the settings' store.

    Raises:
        NotFound: there is neither such a file nor such a function.
        ConfigError: it cannot be read.
    """
    made = make(url, store=store, look_in=project)
    if project:
        made.spec.project = clean_text(project)[0]
    if new_name:
        made.spec.name = check_name(new_name)
    return made


def make(
    func: Any,
    *,
    context: str | Path = "",
    store: Store | None = None,
    look_in: str = "",
    **fields: Any,
) -> Function:
    """Return a function made of whatever `project.set_function` takes.

    Args:
        func: a `Function`, a callable, a path or URL, `module.func`, or the name of a stored version.
        context: folder that a relative path means.
        store: of stored versions.
        look_in: project of names that say none.
        **fields: of its spec; empty ones do not count.
    """
    spec, name = _read(func, Path(context or "."), store, look_in)
    if context:
        spec = replace(spec, context=str(Path(context).absolute()))
    fields["name"] = fields.get("name") or spec.name or name
    return _function(spec, fields, store)


def _read(func: Any, folder: Path, store: Store | None, look_in: str) -> tuple[FunctionSpec, str]:
    """Return a spec with the code in it, and a name for the function."""
    if isinstance(func, Function):
        return func.copy().spec, func.name
    if callable(func):
        made = code_of(func)
        return FunctionSpec(code=made.code, handler=made.handler), name_of(func)
    if not isinstance(func, (str, os.PathLike)) or not str(func):
        raise ConfigError(
            f"a function is made of a file, a callable or a name, not of {func!r:.60}"
        )
    text = os.fspath(func)
    if text.startswith(_STORED):
        return _stored(text, store, look_in)
    if text.startswith("hub://"):
        raise ConfigError(f"{text!r}: there is no hub; give a file, a URL or a stored function")
    if is_url(text):
        return _fetched(text)
    path = folder / Path(local_path(text)).expanduser()
    if path.is_file():
        return _from_path(path)
    if _DOTTED.fullmatch(text) and Path(text).suffix not in (".py", ".ipynb", ".yaml", ".yml"):
        code, handler = _module_code(text)
        return FunctionSpec(code=code, handler=handler), handler.rpartition("::")[2]
    try:
        return _stored(text, store, look_in)
    except (NotFound, ConfigError) as error:
        raise NotFound(f"there is no file {text!r}, and {error}") from error


def _from_path(path: Path) -> tuple[FunctionSpec, str]:
    if path.suffix.lower() in (".yaml", ".yml"):
        spec = FunctionSpec.from_dict(read_yaml(path))
        return spec, spec.name or path.stem
    return FunctionSpec(code=code_of_file(path)), as_name(path)


def code_of_file(path: Path) -> dict[str, Any]:
    """Return the source of a `.py` file or a notebook, as code of a function.

    Raises:
        NotFound: there is no such file.
        ConfigError: it is no text, or no notebook.
    """
    if not path.is_file():
        near = [p.name for p in path.parent.glob("*") if p.suffix in (".py", ".ipynb")]
        raise NotFound(f"there is no file {str(path)!r}{did_you_mean(path.name, near)}")
    if path.suffix.lower() == ".ipynb":
        return {"kind": "source", "text": notebook_source(path), "filename": f"{path.stem}.py"}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path.name} as Python source: {error}") from error
    return {"kind": "source", "text": text, "filename": path.name, "origin": str(path.absolute())}


def _fetched(url: str) -> tuple[FunctionSpec, str]:
    """Read a function from a URL; what was fetched is gone afterwards."""
    import shutil
    import tempfile

    from mlrun.content.references import Reference, open_url

    shown = Reference(url)
    with tempfile.TemporaryDirectory(prefix="mlrun-") as folder:
        path = Path(folder, Path(shown.key).name or "handler.py")
        with open_url(url) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)
        spec, name = _from_path(path)
    spec.code.pop("origin", None)
    return spec, name


def _stored(text: str, store: Store | None, look_in: str) -> tuple[FunctionSpec, str]:
    from mlrun.functions.store import find_version, get_spec
    from mlrun.store import open_store

    asked = FunctionName.parse(text)
    place = store or open_store()
    exact = find_version(place, asked, look_in or current_project_name())
    return FunctionSpec.from_dict(get_spec(place, exact)), exact.name


def _module_code(text: str) -> tuple[dict[str, Any], str]:
    """Return the code of `package.module.train` or `package.module.Class::method`."""
    path, _, method = text.partition("::")
    module, _, name = path.rpartition(".")
    code = {"kind": "module", "name": module}
    if digest := module_digest(module):
        code["digest"] = digest
    return code, f"{name}::{method}" if method else name


def _command(command: str, args: Sequence[str]) -> dict[str, Any]:
    code: dict[str, Any] = {"kind": "command", "path": command}
    if args:
        code["args"] = [str(a) for a in args]
    if command.endswith(".py") and Path(command).is_file():
        # its text is part of the version, and goes where the file is not
        code |= {k: v for k, v in code_of_file(Path(command)).items() if k in ("text", "origin")}
        code["path"] = code["origin"]
    return code


def as_name(path: Path) -> str:
    """Return a name for the function in a file: `my.notebook v2.ipynb` is `my-notebook-v2`."""
    return re.sub(r"[^\w-]+", "-", path.stem).strip("-") or "function"


def _function(
    spec: FunctionSpec, fields: Mapping[str, Any], store: Store | None = None
) -> Function:
    """Return the function of a spec and further fields of it; checked, cleaned, and with a project."""
    given = {k: v for k, v in fields.items() if v not in (None, "", [], {}, ())}
    made = Function(spec, store).update(**given)
    spec = made.spec
    spec.kind = check_kind(spec.kind or "job")
    spec.name = clean_text(check_name(spec.name))[0]
    spec.tag = check_tag(spec.tag)
    spec.project = clean_text(spec.project or current_project_name())[0]
    spec.requirements = read_requirements(spec.requirements)
    spec.resources = check_resources(spec.resources)
    spec.env = {str(k): str(v) for k, v in spec.env.items()}
    if spec.secrets:
        from mlrun.execution.secrets import check_references

        spec.secrets = check_references(spec.secrets)
    return made


def current_project_name() -> str:
    """Return the name of the current project, else that of the settings."""
    from mlrun.project.active import active_name

    return active_name() or read_settings().project
