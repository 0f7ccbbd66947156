"""What must hold of uploaded files, as queries for what violates it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from backburner.files import FileStatus
from backburner.storage.tables import file_parts, files


def _miscounted() -> sa.Select[Any]:
    mine = file_parts.c.file_id == files.c.id
    size = sa.select(sa.func.coalesce(sa.func.sum(file_parts.c.bytes), 0)).where(mine).scalar_subquery()
    count = sa.select(sa.func.count()).where(mine).scalar_subquery()
    return sa.select(files.c.public_id).where(
        files.c.status != FileStatus.DELETED, sa.or_(size != files.c.bytes, count != files.c.parts)
    )


def _with_a_gap() -> sa.Select[Any]:
    last = sa.select(sa.func.max(file_parts.c.number)).where(file_parts.c.file_id == files.c.id).scalar_subquery()
    return sa.select(files.c.public_id).where(files.c.status == FileStatus.COMPLETE, last != files.c.parts)


def _nobodys() -> sa.Select[Any]:
    theirs = sa.select(files.c.id).where(files.c.id == file_parts.c.file_id).exists()
    return sa.select(sa.cast(file_parts.c.file_id, sa.Text)).where(sa.not_(theirs)).distinct()


FILE_RULES: tuple[tuple[str, Callable[[], sa.Select[Any]]], ...] = (
    ("a file has as many bytes and parts as it says", _miscounted),
    ("a complete file has no gap", _with_a_gap),
    ("every part belongs to a file", _nobodys),
)
