"""Uploaded files and their parts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs
import sqlalchemy as sa

from backburner.errors import Conflict, Invalid, NotFound, QuotaExceeded
from backburner.files import INGEST_FILE, File, FileStatus, Part
from backburner.ids import Ids
from backburner.model import Principal
from backburner.storage.audit import Already
from backburner.storage.pages import Cut, page_of
from backburner.storage.tables import file_parts, files, jobs, organizations, users, work

PIECE = 1024 * 1024  # bytes
QUOTA_RETRY = 3600.0  # seconds; room comes when files are deleted


@attrs.frozen(kw_only=True)
class FileLimits:
    """Bytes of one file, and of all files of an organization."""

    most: int = 16 * 1024 * 1024 * 1024
    of_organization: int | None = None


def create_file(
    tx: sa.Connection,
    principal: Principal,
    *,
    name: str,
    expected_bytes: int | None,
    sha256: str | None,
    limits: FileLimits,
    now: datetime,
    ids: Ids,
) -> File:
    """A file without parts. Raises Invalid and QuotaExceeded when as many bytes as expected would be too many."""
    _check_size(limits, expected_bytes or 0)
    _check_quota(tx, principal.organization_key, limits, expected_bytes or 0)
    public_id = ids.new("file")
    tx.execute(
        sa.insert(files).values(
            public_id=public_id,
            organization_id=principal.organization_key,
            user_id=principal.user_key,
            name=name,
            status=FileStatus.UPLOADING,
            expected_bytes=expected_bytes,
            sha256=sha256,
            created_at=now,
            updated_at=now,
            used_at=now,
        )
    )
    return get_file(tx, principal.organization_key, public_id)


def get_file(tx: sa.Connection, organization_key: int, public_id: str) -> File:
    """Raises NotFound, also for a deleted file and for another organization's."""
    row = tx.execute(_select().where(*_mine(organization_key, public_id))).first()
    if row is None:
        raise NotFound("file", public_id)
    return _file_of(row)


def list_files(tx: sa.Connection, organization_key: int, cut: Cut) -> tuple[list[File], bool]:
    """A page of an organization's files, and whether there is more."""
    mine = (files.c.organization_id == organization_key, files.c.status != FileStatus.DELETED)
    rows, has_more = page_of(tx, _select().where(*mine), files.c.public_id, cut)
    return [_file_of(row) for row in rows], has_more


def parts_of(tx: sa.Connection, file: File) -> list[Part]:
    """What is there of a file, by number."""
    found = sa.select(file_parts.c.number, file_parts.c.bytes, file_parts.c.sha256)
    rows = tx.execute(found.where(file_parts.c.file_id == file.key).order_by(file_parts.c.number))
    return [Part(row.number, row.bytes, row.sha256) for row in rows]


def piece_of(tx: sa.Connection, file_key: int, number: int, start: int) -> bytes:
    """A piece of a part, from this byte on, of at most `PIECE` bytes; b"" when the part is not there any more."""
    # Pieces, because a driver holds what it reads several times over.
    piece = sa.func.substr(file_parts.c.data, start + 1, PIECE, type_=sa.LargeBinary)
    data = tx.execute(sa.select(piece).where(file_parts.c.file_id == file_key, file_parts.c.number == number)).scalar()
    return bytes(data or b"")


def put_part(
    tx: sa.Connection,
    organization_key: int,
    public_id: str,
    part: Part,
    data: bytes,
    *,
    limits: FileLimits,
    now: datetime,
) -> File | Already[File]:
    """Store a part, in the place of one with the same number. The same part once more changes nothing.

    Raises NotFound, Conflict for a file that is complete, Invalid and QuotaExceeded for too many bytes.
    """
    file = _locked(tx, organization_key, public_id)
    old = _old_part(tx, file, part.number)
    if old == part:
        return Already(file)
    if file.status is not FileStatus.UPLOADING:
        raise Conflict("file_complete", "The file is complete; its parts cannot change any more.")
    more = part.bytes - (old.bytes if old else 0)
    _check_size(limits, file.bytes + more)
    _check_quota(tx, organization_key, limits, more)
    values = {"bytes": part.bytes, "sha256": part.sha256, "data": data}
    same = (file_parts.c.file_id == file.key, file_parts.c.number == part.number)
    if old is None:
        tx.execute(sa.insert(file_parts).values(file_id=file.key, number=part.number, **values))
    else:
        tx.execute(sa.update(file_parts).where(*same).values(**values))
    changed = {
        "bytes": files.c.bytes + more,
        "parts": files.c.parts + (1 if old is None else 0),
        "revision": files.c.revision + 1,
    }
    tx.execute(sa.update(files).where(files.c.id == file.key).values(**changed, updated_at=now, used_at=now))
    return get_file(tx, organization_key, public_id)


def complete_file(
    tx: sa.Connection, organization_key: int, seen: File, *, sha256: str | None, now: datetime
) -> File | Already[File]:
    """No more parts come. Raises NotFound, and Conflict when one has come since the file was `seen`."""
    file = _locked(tx, organization_key, seen.id)
    if file.revision != seen.revision:
        raise Conflict("file_changed", "Another part has come meanwhile; complete the file again.")
    if file.status is FileStatus.COMPLETE:
        return Already(file)
    ended = {"status": FileStatus.COMPLETE, "sha256": sha256, "completed_at": now, "updated_at": now, "used_at": now}
    tx.execute(sa.update(files).where(files.c.id == file.key).values(**ended))
    return get_file(tx, organization_key, seen.id)


