"""What a line of a provider's results says, without touching its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from backburner.completion import PROVIDER_REJECTED
from backburner.model import Usage
from backburner.states import OUTCOMES, ItemStatus
from backburner.surrogates import without_lone_surrogates

MISSING = "result_missing"
UNREADABLE = "result_unreadable"
UNKNOWN = "result_unknown"

_MESSAGES = {
    MISSING: "The provider's results do not contain this item.",
    UNREADABLE: "The provider's result for this item cannot be read.",
    UNKNOWN: "The provider's result for this item is of an unknown type.",
    PROVIDER_REJECTED: "The provider refused the batch that held this item.",
    "invalid_tool_call": "The model asked for a tool in a form that cannot be answered.",
    "abandoned": "The provider batch that held this item was abandoned by an operator.",
}


#: A count of tokens. Millions of them have to fit into one counter, else their sum would poison a transaction.
Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


# Not tracked by the garbage collector: they are gone at once, and a large batch makes a hundred thousand in seconds.
class _Usage(msgspec.Struct, gc=False):
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    cache_creation_input_tokens: Tokens | None = 0
    cache_read_input_tokens: Tokens | None = 0


class _Message(msgspec.Struct, gc=False):
    usage: _Usage | None = None


class _Result(msgspec.Struct, gc=False):
    type: str
    message: _Message | None = None


class _Type(msgspec.Struct, gc=False):
    type: str


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    result: msgspec.Raw


_line_decoder = msgspec.json.Decoder(_Line)
_result_decoder = msgspec.json.Decoder(_Result)
_type_decoder = msgspec.json.Decoder(_Type)
_any_decoder = msgspec.json.Decoder(msgspec.Raw)
#: Lines with fewer brackets are not nested too deeply, and are not looked at for it.
_MANY_BRACKETS = 500
#: Decoders go less deep the fuller the stack is: by up to so many levels for those who read a stored result later.
_SPARE = 100
OUTCOME_VALUES = frozenset(outcome.value for outcome in OUTCOMES)


class Unreadable(ValueError):
    """A line that is not JSON, not UTF-8 or not a result."""


class TooDeep(Unreadable):
    """A line that is nested more deeply than decoders go: a tool's input is the model's own text."""


class ResultLine(msgspec.Struct, frozen=True, gc=False):
    """One result: whose, how it ended, what it used, and its bytes."""

    custom_id: str
    status: str  # an outcome's value, or whatever the provider says
    usage: Usage | None  # None also when it makes no sense: the result is paid for all the same
    result: str  # the `result` member, verbatim

    @property
    def is_known(self) -> bool:
        """Whether it ended in a way that is known here."""
        return self.status in OUTCOME_VALUES


def decode(line: bytes) -> ResultLine:
    """Read one line. Raises Unreadable."""
    try:
        custom_id, inner, raw = _split_tolerantly(line)
        text = raw.decode()
    except RecursionError as error:
        raise TooDeep(str(error)) from error
    except ValueError as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
        raise Unreadable(str(error)) from error
    if "\x00" in text:  # not JSON, but the decoder skips over it, and PostgreSQL refuses it
        raise Unreadable("a raw NUL byte")
    return ResultLine(custom_id, inner.type, _usage(inner.message), text)


def _split_tolerantly(line: bytes) -> tuple[str, _Result, bytes]:
    try:
        return _split(line)
    except msgspec.DecodeError:
        readable = without_lone_surrogates(line)
        if readable == line:
            raise
        custom_id, inner, raw = _split(readable)
        start = readable.index(raw)  # every offset is the same in the line
        return custom_id, inner, line[start : start + len(raw)]


def _split(line: bytes) -> tuple[str, _Result, bytes]:
    if line.count(b"{") + line.count(b"[") >= _MANY_BRACKETS:
        _any_decoder.decode(b"[" * _SPARE + line + b"]" * _SPARE)
    outer = _line_decoder.decode(line)
    return outer.custom_id, _result(outer.result), bytes(outer.result)


def _result(raw: msgspec.Raw | str | bytes) -> _Result:
    """What is understood of a result. A message or a usage that makes no sense is left out."""
    try:
        return _result_decoder.decode(raw)
    except msgspec.ValidationError:
        return _Result(_type_decoder.decode(raw).type)


def own_result(status: ItemStatus, code: str | None = None, problem: Mapping[str, Any] | None = None) -> str:
    """A result line of our own, for an item that the provider gave none for.

    `problem` is what is kept with its batch: of a refused one the provider's own words.
    """
    if status is not ItemStatus.ERRORED:
        return f'{{"type":"{status.value}"}}'
    if code == PROVIDER_REJECTED and problem and problem.get("message"):
        error = _refusal(problem)
    else:
        error = {"type": "api_error", "code": code, "message": _MESSAGES[code or MISSING]}
    envelope = {"type": "error", "error": error, "request_id": None}
    return msgspec.json.encode({"type": "errored", "error": envelope}).decode()


def _refusal(problem: Mapping[str, Any]) -> dict[str, Any]:
    """The error of an item that the provider refused, or that was in a refused batch and never sent alone."""
    words = problem["message"]
    if problem.get("not_isolated"):
        message = f"A batch with this item was refused, whether for this item is not known; retry it: {words}"
        return {"type": "api_error", "code": PROVIDER_REJECTED, "not_isolated": True, "message": message}
    message = f"The provider refused this item: {words}"
    return {"type": "invalid_request_error", "code": PROVIDER_REJECTED, "message": message}


def usage_of(result: str) -> Usage | None:
    """The usage that a stored result carries, if any."""
    try:
        return _usage(_result(result).message)
    except RecursionError:
        return None
    except msgspec.DecodeError:
        return _usage(_result(without_lone_surrogates(result.encode())).message)


def _usage(message: _Message | None) -> Usage | None:
    if message is None or message.usage is None:
        return None
    usage = message.usage
    return Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_creation_input_tokens=usage.cache_creation_input_tokens or 0,
        cache_read_input_tokens=usage.cache_read_input_tokens or 0,
    )
