"""The methods of `Run` that log and use artifacts; `mlrun.content.catalog` does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlrun.names import as_text, clean_text

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from mlrun.config import Settings
    from mlrun.content.dataitem import DataItem

__all__ = ["RunArtifacts"]


class RunArtifacts:
    """Artifacts of a run.

    Every `log_…` returns when the bytes are safe in the store, as a `DataItem`. When it fails it warns, and the item's
    `error` says why; with `MLRUN_STRICT=1` it raises. All take `step=`, `aliases=`, `labels=` and `metadata=`.
    """

    id: str
    project: str
    settings: Settings
    strict: bool

    if TYPE_CHECKING:

        @property
        def store(self) -> Any:
            """Where the run is kept."""

        def failed(self, what: str, error: Exception) -> None:
            """Warn, or raise if strict."""

    def log_artifact(
        self,
        item: Any,
        body: Any = None,
        local_path: str | os.PathLike[str] | None = None,
        type: str = "artifact",
        step: int | None = None,
        aliases: str | Sequence[str] = (),
        labels: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        tag: str = "",
    ) -> DataItem:
        """Log a file, a folder, a URL or a value.

        The same content under the same key keeps its version; other content gets the next one.

        Args:
            item: the key; alone, the path or URL, whose last part is then the key.
            body: bytes, text, a dict or list (JSON), a frame (Parquet), an array, a figure; anything else is pickled.
            local_path: a file, a folder or a URL (recorded, not fetched).
            type: what it is, in your words.
            step: where in the run it belongs.
            aliases: names that shall point at this version.
            labels: words kept with it.
            metadata: values kept with it.
            tag: another word for an alias.

        Example:
            >>> import mlrun
            >>> with mlrun.init(project="doc") as run:
            ...     item = run.log_artifact("notes", body="all is well")
            >>> mlrun.get_artifact("doc/notes").get()
            b'all is well'
        """
        return self._to_catalog(
            "log_artifact", item, body, local_path, type=type, step=step, aliases=aliases, labels=labels,
            metadata=metadata, **({"tag": tag} if tag else {}),
        )  # fmt: skip

    def log_dataset(self, key: str, df: Any = None, **options: Any) -> DataItem:
        """Log a frame (Polars, pandas, Arrow, rows) as Parquet with schema, statistics and preview.

        Args:
            key: its name.
            df: the frame; or `local_path=` of a Parquet or CSV file.
            **options: `stats=True`, `preview=20` (rows), and those of `log_artifact`.
        """
        return self._to_catalog("log_dataset", key, df, **options)

    def log_model(self, key: str, body: Any = None, **options: Any) -> DataItem:
        """Log a model.

        Args:
            key: its name; alone, the path of its file or folder.
            body: the model, its bytes, or a path.
            **options: `framework="sklearn"`, `metrics={}`, `params={}`, `local_path=` (or `model_file=` and
                `model_dir=`), and those of `log_artifact`.
        """
        return self._to_catalog("log_model", key, body, **options)

    def log_figure(self, key: str, figure: Any, **options: Any) -> DataItem:
        """Log a figure: matplotlib as PNG, Plotly and Altair as their JSON; or a picture file."""
        return self._to_catalog("log_figure", key, figure, **options)

    def log_table(
        self, key: str, data: Any, columns: Sequence[str] | None = None, **options: Any
    ) -> DataItem:
        """Log rows: a frame, a dict of columns, a list of dicts, or a list of rows with `columns`."""
        return self._to_catalog("log_table", key, data, columns, **options)

    def log_image(self, key: str, image: Any, **options: Any) -> DataItem:
        """Log a picture: an array (H x W, H x W x 1, 3 or 4), a tensor, a Pillow image, a path, or a file's bytes."""
        return self._to_catalog("log_image", key, image, **options)

    def log_audio(self, key: str, audio: Any, rate: int | None = None, **options: Any) -> DataItem:
        """Log a sound: samples with `rate` (frames a second), a path, or a file's bytes."""
        return self._to_catalog("log_audio", key, audio, rate, **options)

    def log_video(self, key: str, video: Any, **options: Any) -> DataItem:
        """Log a video: a path, or a file's bytes."""
        return self._to_catalog("log_video", key, video, **options)

    def log_html(self, key: str, html: Any, **options: Any) -> DataItem:
        """Log a page: markup, or the path of a file. It is never run."""
        return self._to_catalog("log_html", key, html, **options)

    def log_histogram(self, key: str, values: Any = None, **options: Any) -> DataItem:
        """Log how values spread: the values with `bins=64`, or `counts=` and `edges=` as `np.histogram` gives them."""
        return self._to_catalog("log_histogram", key, values, **options)

    def use_artifact(self, name: str | DataItem) -> DataItem:
        """Return an artifact, and record that this run read it.

        Args:
            name: `project/key`, `project/key:v2` or `project/key:alias`; without a project, the run's is meant.

        Raises:
            NotFound: there is no such artifact; whoever reads needs to know.
        """
        from mlrun.content.catalog import use_artifact

        if self.store is None:
            return _find_without_run(self, name)
        return use_artifact(self, name)  # type: ignore[arg-type]  # a Run is RunLike; this is the part of it

    def _to_catalog(self, verb: str, key: Any, *values: Any, **options: Any) -> DataItem:
        if self.store is None:
            return _unstored(self, key, "the run is disabled: nothing is stored")
        from mlrun.content import catalog
        from mlrun.content.orchestratorwords import translated

        try:
            options = translated(verb, options, *values[:1])
            item: DataItem = getattr(catalog, verb)(self, key, *values, **options)
        except Exception as error:  # noqa: BLE001  an argument without meaning must not end a training run either
            self.failed(verb, error)
            return _unstored(self, key, f"{type(error).__name__}: {as_text(error)}")
        return item


def _unstored(run: RunArtifacts, key: Any, reason: str) -> DataItem:
    from mlrun.content.dataitem import DataItem

    row = {"project": run.project, "key": clean_text(key)[0], "type": "artifact", "version": 0}
    return DataItem(run.store, row, error=reason)


def _find_without_run(run: RunArtifacts, name: str | DataItem) -> DataItem:
    from mlrun.content.dataitem import DataItem, find_artifact
    from mlrun.errors import NotFound
    from mlrun.store import open_store

    if isinstance(name, DataItem):
        return name
    store = open_store(given=run.settings)
    if not store.folder.exists():
        raise NotFound(f"no artifact {name!r}: there is no store in {store.url}")
    return find_artifact(store, name, run.project)