def delete_file(tx: sa.Connection, organization_key: int, public_id: str, *, now: datetime) -> File:
    """From here on nobody sees it. Returns what it was. Raises NotFound."""
    file = _locked(tx, organization_key, public_id)
    gone = {"status": FileStatus.DELETED, "updated_at": now}
    tx.execute(sa.update(files).where(files.c.id == file.key).values(**gone))
    return file


def touch_file(tx: sa.Connection, file_key: int, *, now: datetime) -> None:
    """It is used."""
    tx.execute(sa.update(files).where(files.c.id == file_key).values(used_at=now))


# --- sweeping ----------------------------------------------------------------------------------------------


def expire_files(tx: sa.Connection, *, before: datetime, now: datetime) -> int:
    """Delete the files that nobody has used since `before` and no job waits for. Returns how many."""
    old = (files.c.status.in_([FileStatus.UPLOADING, FileStatus.COMPLETE]), files.c.used_at < before)
    if tx.execute(sa.select(files.c.id).where(*old).limit(1)).first() is None:
        return 0
    gone = sa.update(files).where(*old, files.c.public_id.not_in(_waited_for(tx)))
    return tx.execute(gone.values(status=FileStatus.DELETED, updated_at=now)).rowcount


def _waited_for(tx: sa.Connection) -> set[str]:
    """The ids of files that jobs have yet to read."""
    waiting = sa.select(jobs.c.input).join(work, work.c.job_id == jobs.c.id).where(work.c.handler == INGEST_FILE)
    inputs = [row.input for row in tx.execute(waiting)]
    return {str(given["file_id"]) for given in inputs if isinstance(given, dict) and given.get("file_id")}


def sweep_parts(tx: sa.Connection, *, most: int) -> int:
    """Remove up to `most` parts of deleted files, and the files that have none left. Returns how many rows went."""
    deleted = sa.select(files.c.id).where(files.c.status == FileStatus.DELETED).order_by(files.c.id).limit(1)
    key = tx.execute(deleted).scalar()
    if key is None:
        return 0
    some = sa.select(file_parts.c.number).where(file_parts.c.file_id == key).order_by(file_parts.c.number).limit(most)
    numbers = list(tx.execute(some).scalars())
    if not numbers:
        return tx.execute(sa.delete(files).where(files.c.id == key)).rowcount
    return tx.execute(
        sa.delete(file_parts).where(file_parts.c.file_id == key, file_parts.c.number.in_(numbers))
    ).rowcount


# --- parts of the above ------------------------------------------------------------------------------------


def _select() -> sa.Select[Any]:
    return (
        sa.select(files, organizations.c.public_id.label("organization"), users.c.public_id.label("user"))
        .join(organizations, organizations.c.id == files.c.organization_id)
        .join(users, users.c.id == files.c.user_id)
    )


def _mine(organization_key: int, public_id: str) -> list[sa.ColumnElement[bool]]:
    return [
        files.c.public_id == public_id,
        files.c.organization_id == organization_key,
        files.c.status != FileStatus.DELETED,
    ]


_SAME = (
    "name", "status", "bytes", "parts", "revision", "expected_bytes", "sha256", "created_at", "updated_at",
    "completed_at", "used_at",
)  # fmt: skip


def _file_of(row: Any) -> File:
    return File(
        key=row.id,
        id=row.public_id,
        organization_id=row.organization,
        user_id=row.user,
        **{name: getattr(row, name) for name in _SAME},
    )


def _locked(tx: sa.Connection, organization_key: int, public_id: str) -> File:
    tx.execute(sa.select(files.c.id).where(*_mine(organization_key, public_id)).with_for_update())
    return get_file(tx, organization_key, public_id)


def _old_part(tx: sa.Connection, file: File, number: int) -> Part | None:
    found = sa.select(file_parts.c.number, file_parts.c.bytes, file_parts.c.sha256)
    row = tx.execute(found.where(file_parts.c.file_id == file.key, file_parts.c.number == number)).first()
    return None if row is None else Part(row.number, row.bytes, row.sha256)


def _check_size(limits: FileLimits, size: int) -> None:
    if size > limits.most:
        raise Invalid(f"A file may have at most {limits.most:,} bytes.", code="file_too_large", param="bytes")


def _check_quota(tx: sa.Connection, organization_key: int, limits: FileLimits, more: int) -> None:
    """Transactions of one organization wait here for each other, so that no two take the same room."""
    most = limits.of_organization
    if most is None or more <= 0:
        return
    tx.execute(
        sa.select(organizations.c.id).where(organizations.c.id == organization_key).with_for_update(key_share=True)
    )
    mine = (files.c.organization_id == organization_key, files.c.status != FileStatus.DELETED)
    used = int(tx.execute(sa.select(sa.func.coalesce(sa.func.sum(files.c.bytes), 0)).where(*mine)).scalar_one())
    if used + more > most:
        message = f"The organization may keep {most:,} bytes of files and keeps {used:,}; delete some."
        raise QuotaExceeded("quota_file_bytes", message, retry_after=QUOTA_RETRY)
