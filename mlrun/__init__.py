"""mlrun: a dataframe-native ML platform in one library."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent
if not (_HERE / "storage").is_dir():  # a checkout: its wings stand beside mlrun/, not inside
    __path__.append(str(_HERE.parent))

__version__ = "0.1.0"
