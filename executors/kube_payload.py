"""What of a call goes into a manifest: the call itself or the name of its object, with its code."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.config import settings
from mlrun.errors import ExecutorError
from mlrun.execution.entry import describe, describe_object
from mlrun.redact import redact_url
from mlrun.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrun.execution.law import Needs

__all__ = ["SMALL", "archive_of", "payload"]

SMALL = 60_000  # characters that go into the manifest itself: Linux takes 128 KB in one variable
_SKIPPED = frozenset({".git", ".mlrun", ".venv", "__pycache__", "node_modules"})
_ARCHIVE_LIMIT = 50_000_000


def payload(
    fn: Callable[..., Any], args: tuple[Any, ...], needs: Needs, *, shares_files: bool, durable: bool = False
) -> str:  # fmt: skip
    """Write the call down; as an object of the store where it is too large for a manifest.

    Args:
        fn: the function.
        args: its arguments.
        needs: what of it the process itself sees to: code, secrets by `env:` and `file:`, the time limit.
        shares_files: whether a store in a folder can be read where the call is made.
        durable: whether the call is made more than once (a schedule), and its object may not be freed.

    Raises:
        ExecutorError: it is too large, and there is no store that the pods could read it from.
    """
    text = describe(
        fn,
        args,
        secrets={n: r for n, r in needs.secrets.items() if not r.startswith("k8s:")},
        archive=archive_of(needs.source) if needs.source and "://" not in needs.source else None,
        time_limit=needs.time_limit,
    )
    if len(text) <= SMALL:
        return text
    what = f"the call is {len(text) // 1000:,} KB, and a manifest holds {SMALL // 1000} KB of it"
    if durable:
        raise ExecutorError(f"{what}: put its code into the image and its data into the store")
    known = settings()
    if not shares_files and not known.objects_url:
        raise ExecutorError(
            f"{what}; for more, MLRUN_OBJECTS_URL must name an object store that the pods reach"
        )
    stored = open_store(given=known).objects.put(text.encode())
    place = {"objects_url": known.objects_url}
    if shares_files:
        place["dbpath"] = str(known.store_folder())
    return describe_object(
        stored.sha256, {n: u for n, u in place.items() if u and redact_url(u) == u}
    )


def archive_of(source: str) -> bytes:
    """Pack a folder of code, or read an archive; the same code gives the same bytes.

    Raises:
        ExecutorError: it is not there, no zip file, or larger than 50 MB.
    """
    path = Path(source).expanduser()
    if path.is_file() and zipfile.is_zipfile(path):
        return path.read_bytes()
    if not path.is_dir():
        raise ExecutorError(f"source {source!r} is neither a folder nor a zip file")
    buffer = io.BytesIO()
    total = 0
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path.rglob("*")):
            parts = file.relative_to(path).parts
            if not file.is_file() or _SKIPPED.intersection(parts):
                continue
            total += file.stat().st_size
            if total > _ARCHIVE_LIMIT:
                raise ExecutorError(f"source {source!r} is larger than 50 MB: leave data out of it")
            info = zipfile.ZipInfo("/".join(parts))  # without the file's own time
            info.external_attr = (file.stat().st_mode & 0o777) << 16
            archive.writestr(info, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
