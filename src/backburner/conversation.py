"""Runs, steps and messages, as they are read off items and their results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import attrs
import msgspec

from backburner.model import Usage
from backburner.request_config import Display
from backburner.states import ItemStatus, JobStatus
from backburner.surrogates import without_lone_surrogates

JsonObject = dict[str, Any]

UNREADABLE = {"type": "text", "text": "(This text cannot be decoded.)"}


@attrs.frozen(kw_only=True)
class Step:
    """One item in one round: a request and what came back."""

    job_id: str
    index: int
    custom_id: str
    agent_id: str | None
    round: int
    status: ItemStatus
    model: str | None
    stop_reason: str | None  #: of the model; None without an answer
    usage: Usage | None
    tool_calls: Sequence[JsonObject]
    created_at: datetime
    completed_at: datetime | None
    cost_usd: float | None = None  #: None: no prices are known
    feedback: str | None = None  #: of a person: positive or negative
    tags: Sequence[str] = ()


@attrs.frozen
class Standing:
    """How the conversation of an agent's item stands; plain items stand as their only step."""

    status: ItemStatus | None  #: None: it goes on
    stop_reason: str | None
    at: datetime | None


@attrs.frozen(kw_only=True)
class Run:
    """One item's conversation over all its rounds."""

    job_id: str
    index: int
    agent_id: str | None
    status: JobStatus
    stop_reason: str | None
    rounds: int
    usage: Usage | None
    created_at: datetime
    completed_at: datetime | None
    metadata: JsonObject


@attrs.frozen(kw_only=True)
class Message:
    """One message of a step: of its request, or the answer."""

    job_id: str
    index: int
    agent_id: str | None
    round: int
    number: int  #: in the step, from 0, whatever of it is shown
    role: str
    content: Any
    created_at: datetime


#: What becomes of a run whose last step ended so.
RUN_STATUS = {
    ItemStatus.SUCCEEDED: JobStatus.COMPLETED,
    ItemStatus.ERRORED: JobStatus.FAILED,
    ItemStatus.CANCELED: JobStatus.CANCELLED,
    ItemStatus.EXPIRED: JobStatus.EXPIRED,
}
WITHOUT_ANSWER = {
    ItemStatus.ERRORED: "error",
    ItemStatus.CANCELED: "cancelled",
    ItemStatus.EXPIRED: "expired",
}


def run_of(
    steps: Sequence[Step],
    *,
    job_status: JobStatus,
    created_at: datetime,
    metadata: JsonObject,
    standing: Standing | None = None,
) -> Run:
    """The run that these steps of one item are, in their order; there is at least one. `standing`: of an agent's."""
    last = steps[-1]
    standing = standing or Standing(last.status, last.stop_reason or WITHOUT_ANSWER.get(last.status), last.completed_at)
    status = standing.status or ItemStatus.PROCESSING
    used = [step.usage for step in steps if step.usage is not None]
    waiting = JobStatus.PENDING if job_status is JobStatus.PENDING else JobStatus.RUNNING
    return Run(
        job_id=last.job_id,
        index=last.index,
        agent_id=last.agent_id,
        status=RUN_STATUS.get(status, waiting),
        stop_reason=standing.stop_reason,
        rounds=len(steps),
        usage=sum(used, Usage()) if used else None,
        created_at=created_at,
        completed_at=None if status is ItemStatus.PROCESSING else standing.at,
        metadata=metadata,
    )


def displayed(raw: str) -> Any:
    """A stored JSON text as a value that can be sent: half surrogate pairs, which are kept, are replaced here.

    None for what cannot be read at all.
    """
    for text in (raw.encode(), without_lone_surrogates(raw.encode())):
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            pass
    return None


def answer_of(result: str | None) -> JsonObject:
    """The provider's message in a stored result; empty when there is none."""
    shown = None if result is None else displayed(result)
    message = shown.get("message") if isinstance(shown, dict) else None
    return message if isinstance(message, dict) else {}


def tool_calls(message: JsonObject) -> list[JsonObject]:
    """The tools that an answer wants called: `{id, name, input}`."""
    uses = [block for block in _blocks(message.get("content")) if block.get("type") == "tool_use"]
    return [{name: use.get(name) for name in ("id", "name", "input")} for use in uses]


def text_member(value: JsonObject, name: str) -> str | None:
    """A member that is text, else None: what is stored is the provider's, or unchecked."""
    found = value.get(name)
    return found if isinstance(found, str) else None


def dialogue(
    params: str | None, result: str | None, given: list[Any] | None = None
) -> Iterator[tuple[int, bool, str, Any]]:
    """The messages of a step: (number, whether it is the answer, role, content).

    First what the request said, its system prompt before all, or in a later round what tools have `given`; then the
    answer, if there is one.
    """
    said = displayed(params) if params is not None else {}
    asked = said if isinstance(said, dict) else {}
    number = 0
    if asked.get("system") is not None:
        yield number, False, "system", asked["system"]
        number += 1
    listed = asked.get("messages")
    for message in listed if isinstance(listed, list) else ():
        known = message if isinstance(message, dict) else {"content": message}
        yield number, False, text_member(known, "role") or "user", known.get("content")
        number += 1
    if given is not None:
        yield number, False, "user", given
        number += 1
    answer = answer_of(result)
    if answer:
        yield number, True, text_member(answer, "role") or "assistant", answer.get("content", [])
    elif result is not None and displayed(result) is None:
        yield number, True, "assistant", [UNREADABLE]


def shaped(message: Message, display: Display) -> Message | None:
    """The message as the job's `request_config` wants it shown; None if it does not."""
    if message.role == "assistant" and display.use_assistant_message:
        message = attrs.evolve(message, content=_as_text(message.content, display))
    if display.included is None or display.included & {message.role, *_kinds(message)}:
        return message
    return None


def _as_text(content: Any, display: Display) -> Any:
    if not isinstance(content, list):
        return content
    return [_block_as_text(block, display) for block in content]


def _block_as_text(block: Any, display: Display) -> Any:
    if not (isinstance(block, dict) and block.get("type") == "tool_use" and block.get("name") == display.tool_name):
        return block
    given = block.get("input")
    text = text_member(given, display.tool_kwarg) if isinstance(given, dict) else None
    return block if text is None else {"type": "text", "text": text}


def _kinds(message: Message) -> set[str]:
    """Which kinds of message it is: one of several blocks can be of several."""
    if message.role == "system":
        return {"system_message"}
    types = {block.get("type") for block in _blocks(message.content)}
    if message.role == "user":
        return {"tool_return_message"} if types == {"tool_result"} else {"user_message"}
    calls, thoughts = types & {"tool_use", "server_tool_use"}, types & {"thinking", "redacted_thinking"}
    found = {"tool_call_message"} if calls else set()
    found |= {"reasoning_message"} if thoughts else set()
    return found if found and types == calls | thoughts else found | {"assistant_message"}


def _blocks(content: Any) -> list[JsonObject]:
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
