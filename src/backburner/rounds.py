"""What follows from an answer in a conversation: it is over, tools are called, or it simply goes on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import attrs
import msgspec

from backburner.agent_options import AgentOptions
from backburner.completion import CANCELLED_BY_USER
from backburner.model import Usage
from backburner.states import ItemStatus
from backburner.surrogates import storable, without_lone_surrogates

INVALID_CALL = "invalid_tool_call"
MAX_ROUNDS = "max_rounds"
TOKEN_LIMIT = "token_limit"  # noqa: S105  # tokens of a model
COST_LIMIT = "cost_limit"

#: Stop reasons of an answer that is not the last one.
GOES_ON = ("tool_use", "pause_turn")
#: What an item's status says where no answer gives a reason.
REASONS = {
    ItemStatus.ERRORED: "error",
    ItemStatus.CANCELED: "cancelled",
    ItemStatus.EXPIRED: "expired",
    ItemStatus.SUCCEEDED: "end_turn",
}
_NAME = re.compile(r"[\x21-\x7e]{1,256}")


@attrs.frozen
class ToolUse:
    """One call that an answer asks for."""

    tool_use_id: str
    name: str
    input: str  #: JSON, verbatim


@attrs.frozen(kw_only=True)
class Answer:
    """What a stored result says that matters for the way on."""

    status: ItemStatus
    stop_reason: str | None
    calls: Sequence[ToolUse] | None  #: None: it asks for something that is no call
    is_empty: bool  #: it has no content


@attrs.frozen
class Done:
    """The conversation is over."""

    status: ItemStatus
    stop_reason: str


@attrs.frozen
class CallTools:
    """These tools are called, and their results make the next request."""

    calls: Sequence[ToolUse]


@attrs.frozen
class GoOn:
    """The answer itself, sent back, makes the next request."""


Verdict = Done | CallTools | GoOn


def decide(answer: Answer, agent: AgentOptions, *, round: int, used: Usage, stopping: str | None) -> Verdict:  # noqa: A002  # the glossary's word
    """What follows from the answer of a round. `used`: by the conversation so far, this answer included.

    `stopping`: why the whole job is being ended, if it is; what the model has finished counts all the same.
    """
    if answer.status is not ItemStatus.SUCCEEDED:
        return Done(answer.status, _reason(answer.status, stopping))
    if answer.stop_reason not in GOES_ON or answer.is_empty:
        return Done(ItemStatus.SUCCEEDED, answer.stop_reason or REASONS[ItemStatus.SUCCEEDED])
    if stopping is not None:
        return stopped(stopping)
    if (limit := exceeded(agent, round=round, used=used)) is not None:
        return Done(ItemStatus.SUCCEEDED, limit)
    if answer.stop_reason == "pause_turn":
        return GoOn()
    return CallTools(answer.calls) if answer.calls else Done(ItemStatus.ERRORED, INVALID_CALL)


def _reason(status: ItemStatus, stopping: str | None) -> str:
    """Why there is no answer. The provider cancels what it is told to: then the reason is ours."""
    if stopping is not None and status is ItemStatus.CANCELED:
        return stopped(stopping).stop_reason
    return REASONS[status]


def exceeded(agent: AgentOptions, *, round: int, used: Usage) -> str | None:  # noqa: A002  # the glossary's word
    """Which limit keeps a conversation from another round; None when it may have one."""
    if round >= agent.max_rounds:
        return MAX_ROUNDS
    inputs = used.input_tokens + used.cache_creation_input_tokens + used.cache_read_input_tokens
    if agent.max_output_tokens is not None and used.output_tokens >= agent.max_output_tokens:
        return TOKEN_LIMIT
    if agent.max_total_tokens is not None and inputs + used.output_tokens >= agent.max_total_tokens:
        return TOKEN_LIMIT
    if agent.max_cost_usd is not None and agent.prices and agent.prices.cost(used) >= agent.max_cost_usd:
        return COST_LIMIT
    return None


def stopped(stopping: str) -> Done:
    """How a conversation ends that a job leaves unfinished when it is ended for this reason."""
    if stopping == CANCELLED_BY_USER:
        return Done(ItemStatus.CANCELED, REASONS[ItemStatus.CANCELED])
    return Done(ItemStatus.EXPIRED, stopping)


LONGEST_REASON = 255  # characters of a stop reason: it stands in an index


# --- reading a stored result -------------------------------------------------------------------------------


class _Block(msgspec.Struct):
    """Only what is a call has to have these as texts."""

    type: Any = ""
    id: Any = ""
    name: Any = ""
    input: msgspec.Raw = msgspec.Raw(b"")


class _Message(msgspec.Struct):
    content: list[_Block] | str | None = None
    stop_reason: Any = None


class _Result(msgspec.Struct):
    type: ItemStatus
    message: _Message | None = None


class _RawMessage(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw(b"[]")


class _RawResult(msgspec.Struct):
    message: _RawMessage


_decoder = msgspec.json.Decoder(_Result)
_raw_decoder = msgspec.json.Decoder(_RawResult)


def answer_in(result: str) -> Answer:
    """Read a stored result. One whose message makes no sense counts as errored."""
    try:
        found = _decode(result)
    except (msgspec.DecodeError, RecursionError):
        return Answer(status=ItemStatus.ERRORED, stop_reason=None, calls=None, is_empty=True)
    message = found.message or _Message()
    return Answer(
        status=found.type,
        stop_reason=_reason_in(message),
        calls=_calls(message.content) if isinstance(message.content, list) else [],
        is_empty=not message.content,
    )


def _reason_in(message: _Message) -> str | None:
    given = message.stop_reason
    return storable(given, longest=LONGEST_REASON) if isinstance(given, str) else None


def _decode(result: str) -> _Result:
    try:
        return _decoder.decode(result)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:  # half a surrogate pair, which is kept as it came
        return _decoder.decode(without_lone_surrogates(result.encode()))


def _calls(content: Sequence[_Block]) -> list[ToolUse] | None:
    uses = [block for block in content if block.type == "tool_use"]
    if not all(_is_name(use.id) and _is_name(use.name) for use in uses):
        return None
    return [ToolUse(use.id, use.name, bytes(use.input).decode() or "{}") for use in uses]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def content_in(result: str) -> bytes:
    """The content of the message in a stored result, as it can be sent back: half surrogate pairs are replaced."""
    try:
        found = _raw_decoder.decode(result)
    except msgspec.DecodeError:
        found = _raw_decoder.decode(without_lone_surrogates(result.encode()))
    return bytes(found.message.content)
