"""Result lines, made from items while they are streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import msgspec

from backburner.providers.sandbox.items import Item, Kind, share_of, slot_of, token, unpack
from backburner.providers.sandbox.params import BYTES_PER_TOKEN

CHUNK_BYTES = 64 * 1024
_VARIANTS = 16
_SENTENCES = (
    "The ticket is about a parcel that has not arrived yet. ",
    "In short, the customer asks for a refund and a new delivery date. ",
    "Two of the three claims are supported by the text; the last one is not. ",
    "This reply was made by the sandbox and means nothing in particular. ",
    "The tone is polite but impatient, so an early answer would help. ",
    "Nothing in the document speaks against it. ",
    "The figures for the second quarter are higher than those for the first. ",
    "Category: delivery. Urgency: medium. ",
)
_ERRORS = {
    "api_error": "Internal server error",
    "overloaded_error": "Overloaded",
    "timeout_error": "The request took too long",
}


class Renderer:
    """Makes lines, each with its line end. The same item always makes the same line."""

    def __init__(self, reply_bytes: int) -> None:
        self._texts = [_filler(reply_bytes, variant) for variant in range(_VARIANTS)]
        self._tokens = max(1, reply_bytes // BYTES_PER_TOKEN)
        self._by_kind: dict[int, Callable[[Item], str]] = {
            Kind.TEXT: self._text,
            Kind.SAID: lambda item: _said(item, item.detail),
            Kind.BLOCKS: lambda item: _succeeded(item, item.detail, len(item.detail) // BYTES_PER_TOKEN),
            Kind.LARGE: _large,
            Kind.INVALID: lambda item: _errored(item, "invalid_request_error", item.detail),
            Kind.FAILED: lambda item: _errored(item, item.detail, _ERRORS[item.detail]),
            Kind.CANCELED: lambda item: _bare(item, "canceled"),
            Kind.EXPIRED: lambda item: _bare(item, "expired"),
            Kind.UNKNOWN: lambda item: _bare(item, item.detail),
        }

    def line(self, item: Item) -> str:
        return self._by_kind[item.kind](item)

    def _text(self, item: Item) -> str:
        text = self._texts[item.draw[6] % _VARIANTS]
        if item.max_tokens >= self._tokens:
            return _succeeded(item, f'[{{"type":"text","text":"{text}"}}]', self._tokens)
        short = text[: item.max_tokens * BYTES_PER_TOKEN]
        return _succeeded(item, f'[{{"type":"text","text":"{short}"}}]', item.max_tokens, "max_tokens")


def chunks(pages: Iterable[bytes], renderer: Renderer, slots: int, unfinished: str) -> Iterator[bytes]:
    """All lines of a batch in pieces of about 64 KiB that end with a line.

    Items that finish in a slot from `slots` on did not: their result is `unfinished`.
    """
    lines: list[str] = []
    size = 0
    for page in pages:
        for item in unpack(page):
            line = renderer.line(item) if slot_of(item) < slots else _bare(item, unfinished)
            lines.append(line)
            size += len(line)
            if size >= CHUNK_BYTES:
                yield "".join(lines).encode()
                lines, size = [], 0
    if lines:
        yield "".join(lines).encode()


def _filler(size: int, variant: int) -> str:
    sentences = _SENTENCES[variant % len(_SENTENCES) :] + _SENTENCES[: variant % len(_SENTENCES)]
    text = "".join(sentences[:: 1 if variant < len(_SENTENCES) else -1])
    return (text * (size // len(text) + 1))[:size]


def _succeeded(item: Item, content: str, output_tokens: int, stop_reason: str = "") -> str:
    return (
        f'{{"custom_id":"{item.custom_id}","result":{{"type":"succeeded","message":{{"id":"msg_01{token(item.draw)}",'
        f'"type":"message","role":"assistant","model":{_quoted(item.model)},"content":{content},'
        f'"stop_reason":"{stop_reason or item.stop_reason}","stop_sequence":null,"stop_details":null,"container":null,'
        f'"usage":{{"input_tokens":{item.input_tokens},"output_tokens":{output_tokens},"cache_creation_input_tokens":0,'
        f'"cache_read_input_tokens":{item.cache_read_tokens},"cache_creation":{{"ephemeral_5m_input_tokens":0,'
        f'"ephemeral_1h_input_tokens":0}},"output_tokens_details":{{"thinking_tokens":0}},"server_tool_use":null,'
        '"service_tier":"batch","inference_geo":"global"}}}}\n'
    )


def _said(item: Item, escaped: str) -> str:
    tokens = len(escaped) // BYTES_PER_TOKEN + 1
    return _succeeded(item, f'[{{"type":"text","text":"{escaped}"}}]', tokens)


def _large(item: Item) -> str:
    size = int(item.detail)
    tokens = size // BYTES_PER_TOKEN
    frame = len(_succeeded(item, '[{"type":"text","text":""}]', tokens)) - 1
    return _succeeded(item, f'[{{"type":"text","text":"{"x" * (size - frame)}"}}]', tokens)


def _errored(item: Item, kind: str, message: str) -> str:
    # Some of the service's errors name their request, some do not.
    request_id = f'"req_011C{token(item.draw)[:20]}"' if share_of(item.draw[4:]) < 0.5 else "null"
    return (
        f'{{"custom_id":"{item.custom_id}","result":{{"type":"errored","error":{{"type":"error","error":'
        f'{{"type":"{kind}","message":{_quoted(message)}}},"request_id":{request_id}}}}}}}\n'
    )


def _bare(item: Item, kind: str) -> str:
    return f'{{"custom_id":"{item.custom_id}","result":{{"type":"{kind}"}}}}\n'


@lru_cache(maxsize=256)
def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
