"""`/v1/files`: files uploaded in parts, for `ingest_file`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import attrs
import msgspec
import trio
from quart import Response

from backburner.errors import Conflict, Invalid, NotFound
from backburner.files import MAX_PART_BYTES, MAX_PARTS, File, FileStatus, Part, Whole, check_digest, check_whole
from backburner.http import paging
from backburner.http.body import open_body
from backburner.http.call import Call, answer_of, reply
from backburner.http.paging import Page, envelope, require_id
from backburner.http.problem import Refused
from backburner.http.query import Parameter, matching
from backburner.http.services import Services
from backburner.http.shapes import JsonObject
from backburner.storage import files
from backburner.storage.database import Tx
from backburner.storage.pages import Cut
from backburner.times import rfc3339

OCTETS = "application/octet-stream"
RETRY_SECONDS = 1
_INT64 = 2**63 - 1

_Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]

FILES_QUERY = paging.parameters("file")
PART_QUERY = {"sha256": Parameter(convert=matching(r"[0-9a-f]{64}", "64 hexadecimal digits in lower case"))}


class NewFile(msgspec.Struct, forbid_unknown_fields=True):
    """A file about to be uploaded."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    bytes: Annotated[int, msgspec.Meta(ge=1, le=_INT64)] | None = None
    sha256: _Sha256 | None = None


class FileEnd(msgspec.Struct, forbid_unknown_fields=True):
    """What the uploader says of the whole file."""

    parts: Annotated[int, msgspec.Meta(ge=1, le=MAX_PARTS)] | None = None
    bytes: Annotated[int, msgspec.Meta(ge=1, le=_INT64)] | None = None
    sha256: _Sha256 | None = None


async def create_file(call: Call) -> Response:
    """201 and the file, which has no parts yet."""
    call.query()
    asked, services = await call.json(NewFile), call.services
    return await call.make(
        lambda made: answer_of(file_json(services, made), 201, _location(services, made)),
        files.create_file,
        call.principal,
        name=asked.name,
        expected_bytes=asked.bytes,
        sha256=asked.sha256,
        limits=services.files,
        now=services.clock.now(),
        ids=services.ids,
    )


async def list_files(call: Call) -> Response:
    """An organization's files."""
    cut = Cut(**attrs.asdict(Page.of(call.query(FILES_QUERY))))
    found, has_more = await call.services.database.read(files.list_files, call.organization_key, cut)
    return reply(envelope([file_json(call.services, file) for file in found], has_more))


async def get_file(call: Call, file_id: str) -> Response:
    """The file with its parts: what a broken upload need not send again."""
    call.query()
    file, parts = await _with_parts(call, file_id)
    return reply(file_json(call.services, file, parts))


async def put_part(call: Call, file_id: str, number: str) -> Response:
    """200 and the part. Repeated it changes nothing; with other bytes it replaces."""
    asked = call.query(PART_QUERY)
    require_id("file", file_id)
    which = _number(number)
    # Before the body is read: nobody sends much for nothing.
    await call.services.database.read(files.get_file, call.organization_key, file_id)
    with _place(call.services.parts_at_once):
        data, digest = await _received(call)
        check_digest(asked["sha256"], digest)
        part = Part(which, len(data), digest)
        await call.change(
            files.put_part,
            call.organization_key,
            file_id,
            part,
            data,
            limits=call.services.files,
            now=call.services.clock.now(),
        )
    return reply(part_json(part))


async def complete_file(call: Call, file_id: str) -> Response:
    """200 and the file. The SHA-256 is checked if it was announced."""
    call.query()
    asked = await call.json(FileEnd)
    services = call.services
    file, parts = await _with_parts(call, file_id)
    if asked.sha256 and file.sha256 and asked.sha256 != file.sha256:
        raise Conflict("file_changed", "The file was announced with another SHA-256.")
    check_whole(file, parts, Whole(parts=asked.parts, bytes=asked.bytes))
    expected = asked.sha256 or file.sha256
    if expected is not None and file.status is FileStatus.UPLOADING:
        check_digest(expected, await _digest(services, file, parts))
    return await call.make(
        lambda done: answer_of(file_json(services, done)),
        files.complete_file,
        call.organization_key,
        file,
        sha256=expected,
        now=services.clock.now(),
    )


