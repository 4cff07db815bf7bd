"""The parts of a project that are said, not made: name, params, source, defaults of its functions, secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.project.entries import requirements_of
from mlrun.store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from mlrun.project.document import ProjectDocument

__all__ = ["ProjectFacts"]


class ProjectFacts:
    """What a project says of itself."""

    context: Path
    trusted: bool
    _document: ProjectDocument
    _given_store: Store | None

    @property
    def name(self) -> str:
        """Its name: any text."""
        return str(self._document.metadata["name"])

    @property
    def store(self) -> Store:
        """Where it, its functions and its runs are kept."""
        return self._given_store or open_store()

    @property
    def description(self) -> str:
        """One sentence for people."""
        return self._document.text("description")

    @description.setter
    def description(self, text: str) -> None:
        self._document.spec["description"] = text

    @property
    def labels(self) -> dict[str, Any]:
        """Words to find it by; change it in place."""
        found: dict[str, Any] = self._document.metadata.setdefault("labels", {})
        return found

    @property
    def params(self) -> dict[str, Any]:
        """Parameters for everything in it; change it in place."""
        found: dict[str, Any] = self._document.spec["params"]
        return found

    def get_param(self, key: str, default: Any = None) -> Any:
        """Return a parameter."""
        return self.params.get(key, default)

    @property
    def source(self) -> str:
        """Git URL, archive or folder that its code comes from."""
        return self._document.text("source")

    def set_source(self, source: str = "", workdir: str = "") -> None:
        """Say where its code comes from: functions set `with_repo=True` take it along, instead of its folder."""
        self._document.spec["source"] = source
        if workdir:
            self._document.spec["workdir"] = workdir

    @property
    def default_image(self) -> str:
        """Image of functions that name none."""
        return self._document.text("default_image")

    def set_default_image(self, image: str) -> None:
        """Set the image of functions that name none."""
        self._document.spec["default_image"] = image

    @property
    def requirements(self) -> list[str]:
        """Pip requirements of all its functions; see `set_requirements`."""
        spec = self._document.spec
        own = requirements_of(spec.get("requirements"), self.context, self.trusted)
        return list(dict.fromkeys([*spec["default_requirements"], *own]))

    def set_requirements(self, requirements: str | Sequence[str]) -> None:
        """Set the pip requirements of all functions that are set from here on: a list, or a file in its folder."""
        requirements_of(requirements, self.context, self.trusted)
        given = requirements if isinstance(requirements, str) else list(requirements)
        self._document.spec["requirements"] = given

    @property
    def node_selector(self) -> dict[str, str]:
        """Labels of the nodes where its functions run."""
        found: dict[str, str] = self._document.spec["default_function_node_selector"]
        return found

    @property
    def secrets(self) -> dict[str, str]:
        """References to secrets, by name; never the secrets."""
        return dict(self._document.spec["secrets"])

    def set_secrets(self, secrets: Mapping[str, str]) -> None:
        """Give the project secrets, which its runs can read.

        Args:
            secrets: by name; `env:NAME`, `file:PATH` or `k8s:SECRET/KEY` say where one is, and only that is kept. Any
                other text is the secret itself: the store keeps it, encrypted, and the project a reference to it.

        Raises:
            ConfigError: a name or value that cannot be; the value is not shown.
        """
        from mlrun.execution.secrets import STORED, check_references, is_reference
        from mlrun.project.secretstore import store_secrets

        clear = {n: v for n, v in secrets.items() if not is_reference(v)}
        if clear:
            store_secrets(self.store, self.name, clear)
        stored = {name: f"{STORED}:{self.name}/{name}" for name in clear}
        self._document.spec["secrets"] |= check_references({**secrets, **stored})

    def get_secret(self, key: str, default: str | None = None) -> str | None:
        """Return the value of a secret, read now; one that the store keeps only inside a run of the project."""
        from mlrun.execution.secrets import resolve_secret
        from mlrun.tracking.current import current_run

        run = current_run()
        asking = None if run is None else (run.store, run.id)
        return resolve_secret(key, self.secrets, default, asking)

    def list_secrets(self) -> pl.DataFrame:
        """Return which secrets the store keeps for the project: `name, key_id, user, updated_at`."""
        from mlrun.project.secretstore import secret_names

        return secret_names(self.store, self.name)

    def delete_secret(self, name: str) -> None:
        """Forget a secret, and the reference to it; NotFound if there is none of that name."""
        from mlrun.errors import NotFound
        from mlrun.project.secretstore import delete_secret

        known = self._document.spec["secrets"].pop(name, None)
        try:
            delete_secret(self.store, self.name, name)
        except NotFound:
            if known is None:
                raise
