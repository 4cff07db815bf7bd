"""Series: points, rollups and charts, from the journal and the series store as one frame."""

from __future__ import annotations
