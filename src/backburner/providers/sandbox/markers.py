"""Words in a request that decide its result.

Anywhere in the text of a request:

    [sandbox:errored]          an invalid_request_error
    [sandbox:refused]          no batch is made of a body with this request: 400 with a message that names the request
    [sandbox:refused_unnamed]  the same with a message that does not name it
    [sandbox:api_error]        an error that a new attempt may heal; also overloaded_error, timeout_error
    [sandbox:canceled]         canceled, though nobody asked for it
    [sandbox:expired]          expired, though the day is not over
    [sandbox:unknown]          a result of the type `throttled`, which is in no client's list
    [sandbox:echo]             the reply is the text of the last user message
    [sandbox:large=10485760]   a result line of that many bytes
    [sandbox:surrogate]        a reply with an escaped lone surrogate, which is not Unicode
    [sandbox:nul]              a reply with an escaped NUL
    [sandbox:u2028]            a reply with a raw U+2028, which some take for a line end
    [sandbox:emoji]            a reply beyond the basic plane
    [sandbox:refusal]          the stop reason `refusal`; also max_tokens, pause_turn
    [sandbox:pauses=2]         the stop reason `pause_turn` until that many answers without tools were given
    [sandbox:agent=2]          calls every tool of the request in each of that many rounds; without a number 0 to 3
    [sandbox:rounds=3]         calls tools until three results of tools are in the conversation (otherwise one)
    use tool NAME {"a":1}      in the last user text: calls that tool (several times: several calls)
"""

from __future__ import annotations

import re

import msgspec

from backburner.providers.sandbox.items import Kind

_SIGN = re.compile(rb"\[sandbox:")
_MARKER = re.compile(rb"\[sandbox:([a-z0-9_]+)(?:=([0-9]+))?\]")

_KINDS: dict[str, tuple[Kind, str]] = {
    "errored": (Kind.INVALID, "messages: The request asked for this error."),
    "api_error": (Kind.FAILED, "api_error"),
    "overloaded_error": (Kind.FAILED, "overloaded_error"),
    "timeout_error": (Kind.FAILED, "timeout_error"),
    "canceled": (Kind.CANCELED, ""),
    "expired": (Kind.EXPIRED, ""),
    "unknown": (Kind.UNKNOWN, "throttled"),
    "surrogate": (Kind.SAID, r"half a pair: \ud800 and on"),
    "nul": (Kind.SAID, r"nothing: \u0000 and on"),
    "u2028": (Kind.SAID, "a line\u2028and\u2029another\x85one"),
    "emoji": (Kind.SAID, "\N{GRINNING FACE} \N{MAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER} \U0001d11e"),
}
_REFUSAL = "A request asked for this refusal."
_MAX_LINE_BYTES = 256 * 1024 * 1024
_STOP_REASONS = frozenset({"refusal", "max_tokens", "pause_turn"})


def present(raw: bytes) -> bool:
    # a search for the plain bytes takes several times as long as the regular expression's
    return _SIGN.search(raw) is not None


def find(raw: bytes) -> dict[str, str]:
    """The markers of a request with their values, `""` where none is given."""
    return {match[1].decode(): (match[2] or b"").decode() for match in _MARKER.finditer(raw)}


def forced(markers: dict[str, str], said: str) -> tuple[Kind, str] | None:
    """The kind and detail that the markers ask for. `said` is the text that an echo repeats."""
    for name, value in markers.items():
        if name in _KINDS:
            return _KINDS[name]
        if name == "large" and value:
            return Kind.LARGE, str(min(int(value), _MAX_LINE_BYTES))
        if name == "echo":
            return Kind.SAID, msgspec.json.encode(said)[1:-1].decode()
    return None


def refusal(raw: bytes, index: int) -> str | None:
    """Why no batch is made of a body whose request number `index` is this one; None: one is made."""
    markers = find(raw) if present(raw) else {}
    if "refused" in markers:
        return f"requests.{index}.params.messages: {_REFUSAL}"
    return f"messages: {_REFUSAL}" if "refused_unnamed" in markers else None


def stop_reason(markers: dict[str, str], *, pauses: int) -> str:
    """The stop reason of an answer in words. `pauses`: answers without tools that are in the conversation."""
    if pauses < int(markers.get("pauses") or 0):
        return "pause_turn"
    return next((name for name in markers if name in _STOP_REASONS), "end_turn")


def rounds(markers: dict[str, str]) -> int:
    """How many results of tools the conversation takes before the model is content."""
    return int(markers.get("rounds") or 1)


def agent_rounds(markers: dict[str, str], chance: int) -> int | None:
    """How many results of tools an agent wants to see; None where no agent is played."""
    if "agent" not in markers:
        return None
    return int(markers["agent"]) if markers["agent"] else chance % 4
