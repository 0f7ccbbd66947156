"""The look at one request's params: is it a Messages body, and what will come of it?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from backburner.providers.sandbox import markers
from backburner.providers.sandbox.items import Draws, Item, Kind, share_of
from backburner.providers.sandbox.options import SandboxOptions
from backburner.providers.sandbox.routes import Caller
from backburner.providers.sandbox.tools import Tool, ToolChoice, all_tools, tool_blocks

NEWEST_VERSION = "2026-10-21"
BYTES_PER_TOKEN = 4
#: Each model has its own limit at the service; here all have the highest that one of them has.
MOST_TOKENS = 128_000
LONG_OUTPUT_BETA = "output-300k-2026-03-24"
MOST_TOKENS_OF_BETA = 300_000
_NOTHING = msgspec.Raw(b"")
#: Role and decoded content of each message.
Contents = Sequence[tuple[str, Any]]


class Message(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant"]
    content: msgspec.Raw


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """A Messages body. The fields that do not matter here are taken as they are; others than these are refused."""

    model: str
    max_tokens: int
    messages: list[Message]
    system: msgspec.Raw = _NOTHING
    tools: msgspec.Raw = _NOTHING
    tool_choice: msgspec.Raw = _NOTHING
    stream: Any = False
    speed: Any = msgspec.UNSET
    store: Any = msgspec.UNSET
    previous_thread_event_id: Any = msgspec.UNSET
    cache_hint: Any = msgspec.UNSET
    context_hint: Any = msgspec.UNSET
    billing_policy: Any = msgspec.UNSET
    temperature: Any = msgspec.UNSET
    top_p: Any = msgspec.UNSET
    top_k: Any = msgspec.UNSET
    cache_control: Any = None
    compaction: Any = None
    container: Any = None
    context_management: Any = None
    diagnostics: Any = None
    fallback_credit_token: Any = None
    fallbacks: Any = None
    inference_geo: Any = None
    mcp_servers: Any = None
    metadata: Any = None
    output_config: Any = None
    output_format: Any = None
    service_tier: Any = None
    stop_sequences: Any = None
    thinking: Any = None
    thread: Any = None
    user_profile_id: Any = None


_REFUSED = ("speed", "store", "previous_thread_event_id", "cache_hint", "context_hint", "billing_policy")
_REFUSED_BY_NEWEST = ("temperature", "top_p", "top_k")
_EXTRA = re.compile(r"Object contains unknown field `(?P<field>[^`]*)`(?: - at `\$\.?(?P<at>.*)`)?")
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]*)`(?: - at `\$\.?(?P<at>.*)`)?")
_WRONG = re.compile(r"(?P<problem>.*) - at `\$\.?(?P<at>.*)`")

_decoder = msgspec.json.Decoder(Params)
_content = msgspec.json.Decoder(str | list[dict[str, Any]])
_tools = msgspec.json.Decoder(list[Tool])
_choice = msgspec.json.Decoder(ToolChoice)


class Reader:
    """Turns requests into items for one batch."""

    def __init__(self, options: SandboxOptions, caller: Caller) -> None:
        self._options = options
        self._refused = _REFUSED + (_REFUSED_BY_NEWEST if caller.version == NEWEST_VERSION else ())
        self._most_tokens = MOST_TOKENS_OF_BETA if LONG_OUTPUT_BETA in caller.betas else MOST_TOKENS
        self._draws = Draws(options.seed)
        self._errored = options.errored
        self._expired = self._errored + options.expired
        self._canceled = self._expired + options.canceled

    def item(self, custom_id: str, raw: bytes) -> Item:
        """What will come of the request. Never raises for wrong params: they make an errored item."""
        item = Item(custom_id, self._draws.draw(custom_id))
        try:
            params = _decoder.decode(raw)
            self._fill(item, params, raw)
        except (msgspec.MsgspecError, ValueError, OverflowError) as error:
            item.kind, item.detail = Kind.INVALID, explain(str(error))
        return item

    def _fill(self, item: Item, params: Params, raw: bytes) -> None:
        item.model = params.model
        item.max_tokens = min(params.max_tokens, MOST_TOKENS_OF_BETA)
        item.cache_read_tokens = _cached_tokens(params)
        item.input_tokens = 3 + len(raw) // BYTES_PER_TOKEN - item.cache_read_tokens
        problem = self._problem(params)
        if problem:
            item.kind, item.detail = Kind.INVALID, problem
        elif params.tools is not _NOTHING or markers.present(raw):
            self._fill_special(item, params, raw)
        else:
            item.kind, item.detail = self._by_chance(item.draw)

    def _problem(self, params: Params) -> str | None:
        if params.max_tokens < 1:
            return "max_tokens: Input should be greater than or equal to 1"
        if params.max_tokens > self._most_tokens:
            limit = f"{params.max_tokens} > {self._most_tokens}"
            return f"max_tokens: {limit}, which is the maximum allowed number of output tokens for {params.model}"
        if not params.messages:
            return "messages: at least one message is required"
        if params.stream:
            return "stream: Streaming is not supported in batches"
        for name in self._refused:
            if getattr(params, name) is not msgspec.UNSET:
                return f"{name}: Extra inputs are not permitted"
        return None

    def _fill_special(self, item: Item, params: Params, raw: bytes) -> None:
        found = markers.find(raw)
        contents = [(message.role, _content.decode(message.content)) for message in params.messages]
        item.stop_reason = markers.stop_reason(found, pauses=sum(map(is_pause, contents)))
        forced = markers.forced(found, last_user_text(contents))
        if forced:
            item.kind, item.detail = forced
            return
        blocks = None
        if item.stop_reason != "pause_turn":
            blocks = self._agent_blocks(item, params, contents, found) or self._tool_blocks(
                item, params, contents, markers.rounds(found)
            )
        if blocks:
            item.kind, item.detail, item.stop_reason = Kind.BLOCKS, blocks, "tool_use"
        else:
            item.kind, item.detail = self._by_chance(item.draw)

    def _tool_blocks(self, item: Item, params: Params, contents: Contents, rounds: int) -> str | None:
        if params.tools is _NOTHING or sum(map(has_tool_result, contents)) >= rounds:
            return None
        choice = ToolChoice() if params.tool_choice is _NOTHING else _choice.decode(params.tool_choice)
        return tool_blocks(_tools.decode(params.tools), choice, last_user_text(contents), item.draw)

    def _agent_blocks(self, item: Item, params: Params, contents: Contents, found: dict[str, str]) -> str | None:
        """An agent's calls depend on what it was asked first, so that they are the same in every batch."""
        asked = self._draws.draw(str(contents[0][1]))
        rounds = markers.agent_rounds(found, asked[5])
        if rounds is None or params.tools is _NOTHING or sum(map(has_tool_result, contents)) >= rounds:
            return None
        return all_tools(_tools.decode(params.tools), item.draw)

    def _by_chance(self, draw: bytes) -> tuple[Kind, str]:
        if not self._canceled:
            return Kind.TEXT, ""
        share = share_of(draw)
        if share < self._errored:
            return Kind.FAILED, "api_error"
        if share < self._expired:
            return Kind.EXPIRED, ""
        return (Kind.CANCELED, "") if share < self._canceled else (Kind.TEXT, "")


