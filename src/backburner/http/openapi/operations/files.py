"""Uploaded files."""

from __future__ import annotations

from backburner.files import MAX_PART_BYTES
from backburner.http import files
from backburner.http.openapi.file_schemas import File, FileList, FileWithParts, Part
from backburner.http.openapi.operation import Answer, Body, Operation, Operations

_BYTES = {"type": "string", "format": "binary", "minLength": 1}

OPERATIONS: Operations = {
    files.create_file: Operation(
        tag="Files",
        summary="Begin to upload a file",
        about="It has no parts yet. What is said of its size and SHA-256 is checked when it is completed.",
        bodies=[Body(type=files.NewFile, example={"name": "requests.jsonl", "bytes": 5_000_000})],
        answers={201: Answer(about="The file.", type=File, headers={"Location": "Where the file is."})},
    ),
    files.list_files: Operation(
        tag="Files",
        summary="List files",
        query=files.FILES_QUERY,
        answers={200: Answer(about="A page of files.", type=FileList)},
    ),
    files.get_file: Operation(
        tag="Files",
        summary="Get a file with its parts",
        about="After a broken upload: the parts that are listed need not be sent again.",
        answers={200: Answer(about="The file.", type=FileWithParts)},
    ),
    files.put_part: Operation(
        tag="Files",
        summary="Upload a part",
        about=(
            f"1 to {MAX_PART_BYTES:,} bytes, in any order, several at once. A part that breaks off does not count; "
            "sent again it changes nothing, with other bytes it replaces. `Content-Encoding: gzip` is accepted."
        ),
        query=files.PART_QUERY,
        bodies=[Body(type=_BYTES, media=files.OCTETS, example="{…}\n")],
        answers={200: Answer(about="It is stored.", type=Part)},
        errors={409: "The file is complete."},
    ),
    files.complete_file: Operation(
        tag="Files",
        summary="Complete a file",
        about="Its parts are numbered from 1 without gaps; what is said of it here or was said before has to be true.",
        bodies=[Body(type=files.FileEnd, example={"parts": 2}, required=False)],
        answers={200: Answer(about="The file, which does not change any more.", type=File)},
        errors={409: "Parts or bytes are missing or too many, or another part came meanwhile."},
    ),
    files.delete_file: Operation(
        tag="Files",
        summary="Delete a file",
        about="A job that still wants to read it fails.",
        answers={200: Answer(about="What it was.", type=File)},
    ),
}
