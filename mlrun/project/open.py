"""Making, loading and finding projects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.content.folders import safe_join
from mlrun.errors import ConfigError, NotFound, ObjectError
from mlrun.functions.spec import read_yaml
from mlrun.names import clean_text
from mlrun.notices import warn
from mlrun.project import gitclone
from mlrun.project.active import set_active
from mlrun.project.document import FILE, ProjectDocument
from mlrun.project.project import Project
from mlrun.project.records import stored_document
from mlrun.project.setup import SETUP, has_setup, run_setup
from mlrun.project.source import fetch, is_git
from mlrun.redact import redact_url
from mlrun.store import Store, open_store

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["get_or_create_project", "load_project", "new_project"]


def get_or_create_project(
    name: str,
    context: str | os.PathLike[str] = "./",
    url: str = "",
    secrets: Mapping[str, str] | None = None,
    init_git: bool = False,
    subpath: str = "",
    clone: bool = False,
    user_project: bool = False,
    from_template: str | os.PathLike[str] = "",
    save: bool = True,
    parameters: Mapping[str, Any] | None = None,
    allow_cross_project: bool = False,
    run_setup: bool = True,
    *,
    description: str = "",
    trust: bool = False,
    store: Store | str | Path | None = None,
) -> Project:
    """Return a project: the one of the folder's `project.yaml`, of the URL, or of the store; else a new one.

    It becomes the current project.

    Args:
        name: its name.
        context: its folder, made if it is not there.
        url: git URL, `.zip` or `.tar.gz`, or folder, that it is loaded from when its folder has none.
        secrets: name -> reference; `GIT_TOKEN` for a private repository.
        init_git: make its folder a git repository.
        subpath: folder inside, where `project.yaml` is.
        clone: fetch the URL again, in the place of an earlier clone without changes.
        user_project: put the user's name behind its name.
        from_template: a `project.yaml` that a new project begins as.
        save: write `project.yaml`, and store the project.
        parameters: its params; `project_setup.py` sees them.
        allow_cross_project: let a `project.yaml` of another name be what this one begins as.
        run_setup: run `project_setup.py`, if there is one.
        description: of a new project.
        trust: run `project_setup.py` also when it came from a URL.
        store: where it is kept; default the settings' store.

    Raises:
        ConfigError: the folder belongs to a project of another name, or the URL cannot be fetched.

    Example:
        >>> import mlrun
        >>> project = mlrun.get_or_create_project("doc", context="./doc", parameters={"rows": 10})
        >>> project.get_param("rows")
        10
    """
    called = _named(name, user_project)
    options: dict[str, Any] = {
        "init_git": init_git, "save": save, "parameters": parameters, "run_setup": run_setup,
    }  # fmt: skip
    place = _folder(context, subpath)
    if url or (place / FILE).is_file():
        return load_project(
            context, url, called, subpath=subpath, clone=clone, trust=trust,
            allow_cross_project=allow_cross_project, secrets=secrets, store=store, **options,
        )  # fmt: skip
    stored = stored_document(_store(store), called)
    if stored is not None:
        project = Project(ProjectDocument(stored), place, _opened(store))
        return _ready(project, **options)
    return new_project(
        called, context, subpath=subpath, from_template=from_template, description=description,
        overwrite=True, store=store, **options,
    )  # fmt: skip


def new_project(
    name: str,
    context: str | os.PathLike[str] = "./",
    init_git: bool = False,
    user_project: bool = False,
    from_template: str | os.PathLike[str] = "",
    description: str = "",
    subpath: str = "",
    save: bool = True,
    overwrite: bool = False,
    parameters: Mapping[str, Any] | None = None,
    default_function_node_selector: Mapping[str, str] | None = None,
    run_setup: bool = True,
    *,
    store: Store | str | Path | None = None,
) -> Project:
    """Return a new project; it becomes the current one.

    Args:
        name: any text.
        context: its folder, made if it is not there.
        init_git: make the folder a git repository.
        user_project: put the user's name behind its name.
        from_template: a `project.yaml` that it begins as.
        description: one sentence for people.
        subpath: folder inside, where `project.yaml` is.
        save: write `project.yaml`, and store the project.
        overwrite: take the place of a project of this name, or of the folder's; runs and artifacts stay.
        parameters: its params; `project_setup.py` sees them.
        default_function_node_selector: labels of the nodes where its functions run.
        run_setup: run `project_setup.py`, if there is one.
        store: where it is kept; default the settings' store.

    Raises:
        ConfigError: there is such a project, and `overwrite` is not set.
    """
    called = _named(name, user_project)
    place = _folder(context, subpath)
    if not overwrite and ((place / FILE).exists() or stored_document(_store(store), called)):
        raise ConfigError(
            f"there is a project {called!r} already, or one in {place}: say get_or_create_project(), or overwrite=True"
        )
    base = read_yaml(Path(from_template)) if from_template else {}
    document = ProjectDocument(base, called)
    if description:
        document.spec["description"] = description
    if default_function_node_selector:
        document.spec["default_function_node_selector"] = dict(default_function_node_selector)
    place.mkdir(parents=True, exist_ok=True)
    project = Project(document, place, _opened(store))
    return _ready(project, init_git, save, parameters, run_setup)


def load_project(
    context: str | os.PathLike[str] = "./",
    url: str = "",
    name: str = "",
    secrets: Mapping[str, str] | None = None,
    init_git: bool = False,
    subpath: str = "",
    clone: bool = False,
    user_project: bool = False,
    save: bool = True,
    parameters: Mapping[str, Any] | None = None,
    allow_cross_project: bool = False,
    run_setup: bool = True,
    *,
    trust: bool = False,
    store: Store | str | Path | None = None,
) -> Project:
    """Return the project of a folder; with a URL, of what is fetched into it. It becomes the current project.

    A project from a URL runs no code while it is loaded, unless `trust=True`, and its files cannot lead out of its
    folder. Of a folder that has been fetched already nothing is fetched again.

    Args:
        context: its folder.
        url: git URL (`#branch`, tag or commit behind it), `.zip` or `.tar.gz`, folder, or `db://name` for a stored one.
        name: its name; default the one in `project.yaml`.
        secrets: name -> reference; `GIT_TOKEN`, or `GIT_USERNAME` and `GIT_PASSWORD`, for a private repository.
        init_git: make its folder a git repository.
        subpath: folder inside, where `project.yaml` is.
        clone: fetch again, in the place of an earlier clone without changes.
        user_project: put the user's name behind its name.
        save: write `project.yaml`, and store the project.
        parameters: laid over its params; `project_setup.py` sees them.
        allow_cross_project: let the name differ from the one in `project.yaml`.
        run_setup: run `project_setup.py`, if there is one.
        trust: run it also when it came from a URL.
        store: where the project is kept; default the settings' store.

    Raises:
        NotFound: there is no `project.yaml`, and no stored project of this name.
        ConfigError: it cannot be fetched or read, or has another name.
    """
    if url.startswith("db://"):
        name, url = name or url.removeprefix("db://"), ""
    called = _named(name, user_project) if name else ""
    if url:
        _bring(url, Path(context).expanduser(), clone, secrets)
    place = _folder(context, subpath)
    document = _document(place, called, url, store, allow_cross_project)
    if user_project and not name:
        document.metadata["name"] = _named(document.metadata["name"], True)
    if url and not document.spec.get("source"):
        document.spec["source"] = redact_url(url)
    project = Project(document, place, _opened(store), trusted=trust or not url)
    return _ready(project, init_git, save, parameters, run_setup, file=not url)


def _ready(
    project: Project,
    init_git: bool,
    save: bool,
    parameters: Mapping[str, Any] | None,
    run_setup: bool,
    *,
    file: bool = True,
) -> Project:
    """Bring a project to its end state: params first, since its setup asks for them; then the setup; then saved.

    `file=False` leaves the `project.yaml` of what was fetched as it is.
    """
    project.params.update(parameters or {})
    if init_git:
        project.context.mkdir(parents=True, exist_ok=True)
        gitclone.init(project.context)
    set_active(project)
    if run_setup and has_setup(project):
        project = _set_up(project)
    if save:
        project.save(file)
        if project.missing_artifacts():
            project.register_artifacts()
    set_active(project)
    return project


def _set_up(project: Project) -> Project:
    if project.trusted:
        return run_setup(project)
    warn(
        f"{SETUP} of project {project.name!r} came from a URL and was not run: pass trust=True to run it"
    )
    return project


def _document(
    place: Path, name: str, url: str, store: Any, allow_cross_project: bool
) -> ProjectDocument:
    path = place / FILE
    if not path.is_file():
        if url:  # a repository of code is a project without a document
            return ProjectDocument({}, name or place.name)
        stored = stored_document(_store(store), name) if name else None
        if stored is None:
            where = f", and no stored project {name!r}" if name else ""
            raise NotFound(f"there is no {FILE} in {place}{where}")
        return ProjectDocument(stored)
    document = ProjectDocument.read(path)
    there = str(document.metadata["name"])
    if name and there != name:
        if not allow_cross_project:
            raise ConfigError(
                f"{FILE} in {place} is that of project {there!r}, not {name!r}: choose another context, or say "
                "allow_cross_project=True to begin with what it holds"
            )
        document.metadata["name"] = name
    return document


def _bring(url: str, context: Path, clone: bool, secrets: Mapping[str, str] | None) -> None:
    """Fetch a URL into the folder, unless it is there already."""
    there = context.is_dir() and any(context.iterdir())
    if there and clone:
        _clear(url, context)
        there = False
    if there:
        if (context / FILE).is_file() or _is_clone(url, context):
            return
        raise ConfigError(f"cannot load {redact_url(url)} into {context}: it is not empty")
    fetch(url, context, secrets=secrets)


def _is_clone(url: str, context: Path) -> bool:
    return is_git(url) and gitclone.origin_of(context) == gitclone.GitSource.parse(url).url


def _clear(url: str, context: Path) -> None:
    """Remove an earlier clone of this URL, and nothing else, ever."""
    import shutil

    if not _is_clone(url, context):
        raise ConfigError(
            f"{context} is no clone of {redact_url(url)}: remove it yourself, or choose another context"
        )
    if gitclone.has_changes(context):
        raise ConfigError(
            f"the clone in {context} has changes that are nowhere else: push or remove them"
        )
    shutil.rmtree(context)


def _folder(context: str | os.PathLike[str], subpath: str) -> Path:
    place = Path(context).expanduser().absolute()
    if not subpath or subpath in (".", "./"):
        return place
    try:
        return safe_join(place, subpath.strip("/").removeprefix("./"))
    except ObjectError as error:
        raise ConfigError(f"subpath {subpath!r} leads out of the project's folder") from error


def _named(name: str, user_project: bool) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ConfigError("a project needs a name")
    if user_project:
        import getpass

        name = f"{name}-{getpass.getuser().lower()}"
    return clean_text(name)[0]


def _opened(store: Any) -> Store | None:
    return None if store is None else open_store(store)


def _store(store: Any) -> Store:
    return open_store(store)