def _cached_tokens(params: Params) -> int:
    """A system prompt that is marked for the cache is always found there."""
    if params.system is _NOTHING:
        return 0
    system = bytes(params.system)
    return len(system) // BYTES_PER_TOKEN if b'"cache_control"' in system else 0


def has_tool_result(message: tuple[str, Any]) -> bool:
    _, content = message
    return not isinstance(content, str) and any(block.get("type") == "tool_result" for block in content)


def is_pause(message: tuple[str, Any]) -> bool:
    """Whether it is an answer that calls no tools."""
    role, content = message
    return role == "assistant" and (
        isinstance(content, str) or all(block.get("type") != "tool_use" for block in content)
    )


def last_user_text(contents: Contents) -> str:
    """The text of the last user message that has any; `""` if none has."""
    for role, content in reversed(contents):
        if role != "user":
            continue
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        text = "\n".join(str(block.get("text")) for block in blocks if block.get("type") == "text")
        if text:
            return text
    return ""


def explain(problem: str) -> str:
    """A decoder's complaint in the service's form: `max_tokens: Field required`."""
    if match := _EXTRA.fullmatch(problem):
        return f"{_dotted(match['at'], match['field'])}: Extra inputs are not permitted"
    if match := _MISSING.fullmatch(problem):
        return f"{_dotted(match['at'], match['field'])}: Field required"
    if match := _WRONG.fullmatch(problem):
        return f"{_dotted(match['at'])}: {match['problem']}"
    return problem


def _dotted(at: str | None, field: str = "") -> str:
    path = re.sub(r"\[(\d+)\]", r".\1", at or "").strip(".")
    return ".".join(part for part in (path, field) if part) or "params"
