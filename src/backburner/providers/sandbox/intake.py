"""Reading the body that creates a batch, in steps short enough that no other thread waits long."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

import attrs
import msgspec

from backburner.providers.sandbox import markers
from backburner.providers.sandbox.items import OUTCOMES, PAGE_ITEMS, SLOTS, Item, Outcome, pack, slot_of
from backburner.providers.sandbox.options import SandboxOptions
from backburner.providers.sandbox.params import Reader, explain
from backburner.providers.sandbox.routes import Caller
from backburner.providers.sandbox.wire import ApiError, invalid

MAX_BYTES = 256 * 1024 * 1024
MAX_ITEMS = 100_000
#: A decoder keeps the interpreter to itself until it returns.
_STEP_BYTES = 1024 * 1024
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_OPENING = re.compile(rb'\s*\{\s*"requests"\s*:\s*\[')
_BETWEEN = re.compile(rb'\}\s*,\s*(?=\{\s*"custom_id"\s*:)')


class WireItem(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    custom_id: str
    params: msgspec.Raw


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    requests: list[WireItem]


_some = msgspec.json.Decoder(list[WireItem])
_all = msgspec.json.Decoder(Envelope)


@attrs.frozen(kw_only=True)
class Draft:
    """A batch that may be made."""

    total: int
    pages: list[bytes]
    tally: tuple[int, ...]  # for each outcome, how many items end so in each slot


def read(body: bytes | bytearray, options: SandboxOptions, caller: Caller) -> Draft:
    """Check a body as the service does before it answers. Raises ApiError."""
    if len(body) > MAX_BYTES:
        raise too_large()
    reader = Reader(options, caller)
    tally = [0] * (len(Outcome) * SLOTS)
    pages = []
    total = 0
    items = _items(body, reader)
    try:
        while page := list(islice(items, PAGE_ITEMS)):
            for item in page:
                tally[OUTCOMES[item.kind] * SLOTS + slot_of(item)] += 1
            total += len(page)
            pages.append(pack(page))
    except RecursionError:
        raise invalid("The request body is nested too deeply") from None
    if not total:
        raise invalid("requests: List should have at least 1 item after validation, not 0")
    return Draft(total=total, pages=pages, tally=tuple(tally))


def too_large() -> ApiError:
    return ApiError(413, "request_too_large", "Request exceeds the maximum size of 256 MB")


def _items(body: bytes | bytearray, reader: Reader) -> Iterator[Item]:
    seen: set[str] = set()
    for index, wire in enumerate(_wire_items(body)):
        if index == MAX_ITEMS:
            raise invalid(f"requests: List should have at most {MAX_ITEMS} items after validation")
        if not _CUSTOM_ID.fullmatch(wire.custom_id):
            raise invalid(f"requests.{index}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
        if wire.custom_id in seen:
            raise invalid(f"requests.{index}.custom_id: Duplicate custom_id '{wire.custom_id}'")
        seen.add(wire.custom_id)
        raw = bytes(wire.params)
        if not raw.startswith(b"{"):
            raise invalid(f"requests.{index}.params: Input should be a valid dictionary")
        if (problem := markers.refusal(raw, index)) is not None:
            raise invalid(problem)
        yield reader.item(wire.custom_id, raw)


def _wire_items(body: bytes | bytearray) -> Iterator[WireItem]:
    """The requests of a body one after the other.

    Wherever a body looks as clients write it, it is decoded in steps; a step that fails says nothing yet, since the
    place where it was cut may lie inside a request. Only a failure of the whole is the client's.
    """
    given = 0
    spans = list(_spans(body))
    try:
        for start, end in spans:
            requests = _some.decode(b"[%b]" % bytes(body[start:end]))
            yield from requests
            given += len(requests)
    except msgspec.MsgspecError:
        spans = []
    if not spans:
        yield from islice(_whole(body), given, None)


def _spans(body: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Where the requests stand in the body, about a step's worth at a time; nothing for a body of unusual form."""
    opening = _OPENING.match(body)
    end = body.rfind(b"]")
    if opening is None or body[end + 1 :].strip() != b"}":
        return
    start = opening.end()
    while start + _STEP_BYTES < end and (cut := _BETWEEN.search(body, start + _STEP_BYTES, end)):
        yield start, cut.start() + 1
        start = cut.end()
    yield start, end


def _whole(body: bytes | bytearray) -> list[WireItem]:
    try:
        return _all.decode(body).requests
    except msgspec.ValidationError as error:
        raise invalid(explain(str(error))) from None
    except msgspec.DecodeError as error:
        raise invalid(f"The request body is not valid JSON: {error}") from None
