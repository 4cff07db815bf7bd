"""What people and other machines see: the gateway and the dashboard.

A wing of the house. It reads and writes through `mlrun`'s public face, never through a
database driver.
"""

from __future__ import annotations
