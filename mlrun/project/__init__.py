"""Projects: a context folder, its `project.yaml`, its functions, workflows and parameters."""

from __future__ import annotations
