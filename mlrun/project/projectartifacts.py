"""The methods of `Project` that log, set and find artifacts.

What is logged belongs to the run that is open here and of this project; without one, a run of kind "project" is made
for it, so that it is always known who logged it, and when.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.content.naming import artifact_uri
from mlrun.content.references import is_url, local_path
from mlrun.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlrun.content.dataitem import DataItem
    from mlrun.project.document import ProjectDocument
    from mlrun.store import Store
    from mlrun.tracking.run import Run

__all__ = ["ProjectArtifacts"]


class ProjectArtifacts:
    """Artifacts of a project."""

    context: Path
    trusted: bool
    _document: ProjectDocument

    if TYPE_CHECKING:

        @property
        def name(self) -> str:
            """Its name."""

        @property
        def store(self) -> Store:
            """Where it is kept."""

    def log_artifact(self, item: Any, *args: Any, **options: Any) -> DataItem:
        """Log a file, folder, URL or value; see `Run.log_artifact`."""
        with self._producer() as run:
            return run.log_artifact(item, *args, **options)

    def log_dataset(self, key: str, df: Any = None, **options: Any) -> DataItem:
        """Log a frame; see `Run.log_dataset`."""
        with self._producer() as run:
            return run.log_dataset(key, df, **options)

    def log_model(self, key: str, body: Any = None, **options: Any) -> DataItem:
        """Log a model; see `Run.log_model`."""
        with self._producer() as run:
            return run.log_model(key, body, **options)

    def set_artifact(
        self, key: str, artifact: str = "", target_path: str = "", tag: str = "", type: str = ""
    ) -> None:
        """Say that an artifact belongs to the project; `register_artifacts`, and loading the project, log it.

        Args:
            key: its name.
            artifact: file or folder in the project's folder, or URL.
            target_path: another word for `artifact`.
            tag: an alias that shall point at it.
            type: what it is, such as model or dataset.
        """
        place = artifact or target_path
        if not place:
            raise ConfigError(f"artifact {key!r} needs a file, a folder or a URL")
        entry = {"key": key, "target_path": str(place), "tag": tag, "type": type}
        self._document.put_entry("artifacts", {k: v for k, v in entry.items() if v}, by="key")

    def register_artifacts(self) -> list[DataItem]:
        """Log the artifacts that were set; what is logged already, with the same content, keeps its version.

        Raises:
            NotFound: there is no such file.
        """
        entries = [e for e in self._document.spec["artifacts"] if e.get("key")]
        if not entries:
            return []
        with self._producer() as run:
            return [self._register(run, entry) for entry in entries]

    def missing_artifacts(self) -> list[str]:
        """Return the keys of artifacts that were set and are not in the store."""
        out = []
        for entry in self._document.spec["artifacts"]:
            key = str(entry.get("key") or "")
            try:
                self.get_artifact(key, str(entry.get("tag") or ""))
            except NotFound:
                out.append(key)
        return out

    def get_artifact(self, key: str, tag: str = "") -> DataItem:
        """Return an artifact: its newest version, or the one of a tag (`v2`, or an alias).

        Raises:
            NotFound: there is none.
        """
        from mlrun.content.dataitem import find_artifact

        return find_artifact(self.store, f"{key}:{tag}" if tag else key, self.name)

    def get_artifact_uri(self, key: str, tag: str = "") -> str:
        """Return the `store://` URI of an artifact's version."""
        item = self.get_artifact(key, tag)
        return artifact_uri(item.project, item.key, item.version)

    def _register(self, run: Run, entry: dict[str, Any]) -> DataItem:
        from mlrun.project.source import inside

        place = str(entry.get("target_path") or entry.get("src_path") or "")
        key = str(entry["key"])
        if not place:
            raise ConfigError(f"artifact {key!r} of project {self.name!r} has no target_path")
        if not is_url(place):
            path = Path(self.context, local_path(place)).expanduser()
            path = path if self.trusted else inside(self.context, local_path(place))
            if not path.exists():
                raise NotFound(f"artifact {key!r}: there is no file {place!r} in {self.context}")
            place = str(path)
        kind = str(entry.get("type") or "artifact")
        aliases = [str(entry["tag"])] if entry.get("tag") not in (None, "", "latest") else []
        return run.log_artifact(key, local_path=place, type=kind, aliases=aliases)

    @contextmanager
    def _producer(self) -> Iterator[Run]:
        from mlrun.config import settings
        from mlrun.tracking import current
        from mlrun.tracking.start import About, open_run

        run = current.current_run()
        if run is not None and run.project == self.name and run.store is self.store:
            yield run
            return
        known = settings(project=self.name)
        place = None if known.mode == "disabled" else self.store
        run = open_run(place, known, About(name=self.name, kind="project"))
        try:
            yield run
        except BaseException as error:
            run.end("error", f"{type(error).__name__}: {error}")
            raise
        run.end("completed")
