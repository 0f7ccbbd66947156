"""What can be asked of uploaded files, and how a file is cut into parts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import attrs

from backburner.client.asks import Ask, Page, an_object, listing, segment
from backburner.client.results import Job, record

PART_BYTES = 4 * 1024 * 1024
_CHECKING = 300.0  # seconds more than usual that the server may be silent: it reads the whole file

#: What can be uploaded: a path or an open binary file.
Uploadable = str | Path | IO[bytes]
#: Is told how many bytes are sent, of how many; None when that is not known.
OnBytes = Callable[[int, int | None], object]


@attrs.frozen(kw_only=True)
class File:
    """An uploaded file as it was when the server answered."""

    id: str
    name: str = ""
    status: str = "uploading"
    bytes: int = 0
    expected_bytes: int | None = None
    sha256: str | None = None
    created_at: datetime | None = None
    completed_at: datetime | None = None
    expires_at: datetime | None = None
    raw: dict[str, Any] = attrs.field(factory=dict, repr=False, eq=False)

    def has(self, part: FilePart) -> bool:
        """Whether the server has this part already; known of a file that was asked for by itself."""
        there = self.raw.get("parts", {}).get("data", ())
        return any(one["number"] == part.number and one["sha256"] == part.sha256 for one in there)


@attrs.frozen
class FilePart:
    """A part about to be sent."""

    number: int
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


_file = record(File)


@contextmanager
def opened(source: Uploadable) -> Iterator[tuple[IO[bytes], str, int | None]]:
    """The file, its name and its size; a path is closed at the end. Raises OSError."""
    if isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            yield file, Path(source).name, os.fstat(file.fileno()).st_size
    else:
        yield source, Path(str(getattr(source, "name", "file"))).name, None


def create_file(name: str, size: int | None, key: str | None) -> Ask[File]:
    about = {"name": name, "bytes": size or None}
    return Ask(method="POST", path="/v1/files", json=about, read=_file, idempotency_key=key)


def file(file_id: str) -> Ask[File]:
    return Ask(method="GET", path=f"/v1/files/{segment(file_id)}", read=_file)


def files(filters: Mapping[str, Any]) -> Ask[Page[File]]:
    return listing("/v1/files", _file, filters)


def delete_file(file_id: str) -> Ask[File]:
    return Ask(method="DELETE", path=f"/v1/files/{segment(file_id)}", read=_file, repeatable=False)


def put_part(file_id: str, part: FilePart) -> Ask[dict[str, Any]]:
    path = f"/v1/files/{segment(file_id)}/parts/{part.number}"
    return Ask(method="PUT", path=path, params={"sha256": part.sha256}, data=part.data, read=an_object)


def complete_file(file_id: str, parts: int) -> Ask[File]:
    path = f"/v1/files/{segment(file_id)}/complete"
    return Ask(method="POST", path=path, json={"parts": parts}, read=_file, patience=_CHECKING)


def ingest(given: Mapping[str, Any], fields: Mapping[str, Any], key: str | None) -> Ask[Job]:
    body = {"handler": "ingest_file", "input": dict(given), **fields}
    return Ask(method="POST", path="/v1/jobs", json=body, read=record(Job), idempotency_key=key)


#: Of what `ingest` takes, what is said of the job itself; everything else is its input.
OF_THE_JOB = frozenset({"job_metadata", "job_callback_url"})


def divided(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The input of an `ingest_file` job, and the fields of the job itself."""
    fields = {name.removeprefix("job_"): value for name, value in given.items() if name in OF_THE_JOB}
    return {name: value for name, value in given.items() if name not in OF_THE_JOB}, fields
