"""One request of a batch for an agent, as one request for the provider."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any, Literal

import msgspec

from backburner.errors import Invalid
from backburner.http.items import CUSTOM_ID, CheckedItem, Defaults, LineFault
from backburner.http.services import LettaDefaults
from backburner.http.strict import decode_in_steps
from backburner.steps import Steps

MAX_DEPTH = 100

_CUSTOM_ID = re.compile(CUSTOM_ID)

Content = str | list[dict[str, Any]]


class LettaMessage(msgspec.Struct):
    """A message; what else Letta knows of messages says nothing to a provider."""

    content: Content
    role: Literal["user", "system", "assistant"] = "user"


class AgentRequest(msgspec.Struct):
    """A request; settings of Letta's own agent loop are accepted and ignored, as its batches do."""

    agent_id: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    messages: Annotated[list[LettaMessage], msgspec.Meta(min_length=1)] | None = None
    input: Content | None = None
    model: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None


def custom_id_of(agent_id: str) -> str:
    """The agent's id where it can be one; else one made of it."""
    if _CUSTOM_ID.match(agent_id):
        return agent_id
    return f"agent-{hashlib.sha256(agent_id.encode()).hexdigest()[:40]}"


def check_request(
    defaults: LettaDefaults, raw: bytes, _: Defaults | None, /, **__: bool
) -> Steps[CheckedItem | list[LineFault]]:
    """The item, or why it is refused."""
    try:
        asked = yield from decode_in_steps(raw, AgentRequest, max_depth=MAX_DEPTH)
    except Invalid as error:
        return [LineFault(error.param, str(error))]
    if (asked.messages is None) == (asked.input is None):
        return [LineFault("messages", "Give either `messages` or `input`.", asked.agent_id)]
    messages = asked.messages or [LettaMessage(content=asked.input or "")]
    params = _params(messages) | {
        "model": asked.model or defaults.model,
        "max_tokens": asked.max_tokens or defaults.max_tokens,
    }
    if not params["messages"]:
        return [LineFault("messages", "Give a message that is no system message.", asked.agent_id)]
    return CheckedItem(custom_id_of(asked.agent_id), msgspec.json.encode(params), asked.agent_id)


def checker(defaults: LettaDefaults) -> partial[Steps[CheckedItem | list[LineFault]]]:
    """What `CheckedIntake` is to check with."""
    return partial(check_request, defaults)


def _params(messages: Iterable[LettaMessage]) -> dict[str, Any]:
    """The provider takes system messages apart from the others."""
    said = list(messages)
    system = [block for one in said if one.role == "system" for block in _blocks(one.content)]
    rest = [{"role": one.role, "content": one.content} for one in said if one.role != "system"]
    return {"messages": rest} | ({"system": system} if system else {})


def _blocks(content: Content) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
