"""Names that Kubernetes takes, made from any text: only at this border is a name ever changed.

KubeRay makes services and pods out of a resource's name, so its limits are tighter than those of Kubernetes: a RayJob
has 47 characters, a RayCluster 53, a RayCronJob 36; all begin with a letter.
"""

from __future__ import annotations

import hashlib
import re

__all__ = ["CRON_LIMIT", "JOB_LIMIT", "is_name", "kube_label", "kube_label_key", "kube_name"]

JOB_LIMIT = 47
CRON_LIMIT = 36

_HASH = 8  # hexadecimal digits that keep apart what became alike


def kube_name(text: str, limit: int = JOB_LIMIT) -> str:
    """Return a DNS label (RFC 1035, so also RFC 1123) of at most `limit` characters.

    A text that is one already is returned as it is; of any other something was lost, and a hash of the whole text
    stands behind what is left, so that different texts stay different.

    Example:
        >>> kube_name("train")
        'train'
        >>> kube_name("Train my_model")
        'train-my-model-73b57e88'
    """
    if is_name(text, limit):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
    base = re.sub(r"[^a-z0-9]+", "-", text.lower()).lstrip("-0123456789")
    base = base[: limit - _HASH - 1].strip("-") or "mlrun"
    return f"{base}-{digest}"


def is_name(text: str, limit: int = JOB_LIMIT) -> bool:
    """Whether `text` is a DNS label of at most `limit` characters that begins with a letter."""
    return len(text) <= limit and re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", text) is not None


def kube_label(text: str) -> str:
    """Return the value of a label: at most 63 letters, digits, `-`, `_`, `.`; may be empty.

    Example:
        >>> kube_label("a b"), kube_label("v1.2")
        ('a-b-c8687a08', 'v1.2')
    """
    if re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
    base = re.sub(r"[^A-Za-z0-9_.]+", "-", text)[: 63 - _HASH - 1].strip("-_.")
    return f"{base}-{digest}" if base else digest


def kube_label_key(text: str) -> str:
    """Return the key of a label of ours, below the prefix `mlrun/`."""
    return f"mlrun/{kube_label(text) or 'label'}"
