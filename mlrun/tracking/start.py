"""`init`: how a run begins."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun import notices
from mlrun.config import Settings, settings as read_settings
from mlrun.errors import ConfigError, NotFound, RunExists, StoreError, did_you_mean
from mlrun.ids import now_us, uuid7
from mlrun.names import clean, clean_text, plain_text
from mlrun.store import open_store
from mlrun.tables import PARAMS
from mlrun.tracking import current, lifecycle
from mlrun.tracking.capture import attach, known_provenance
from mlrun.tracking.delivery import begin as begin_delivery
from mlrun.tracking.resume import (
    find_stored,
    is_owned_elsewhere,
    load_reachable,
    load_row,
    near_ids,
)
from mlrun.tracking.run import Run
from mlrun.tracking.runconfig import RunConfig, dict_of
from mlrun.tracking.runops import RunRow, param_ops
from mlrun.tracking.whoami import host, user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from mlrun.contracts import Op
    from mlrun.store import Store
    from mlrun.tracking.resume import Known

__all__ = ["About", "init", "open_run"]

_RESUME = ("never", "allow", "must")
_WAITED = ("created", "pending")
_SHOWN = 80  # characters of a name in the line on stderr
_SETTINGS = tuple(Settings.__dataclass_fields__)


def init(
    project: str | None = None,
    name: str | None = None,
    config: Any = None,
    tags: Iterable[str] | None = None,
    labels: Mapping[str, Any] | None = None,
    group: str | None = None,
    parent: Run | str | None = None,
    notes: str | None = None,
    id: str | None = None,
    resume: str = "never",
    store: Store | str | Path | None = None,
    *,
    kind: str = "run",
    **settings: Any,
) -> Run:
    """Start a run, or go on with one, and make it the process's open run.

    Inside a handler it returns the handler's run, with what is given here added. A process has one open run: a second
    `init` finishes the first, with a warning.

    Args:
        project: where the run belongs; default `MLRUN_PROJECT`, else "default".
        name: what people call it; default the script's name and the end of the id, such as `train-3f9a2c`.
        config: its params: a dict, nested as you like, a Namespace, a dataclass, a pydantic or OmegaConf object.
        tags: words to find it by.
        labels: further facts, a dict.
        group: name that several runs share.
        parent: run, or id of a run, that this one is a part of.
        notes: free text.
        id: text that names the run for ever; default a new UUIDv7. `MLRUN_RUN_ID` gives one, and implies
            `resume="allow"`.
        resume: what to do when a run of this id is stored: "never" raises, "allow" goes on with it, "must" goes on
            and raises when there is none. A resumed run keeps its points, params and start; its automatic step
            is one more than its last step. A run that another living process owns is joined: this process writes to it
            and never ends it.
        store: store, or its folder; default `MLRUN_DBPATH`, else `.mlrun`.
        kind: what sort of run it is.
        **settings: any setting, such as `mode="disabled"`, `console=False`, `system_metrics=False`.

    Returns:
        The run; also a context manager, that finishes it as its block ends.

    Raises:
        RunExists: the id is taken, and `resume` does not allow to go on with it.
        NotFound: `resume="must"` and there is no such run.
        ConfigError: an argument has no meaning.
        StoreError: the store's folder cannot be used.

    Example:
        >>> import mlrun
        >>> run = mlrun.init(project="doc", id="night-1", config={"lr": 0.1})
        >>> run.log({"loss": 0.5})
        >>> run.finish()
        >>> run = mlrun.init(project="doc", id="night-1", resume="must")
        >>> run.config["lr"], run.step
        (0.1, 1)
        >>> run.finish()
    """
    known = _settings(project, settings)
    about = About(name, config, tags, labels, group, parent, notes, kind)
    if (bound := current.bound_run()) is not None:
        return _add(bound, about)
    run_id, word = _identity(id, resume, known)
    place = None
    if known.mode != "disabled":
        place = open_store(store, given=None if store is not None else known)
        place.offline = known.mode == "offline"
        if run_id is not None:
            _allow(
                run_id, word, _find(place, run_id, word), place
            )  # an error must leave the open run as it is
    _finish_open_run()
    run = open_run(
        place, known, about, run_id=run_id, resume=word, watch=True, greet=not known.quiet
    )
    if project and run.project != clean_text(known.project)[0]:
        run.warn(
            "project",
            f"run {run.id!r} belongs to project {run.project!r}, not {project!r:.80}, and stays there",
        )
    current.set_open_run(run)
    lifecycle.install()
    return run


@dataclass
class About:
    """What is said of a run when it is opened; see `init` for the meaning of each.

    Attributes:
        function: name of the function that the run runs.
        iteration: its number among the iterations of its parent.

    Raises:
        ConfigError: config or labels is no mapping, or tags is no list.
    """

    name: str | None = None
    config: Any = None
    tags: Iterable[str] | None = None
    labels: Mapping[str, Any] | None = None
    group: str | None = None
    parent: Run | str | None = None
    notes: str | None = None
    kind: str = "run"
    function: str | None = None
    iteration: int | None = None

    def __post_init__(self) -> None:
        if self.config is not None:
            self.config = dict_of(self.config, "config")
        if self.labels is not None:
            self.labels = dict_of(self.labels, "labels")
        self.tags = _listed(self.tags)


def open_run(
    store: Store | None,
    settings: Settings,
    about: About | None = None,
    *,
    run_id: str | None = None,
    resume: str = "never",
    watch: bool = False,
    greet: bool = False,
    taken: Mapping[str, Any] | None = None,
    known: Known | None = None,
) -> Run:
    """Open a run without touching the process's open run: for `init`, and for executors that open many.

    Args:
        store: where it is kept; None stores nothing (mode "disabled").
        settings: its settings; `settings.project` is its project.
        about: name, config, tags and so on.
        run_id: default a new id. With one, the store is asked whether it is there.
        resume: never, allow or must, as in `init`.
        watch: also record console, system metrics and provenance.
        greet: say on stderr what was opened, before anything printed counts as the run's.
        taken: the run's stored row, or an empty dict for a new id, when the caller has looked and owns the run from
            here on: the store is not asked again, and a run that its driver holds is taken over instead of joined.
        known: what the caller knows of it beside its row.

    Returns:
        The run; whoever opened it calls `finish` or `end`.

    Raises:
        RunExists, NotFound, StoreError: as in `init`.
    """
    said = about or About()
    changes: dict[str, str] = {}
    found = dict(taken) if taken else None
    row = load_row(store, found, known) if store is not None and found is not None else None
    if taken is None and store is not None and run_id is not None:
        found = _find(store, run_id, resume)
        _allow(run_id, resume, found, store)
        row = load_reachable(store, found, must=resume == "must") if found else None
    if row is None:
        found, row = None, _new_row(settings, run_id or uuid7(), changes.setdefault)
    if watch and found is None:
        row.provenance.update(known_provenance(settings, store))
    ops = _describe(row, said, changes.setdefault)
    attached = (
        taken is None
        and store is not None
        and found is not None
        and is_owned_elsewhere(store, found)
    )
    with _usable(store):
        run = Run(row, store, settings, attached=attached)
    for code, message in changes.items():
        run.warn(code, message)
    if run.writer is None:
        _greet(run, greet)
        return run
    owner = "" if attached else f"{run.writer.name}#{run.writer.claim}"
    columns = _columns(said, found, owner, run.warn)
    with _usable(store):
        run.writer.record([*row.ops(columns, now_us()), *ops])
    begin_delivery(store, settings.finish_timeout)
    lifecycle.close_at_exit(run.writer)
    if not attached:
        lifecycle.opened(run)
    _greet(run, greet)
    if watch:
        attach(run)
    return run


def _settings(project: str | None, given: dict[str, Any]) -> Settings:
    for name in given:
        if name not in _SETTINGS:
            hint = did_you_mean(name, [*_SETTINGS, *init.__annotations__])
            raise ConfigError(f"init() has no argument and no setting {name!r}{hint}")
    return read_settings(project=project or None, **given)


def _identity(given: str | None, resume: str, known: Settings) -> tuple[str | None, str]:
    """Return the id, if one is given, and what to do if it is taken."""
    if resume not in _RESUME:
        hint = did_you_mean(str(resume), _RESUME)
        raise ConfigError(f"resume is one of {', '.join(_RESUME)}, not {resume!r}{hint}")
    run_id, _ = clean_text(given if given is not None else known.run_id)
    if not run_id:
        if resume == "must":
            raise ConfigError(
                "resume='must' needs to know which run: pass id=, or set MLRUN_RUN_ID"
            )
        return None, resume
    if given is None and resume == "never":
        return run_id, "allow"
    return run_id, resume


def _allow(run_id: str, resume: str, found: Mapping[str, Any] | None, store: Store) -> None:
    if found is not None and resume == "never":
        raise RunExists(
            f"run {run_id!r} is in {store.url} ({found['state']}, project {found['project']!r}): pass resume='allow' "
            "to go on with it, or another id"
        )
    if found is None and resume == "must":
        raise NotFound(f"no run {run_id!r} in {store.url} to go on with{near_ids(store, run_id)}")


def _find(store: Store, run_id: str, resume: str) -> dict[str, Any] | None:
    with _usable(store):
        return find_stored(store, run_id, must=resume == "must")


@contextmanager
def _usable(store: Store | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        where = store.url if store is not None else "memory"
        raise StoreError(
            f"cannot write to the store in {where}: {reason}; choose another folder with MLRUN_DBPATH"
        ) from error


def _new_row(settings: Settings, run_id: str, warn: Callable[[str, str], Any]) -> RunRow:
    return RunRow(run_id, clean(settings.project, "project", warn), _default_name(run_id))


def _describe(row: RunRow, about: About, warn: Callable[[str, str], Any]) -> list[Op]:
    """Lay what is said of a run over its row; returns the ops of its params."""
    if about.name is not None:
        row.name = clean(about.name, "name", warn)
    if about.notes is not None:
        row.notes = plain_text(about.notes)
    row.tags.update(clean(t, "tag", warn) for t in about.tags or ())
    for key, value in (about.labels or {}).items():
        row.set_label(clean(key, "label", warn), value)
    ops: list[Op] = []
    if about.config is not None:

        def changed(new: dict[str, Any], gone: list[str]) -> None:
            ops.extend(param_ops(PARAMS.name, row.id, new, gone, warn))

        RunConfig(row.params, changed, lambda key: clean(key, "key", warn)).update(about.config)
    return ops


def _columns(
    about: About, found: Mapping[str, Any] | None, writer: str, warn: Callable[[str, str], Any]
) -> dict[str, Any]:
    """Return the columns that say what the run is and, unless `writer` is empty, who owns it and since when."""
    said = {
        "function": about.function,
        "parent": getattr(about.parent, "id", about.parent),
        "group": about.group,
    }
    columns: dict[str, Any] = {n: clean(v, n, warn) for n, v in said.items() if v is not None}
    if about.iteration is not None:
        columns["iteration"] = about.iteration
    if not writer:
        return columns
    columns |= {"state": "running", "writer": writer, "user": user(), "host": host()}
    if found is None:
        return {**columns, "kind": clean(about.kind, "kind", warn), "started_at": now_us()}
    if found["state"] in _WAITED:  # it was only announced so far
        columns["started_at"] = now_us()
    return {**columns, "finished_at": None, "error": None, "deleted_at": None}


def _listed(tags: Any) -> list[Any]:
    if isinstance(tags, str):
        return [tags]
    try:
        if not isinstance(tags, (bytes, bytearray)):
            return [] if tags is None else list(tags)
    except TypeError:
        pass  # the error below says more
    raise ConfigError(f"tags is a list of words, not {type(tags).__name__}")


def _add(run: Run, about: About) -> Run:
    """Add what a second `init` says to the run that a handler owns."""
    if about.name is not None:
        run.name = about.name
    if about.config is not None:
        run.config.update(about.config)
    if about.tags:
        run.add_tags(*about.tags)
    if about.labels:
        run.set_labels(about.labels)
    if about.notes is not None:
        run.notes = about.notes
    return run


def _finish_open_run() -> None:
    before = current.open_run_of_process()
    if before is None or before.inherited:
        return
    notices.warn(f"init() while run {_short(before.name)!r} is open: that run is finished first")
    before.finish()


def _default_name(run_id: str) -> str:
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    stem = Path(script).stem if script and "ipykernel" not in script else "run"
    if stem == "__main__" and script:  # python -m package
        stem = Path(script).absolute().parent.name
    return f"{clean_text(stem, limit=200)[0]}-{clean_text(run_id)[0][-6:]}"


def _greet(run: Run, wanted: bool) -> None:
    if wanted:
        notices.say(_greeting(run))


def _greeting(run: Run) -> str:
    name, project = _short(run.name), _short(run.project)
    if run.store is None:
        return f"run {name!r} is disabled: nothing is stored"
    verb = "joined" if run.attached else "resumed" if run.resumed else "started"
    return f"{verb} run {name!r} in project {project!r}, id {run.id}, store {run.store.url}"


def _short(name: str) -> str:
    return name if len(name) <= _SHOWN else name[: _SHOWN - 1] + "…"
