"""To which project an uploaded record, point or line belongs, and whether the caller may write there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.errors import AccessDenied, UploadRefused
from mlrun.tables import PROJECTS, RUNS, SUMMARIES, TABLES

from .questions import LOOKED_UP

if TYPE_CHECKING:
    from mlrun.contracts import Op, Records

    from .auth import Caller

__all__ = ["Rights"]

_KNOWN = 50_000  # runs whose project is remembered


class Rights:
    """What one uploader may write; remembers the projects of runs. Not thread-safe.

    Args:
        records: where runs are looked up.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._projects: dict[str, str] = {}

    def check_op(self, caller: Caller, op: Op, fresh: dict[str, str]) -> None:
        """Refuse an op that touches a project which the caller may not write to.

        Args:
            caller: who sent it.
            op: it has the form of one; see `mlrun.lookup.opcheck`.
            fresh: projects of runs that ops before it opened; added to.

        Raises:
            AccessDenied: it is not the caller's.
            UploadRefused: it is no uploader's to do.
        """
        verb, name, row = op
        if name == SUMMARIES.name:
            raise UploadRefused("summaries are made of points, and not sent")
        if verb != "artifact" and name not in LOOKED_UP:
            raise AccessDenied(f"rows of {name!r} are the gateway's own")
        if verb == "artifact":
            self._need(caller, str(row["project"]))
            self._need_run(caller, row.get("run_id"), fresh)
            return
        if name == PROJECTS.name:
            self._need(caller, _text(row, "name"))
            return
        if name == RUNS.name:
            self._check_run(caller, verb, row, fresh)
            return
        names = TABLES[name].names
        if "project" in names:
            self._need(caller, _text(row, "project"))
        if "run_id" in TABLES[name].key:
            self._need_run(caller, _text(row, "run_id"), fresh)
        elif "project" not in names:
            caller.need("admin")

    def check_run(self, caller: Caller, project: Any, run_id: Any, fresh: dict[str, str]) -> None:
        """Refuse points or lines of a run; of one that is not stored yet, the project that they name counts."""
        if not isinstance(project, str) or not isinstance(run_id, str):
            raise UploadRefused("points and lines name a project and a run")
        stored = self._project_of(run_id, fresh)
        if stored not in (None, project):
            raise AccessDenied(f"run {run_id!r:.80} is not in project {project!r:.80}")
        self._need(caller, project)

    def _check_run(
        self, caller: Caller, verb: str, row: dict[str, Any], fresh: dict[str, str]
    ) -> None:
        run_id = _text(row, "run_id")
        stored = self._project_of(run_id, fresh)
        if stored is not None:
            self._need(caller, stored)
        given = row.get("project")
        if given is not None:
            self._need(caller, str(given))
            if verb == "put" and stored is None:
                fresh[run_id] = str(given)
            elif stored not in (None, given):
                raise AccessDenied(f"run {run_id!r:.80} is in another project, and stays there")
        elif stored is None:
            caller.need("write")  # a run that nobody has opened: only who may write everywhere

    def _need_run(self, caller: Caller, run_id: Any, fresh: dict[str, str]) -> None:
        if run_id is None:
            return
        project = self._project_of(str(run_id), fresh)
        if project is None:
            caller.need("write")
        else:
            self._need(caller, project)

    def _project_of(self, run_id: str, fresh: dict[str, str]) -> str | None:
        known = self._projects.get(run_id) or fresh.get(run_id)
        if known is None:
            rows = self._records.lookup(RUNS, {"run_id": run_id})
            known = rows[0]["project"] if rows else None
            if known is not None:
                if len(self._projects) >= _KNOWN:
                    self._projects.clear()
                self._projects[run_id] = known
        return known

    def _need(self, caller: Caller, project: str) -> None:
        caller.need("write", project)


def _text(row: dict[str, Any], column: str) -> str:
    """Return the column that says whose the row is: without it an op would reach into every project."""
    found = row.get(column)
    if not isinstance(found, str):
        raise UploadRefused(f"a record without {column!r} belongs to nobody")
    return found
