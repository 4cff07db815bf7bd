"""Where tables rest: records, series and objects, one engine a file.

A wing of the house. Its modules meet the storage law and are opened by URL through
`mlrun.registry`; they import `mlrun` and their own siblings, never another wing.
"""

from __future__ import annotations
