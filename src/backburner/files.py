"""Uploaded files: what is known of them and what they may be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import attrs

from backburner.errors import Conflict, Invalid

#: The handler that makes batches of files.
INGEST_FILE = "ingest_file"
#: A part is held in memory while it is received, stored and read.
MAX_PART_BYTES = 8 * 1024 * 1024
MAX_PARTS = 100_000


class FileStatus(StrEnum):
    UPLOADING = "uploading"
    COMPLETE = "complete"
    DELETED = "deleted"  # nobody sees it any more; its parts are being swept


@attrs.frozen(kw_only=True)
class File:
    """An uploaded file, whole or on its way."""

    key: int
    id: str
    organization_id: str
    user_id: str
    name: str
    status: FileStatus
    bytes: int  #: of the parts that are there
    parts: int
    revision: int
    expected_bytes: int | None
    sha256: str | None  #: as announced; of a complete file also checked
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    used_at: datetime


@attrs.frozen
class Part:
    """One part of a file: what is known of its bytes. Numbers begin at 1."""

    number: int
    bytes: int
    sha256: str


@attrs.frozen(kw_only=True)
class Whole:
    """What the uploader says of the whole file; None where nothing is said."""

    parts: int | None = None
    bytes: int | None = None
    sha256: str | None = None


def check_whole(file: File, parts: Sequence[Part], said: Whole) -> None:
    """Raises Conflict, with the code `file_incomplete`, for a part or bytes that are missing or too many."""
    numbers = [part.number for part in parts]
    count = said.parts or (numbers[-1] if numbers else 1)
    there = set(numbers)
    missing = [number for number in range(1, count + 1) if number not in there][:5]
    if missing:
        raise _incomplete(
            f"part {', '.join(map(str, missing))} of {count} {'is' if len(missing) == 1 else 'are'} missing"
        )
    if len(numbers) > count:
        raise _incomplete(f"there are {len(numbers)} parts instead of {count}")
    for expected in (said.bytes, file.expected_bytes):
        if expected is not None and expected != file.bytes:
            raise _incomplete(f"there are {file.bytes:,} bytes instead of {expected:,}")


def check_digest(expected: str | None, found: str) -> None:
    """Raises Invalid when the bytes are not those that were sent."""
    if expected is not None and expected != found:
        raise Invalid(f"The SHA-256 is {found}, not {expected}.", code="checksum_mismatch", param="sha256")


def _incomplete(what: str) -> Conflict:
    return Conflict("file_incomplete", f"The file is not complete: {what}.")
