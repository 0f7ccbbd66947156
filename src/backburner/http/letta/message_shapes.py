"""Messages as Letta's clients know them: whole ones of a batch, and the typed pieces of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from backburner.conversation import Message
from backburner.http.conversation_ids import made_id, message_id
from backburner.times import rfc3339

JsonObject = dict[str, Any]


def batch_message(message: Message) -> JsonObject:
    """A message of a batch; tool calls stand beside the content."""
    at = rfc3339(message.created_at)
    blocks = _blocks(message)
    calls = [_tool_call(block) for block in blocks if block.get("type") == "tool_use"]
    returned = next((block for block in blocks if block.get("type") == "tool_result"), None)
    return {
        "id": message_id(message),
        "role": message.role if returned is None else "tool",
        "agent_id": message.agent_id,
        "model": None,
        "content": [block for block in blocks if block.get("type") != "tool_use"],
        "name": None,
        "tool_calls": calls or None,
        "tool_call_id": None if returned is None else returned.get("tool_use_id"),
        "step_id": _step_id(message),
        "otid": None,
        "tool_returns": [],
        "group_id": None,
        "sender_id": None,
        "batch_item_id": made_id("item", message.job_id, message.index),
        "is_err": None,
        "created_at": at,
        "updated_at": at,
        "created_by_id": None,
        "last_updated_by_id": None,
    }


def pieces(message: Message) -> Iterator[JsonObject]:
    """What one message is to Letta: a piece for its text, one for each thought, tool call and tool return."""
    common = {
        "id": message_id(message),
        "date": rfc3339(message.created_at),
        "name": None,
        "otid": None,
        "sender_id": None,
        "step_id": _step_id(message),
        "is_err": None,
        "run_id": made_id("run", message.job_id, message.index),
    }
    text = [block for block in _blocks(message) if block.get("type") not in _PIECES]
    for block in _blocks(message):
        if block.get("type") in _PIECES:
            yield common | _PIECES[block["type"]](block)
    if text:
        kind = message.role if message.role in ("system", "user") else "assistant"
        yield common | {"message_type": f"{kind}_message", "content": _plain(text)}


def _blocks(message: Message) -> list[JsonObject]:
    content = message.content
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _plain(blocks: list[JsonObject]) -> Any:
    """Text, where it is nothing but text."""
    if all(block.get("type") == "text" for block in blocks):
        return "".join(str(block.get("text", "")) for block in blocks)
    return blocks


def _tool_call(block: JsonObject) -> JsonObject:
    return {
        "id": block.get("id"),
        "type": "function",
        "function": {"name": block.get("name"), "arguments": _json(block.get("input"))},
    }


def _called(block: JsonObject) -> JsonObject:
    call = {"name": block.get("name"), "arguments": _json(block.get("input")), "tool_call_id": block.get("id")}
    return {"message_type": "tool_call_message", "tool_call": call}


def _returned(block: JsonObject) -> JsonObject:
    content = block.get("content")
    return {
        "message_type": "tool_return_message",
        "tool_return": content if isinstance(content, str) else _json(content),
        "status": "error" if block.get("is_error") else "success",
        "tool_call_id": block.get("tool_use_id"),
        "stdout": None,
        "stderr": None,
    }


def _thought(block: JsonObject) -> JsonObject:
    return {
        "message_type": "reasoning_message",
        "source": "reasoner_model",
        "reasoning": block.get("thinking", ""),
        "signature": block.get("signature"),
    }


_PIECES = {"tool_use": _called, "tool_result": _returned, "thinking": _thought}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _step_id(message: Message) -> str:
    return made_id("step", message.job_id, message.index, message.round)
