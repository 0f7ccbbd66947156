"""What answers about uploaded files look like."""

from __future__ import annotations

from typing import Literal

import msgspec

from backburner.http.openapi.job_schemas import Listed, Time


class Part(msgspec.Struct):
    """A part of a file that is stored."""

    number: int
    bytes: int
    sha256: str


class PartTotals(msgspec.Struct):
    """How many parts are there."""

    total: int


class Parts(PartTotals):
    """The parts that are there, by number."""

    data: list[Part]


class File(msgspec.Struct):
    """An uploaded file. `bytes` are those that are there; nobody having used it until `expires_at`, it is deleted."""

    id: str
    object: Literal["file"]
    name: str
    status: Literal["uploading", "complete", "deleted"]
    bytes: int
    expected_bytes: int | None
    sha256: str | None
    parts: PartTotals
    user_id: str
    organization_id: str
    created_at: Time
    updated_at: Time
    completed_at: Time | None
    expires_at: Time


class FileWithParts(File):
    """An uploaded file and what need not be sent again."""

    parts: Parts


class FileList(Listed[File]):
    """A page of files."""
