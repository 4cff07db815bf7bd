"""Where functions run: in this process, on a Ray cluster, on Kubernetes.

A wing of the house. Its modules meet the executor law and are opened by name through
`mlrun.registry`; they import `mlrun` and their own siblings, never another wing.
"""

from __future__ import annotations
