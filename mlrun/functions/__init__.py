"""Functions: what is run. Definition, source code, content hash, versions and URIs."""

from __future__ import annotations
