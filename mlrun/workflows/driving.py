"""Driving one workflow: its run is opened, its function called, its graph and end recorded, people told."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlrun.errors import ConfigError, MlrunError
from mlrun.notices import say
from mlrun.tracking import lifecycle
from mlrun.tracking.start import About, open_run
from mlrun.view import RunView
from mlrun.workflows.engine import Engine
from mlrun.workflows.lineage import WORKFLOW
from mlrun.workflows.notification import Ending, parse_notifications, push
from mlrun.workflows.performing import Performer
from mlrun.workflows.picture import Node, mermaid, svg
from mlrun.workflows.reuse import Reuse
from mlrun.workflows.telling import record_sent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlrun.config import Settings
    from mlrun.store import Store
    from mlrun.tracking.run import Run
    from mlrun.workflows.notification import Notification
    from mlrun.workflows.workflow import Plan

__all__ = ["Driver", "arguments_of", "code_of_plan", "workflow_record"]

_LARGE = 256 * 1024  # characters of code that a workflow's run keeps


@dataclass
class Driver:
    """One workflow on its way, in this process.

    Attributes:
        plan: what is performed. arguments: of its function.
        run: its run. engine: its steps.
    """

    plan: Plan
    arguments: dict[str, Any]
    run: Run
    engine: Engine
    notifications: list[Notification] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        plan: Plan,
        arguments: dict[str, Any],
        store: Store,
        known: Settings,
        executor: Any,
        *,
        resume: str | None = None,
        parent: str | None = None,
        time_limit: float | None = None,
    ) -> Driver:
        """Open the run of a workflow.

        Raises:
            ConfigError: a notification has no meaning, or nothing is stored here; no run was made.
        """
        if known.mode == "disabled":
            raise ConfigError("a workflow's steps hand data on through the store: mode is disabled")
        notifications = parse_notifications(plan.notifications)
        about = About(
            name=plan.name, config=arguments, labels=plan.labels or None, kind=WORKFLOW, parent=parent
        )  # fmt: skip
        run = open_run(store, known, about, taken={}, greet=not known.quiet)
        lifecycle.install()
        run.set_provenance(
            {
                "workflow": {
                    "name": plan.name, "executor": getattr(executor, "name", executor), "cache": plan.cache,
                    "resumed": resume, "arguments": _json_values(arguments), "function": code_of_plan(plan),
                }
            }
        )  # fmt: skip
        performer = Performer(run, executor, Reuse(store, run.project, resume), cache=plan.cache)
        return cls(plan, arguments, run, Engine(run, performer, time_limit), notifications)

    def perform(self) -> RunView:
        """Run it to its end.

        Raises:
            RunError: it did not complete.
            KeyboardInterrupt, SystemExit: its run and its steps have ended.
        """
        from mlrun.execution.launch import finished

        self._tell("running", None)
        error: str | None
        try:
            state, error = self.engine.perform(self.plan.function, self.arguments)
        except BaseException as failure:
            self._end(*lifecycle.outcome_of(failure))
            raise
        self._end(state, error)
        return finished(self.run.store, self.run.id, {"state": self.run.state, "error": error})

    def start(self) -> RunView:
        """Run it beside the caller; the interpreter waits for it."""
        name = f"mlrun-workflow-{self.run.id[-6:]}"
        threading.Thread(target=self._perform_beside, name=name).start()
        return RunView(self.run.store, self.run.id, later=True)

    def _perform_beside(self) -> None:
        try:
            self.perform()
        except MlrunError as error:
            say(str(error).splitlines()[0])

    def _end(self, state: str, error: str | None) -> None:
        steps = self.engine.steps
        nodes = [
            Node(s.name, "cached" if s.cached else s.state, tuple(b.name for b in s.before))
            for s in steps
        ]
        graph = [
            {"name": n.name, "state": n.state, "before": list(n.before), "run_id": s.run_id}
            for n, s in zip(nodes, steps, strict=True)
        ]
        try:
            self.run.set_provenance({"graph": graph, "mermaid": mermaid(nodes)})
            if nodes:
                picture, facts = svg(nodes), {"format": "svg"}
                self.run.log_artifact("workflow_graph", body=picture, type="figure", metadata=facts)
        finally:
            self.run.end(state, error)
        self._tell(self.run.state, error, tuple(graph))

    def _tell(
        self, state: str, error: str | None, rows: tuple[Mapping[str, Any], ...] = ()
    ) -> None:
        if not self.notifications or (
            state == "running" and not any(state in n.when for n in self.notifications)
        ):
            return
        run = self.run
        ending = Ending(
            run.id, run.name, run.project, state, error, run.results, what=WORKFLOW, rows=rows
        )
        sent = push(self.notifications, ending)
        if state != "running":
            record_sent(run.store, run.id, sent)


def code_of_plan(plan: Plan) -> dict[str, Any] | None:
    """Return the workflow's function as code that can be run again; None where it has no such form."""
    from mlrun.functions.callables import code_of

    try:
        code, handler = code_of(plan.function)
        found = {"name": plan.name, "code": code, "handler": handler}
        return found if len(json.dumps(found)) <= _LARGE else None
    except (MlrunError, TypeError, ValueError):
        return None


def workflow_record(store: Store, run_id: str) -> dict[str, Any]:
    """Return what a workflow's run says of the workflow.

    Raises:
        ConfigError: the run is no workflow's. NotFound: there is no such run.
    """
    view = RunView(store, run_id)
    kept = view.provenance.get("workflow")
    if view.record["kind"] != WORKFLOW or not isinstance(kept, dict):
        raise ConfigError(f"run {view.name!r} is no workflow: it cannot be resumed as one")
    return kept


def arguments_of(store: Store, run_id: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of an earlier run of a workflow, with those that are given now over them.

    Raises:
        ConfigError: one of them had no JSON form, and is not given again.
    """
    kept = workflow_record(store, run_id).get("arguments") or {}
    missing = [k for k, v in kept.items() if v is None and k not in given]
    if missing:
        raise ConfigError(
            f"argument {missing[0]!r} of the workflow had no JSON form and was not stored: give it again"
        )
    return {**{k: v["value"] for k, v in kept.items() if v is not None}, **given}


def _json_values(arguments: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in arguments.items():
        try:
            found[key] = {"value": json.loads(json.dumps(value))}
        except (TypeError, ValueError):
            found[key] = None
    return found
