"""The schema's history. Add a file to `versions/` and name it in HEAD."""

from __future__ import annotations

HEAD = "0007"