async def delete_file(call: Call, file_id: str) -> Response:
    """200 and what it was. A job that still wants to read it fails."""
    await call.nothing()
    require_id("file", file_id)
    now = call.services.clock.now()
    gone = await call.change(files.delete_file, call.organization_key, file_id, now=now)
    call.services.work()
    return reply(file_json(call.services, gone))


# --- parts of the above ------------------------------------------------------------------------------------


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 6 and 1 <= int(text) <= MAX_PARTS):
        raise NotFound("part", text)
    return int(text)


@contextmanager
def _place(places: trio.CapacityLimiter) -> Iterator[None]:
    """A place among the parts received at once, without waiting. Raises Refused (503)."""
    try:
        places.acquire_nowait()
    except trio.WouldBlock:
        message = "Too many parts are being received; try again later."
        raise Refused(503, "overloaded", message, headers={"Retry-After": str(RETRY_SECONDS)}) from None
    try:
        yield
    finally:
        places.release()


async def _received(call: Call) -> tuple[bytes, str]:
    """The body and its SHA-256. Raises Refused, and Invalid for an empty one."""
    body = open_body(call.request, limit=MAX_PART_BYTES, allowed=(OCTETS,))
    whole, digest = bytearray(), hashlib.sha256()
    while piece := await body.next():
        whole += piece
        digest.update(piece)
    if not whole:
        raise Invalid("A part has at least one byte.", code="empty_part")
    return bytes(whole), digest.hexdigest()


async def _with_parts(call: Call, file_id: str) -> tuple[File, Sequence[Part]]:
    require_id("file", file_id)
    return await call.services.database.read(_found_with_parts, call.organization_key, file_id)


def _found_with_parts(tx: Tx, organization_key: int, file_id: str) -> tuple[File, Sequence[Part]]:
    file = files.get_file(tx, organization_key, file_id)
    return file, files.parts_of(tx, file)


async def _digest(services: Services, file: File, parts: Sequence[Part]) -> str:
    """The SHA-256 of the whole file, read part by part where the database's work is done."""
    if len(parts) == 1:
        return parts[0].sha256
    digest = hashlib.sha256()

    def add(tx: Tx, number: int, start: int) -> int:
        piece = files.piece_of(tx, file.key, number, start)
        digest.update(piece)
        return len(piece)

    for part in parts:
        done = 0
        while done < part.bytes and (read := await services.database.read(add, part.number, done)):
            done += read
    return digest.hexdigest()


def file_json(services: Services, file: File, parts: Sequence[Part] | None = None) -> JsonObject:
    """As it is answered; with the parts if they are given."""
    shown: JsonObject = {"total": file.parts}
    if parts is not None:
        shown["data"] = [part_json(part) for part in parts]
    return {
        "id": file.id,
        "object": "file",
        "name": file.name,
        "status": file.status,
        "bytes": file.bytes,
        "expected_bytes": file.expected_bytes,
        "sha256": file.sha256,
        "parts": shown,
        "user_id": file.user_id,
        "organization_id": file.organization_id,
        "created_at": rfc3339(file.created_at),
        "updated_at": rfc3339(file.updated_at),
        "completed_at": None if file.completed_at is None else rfc3339(file.completed_at),
        "expires_at": rfc3339(file.used_at + services.file_retention),
    }


def part_json(part: Part) -> JsonObject:
    """As it is answered."""
    return {"number": part.number, "bytes": part.bytes, "sha256": part.sha256}


def _location(services: Services, file: File) -> dict[str, str]:
    return {"Location": f"{(services.public_url or '').rstrip('/')}/v1/files/{file.id}"}
