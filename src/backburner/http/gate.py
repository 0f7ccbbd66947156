"""ASGI middleware around the whole application: request ids, and requests that are refused before any route."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import attrs
import trio

from backburner.http.caps import RESERVED
from backburner.http.problem import DEFAULT_HEADERS, Refused, render

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

#: Under this name the scope of a request holds its id.
REQUEST_ID = "backburner.request_id"
#: Under this name it holds headers that its answer is to carry.
ANSWER_HEADERS = "backburner.answer_headers"

#: What is answered also on connections beyond the caps.
HEALTH = frozenset({"/healthz", "/readyz"})
MAX_TARGET_BYTES = 8 * 1024
MAX_HEADERS = 100
MAX_HEADER_BYTES = 16 * 1024
# What is none, the application could not even look for a route of.
_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:]{1,40}(?:\.[0-9]{1,3}){0,3}\]|[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?)?(?::[0-9]{0,5})?"
)
_LINE_OVERHEAD = len(b": \r\n")
_DEFAULTS = [(name.encode(), value.encode()) for name, value in DEFAULT_HEADERS.items()]
#: Percent-encoded forms of `/`, `\` and of the characters that routes are made of. Encoded, they would reach a route
#: under a name that the rules of a proxy do not know.
_DISGUISED = re.compile(rb"%(?:2[DEF]|3[0-9]|[46][1-9A-F]|5[0-9ACF]|7[0-9AE])", re.IGNORECASE)
#: Below these, the clients of another API end paths with a slash.
_SLASH_ALLOWED = b"/letta/"


@attrs.frozen
class Gate:
    """Gives each request an id that its answer carries as `request-id`, and turns away what `refusal` names."""

    app: Callable[[Any, Any, Any], Awaitable[None]]
    new_request_id: Callable[[], str]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            await self._http(scope, receive, send)

    async def _http(self, scope: Any, receive: Receive, send: Send) -> None:
        request_id = self.new_request_id()
        headers = [(b"request-id", request_id.encode())]
        scope = {**scope, REQUEST_ID: request_id, ANSWER_HEADERS: headers}
        exchange = _Exchange(receive, send, request_id, headers)
        reason = refusal(scope)
        if reason is None:
            await self.app(scope, exchange.receive, exchange.send)
        else:
            await exchange.refuse(reason)


@attrs.define
class _Exchange:
    """One request and its answer."""

    _receive: Receive
    _send: Send
    _request_id: str
    _headers: list[tuple[bytes, bytes]]  # for the answer; more may be added before it starts
    _finishing: bool = attrs.field(default=False, init=False)
    _finished: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def receive(self) -> Message:
        message = await self._receive()
        # While it sends the end of an answer, the server tells the application that the request is over. An application
        # that cancels itself then (Quart-Trio does) stops the server halfway: the connection is neither used again
        # nor closed. So the news waits until the server is done.
        if message["type"] == "http.disconnect" and self._finishing:
            await self._finished.wait()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [*described(message["status"], message.get("headers", ())), *self._headers]
            message = {**message, "headers": [*kept, *_missing_defaults(kept)]}
        if message["type"] != "http.response.body" or message.get("more_body"):
            return await self._send(message)
        self._finishing = True
        try:
            await self._send(message)
        finally:
            self._finished.set()

    async def refuse(self, reason: Refused) -> None:
        body = render(reason.status, reason.code, str(reason), request_id=self._request_id)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        headers += [(name.lower().encode(), value.encode()) for name, value in reason.headers.items()]
        await self.send({"type": "http.response.start", "status": reason.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})


def _missing_defaults(headers: Headers) -> Headers:
    present = {name.lower() for name, _ in headers}
    return [(name, value) for name, value in _DEFAULTS if name not in present]


def described(status: int, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of an answer, without those that describe a body where there is none."""
    kept = list(headers)
    if (b"content-length", b"0") in [(name.lower(), value) for name, value in kept]:
        kept = [(name, value) for name, value in kept if name.lower() != b"content-type"]
    if status in (204, 304):
        kept = [(name, value) for name, value in kept if name.lower() not in (b"content-type", b"content-length")]
    return kept


def refusal(scope: Any) -> Refused | None:
    """Why this request must not reach the application, if so. The connection is closed after such an answer."""
    return (
        _refused_reserve(scope)
        or _refused_version(scope["http_version"])
        or _refused_target(scope)
        or _refused_size(scope["headers"])
        or _refused_host(scope["headers"])
        or _refused_framing(scope["headers"])
        or _refused_upgrade(scope["headers"])
    )


def _refused_reserve(scope: Any) -> Refused | None:
    if (scope.get("state") or {}).get(RESERVED) and scope["path"] not in HEALTH:
        return Refused(503, "too_many_connections", "Too many connections are open.", headers={"Retry-After": "1"})
    return None


def _refused_version(version: str) -> Refused | None:
    if version in ("1.0", "1.1"):
        return None
    return Refused(400, "http_version_unsupported", "Only HTTP/1.1 is spoken here.")


def _refused_target(scope: Any) -> Refused | None:
    target = len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"])
    if target > MAX_TARGET_BYTES:
        return Refused(414, "uri_too_long", f"The request target is longer than {MAX_TARGET_BYTES} bytes.")
    path = scope["path"]
    if not path.startswith(("/", "http://", "https://")) and path != "*":
        return Refused(400, "invalid_target", "The request target must be a path.")
    if any(character < " " or character == "\x7f" for character in path):
        return Refused(400, "invalid_target", "The path contains control characters.")
    if not is_canonical(scope.get("raw_path") or path.encode()):
        return Refused(404, "not_found", "There is no such route. A path has one form; this is another.")
    return None


def is_canonical(target: bytes) -> bool:
    """Whether a request target writes its path in the one form that routes answer to.

    That form has no empty, `.` or `..` segment, no slash at its end, and no percent-encoding of a slash, a backslash
    or an unreserved character. `/` alone and `*` count as canonical.
    """
    path = target.partition(b"?")[0]
    if not path.startswith(b"/"):  # the absolute form, as sent to a proxy
        path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
    if path.startswith(_SLASH_ALLOWED):
        path = path.removesuffix(b"/")
    segments = path[1:].split(b"/")
    is_plain = segments == [b""] or not {b"", b".", b".."} & set(segments)
    return is_plain and _DISGUISED.search(path) is None


def _refused_size(headers: Headers) -> Refused | None:
    sizes = [len(name) + len(value) + _LINE_OVERHEAD for name, value in headers]
    if len(sizes) > MAX_HEADERS:
        return Refused(431, "headers_too_large", f"There are more than {MAX_HEADERS} headers.")
    if sum(sizes) > MAX_HEADER_BYTES:
        return Refused(431, "headers_too_large", f"The headers are larger than {MAX_HEADER_BYTES} bytes.")
    return None


def _refused_host(headers: Headers) -> Refused | None:
    hosts = [value.decode("latin-1") for name, value in headers if name.lower() == b"host"]
    if all(_HOST.fullmatch(host) for host in hosts):
        return None
    return Refused(400, "invalid_host", "The Host header is not a host name or address.")


def _refused_framing(headers: Headers) -> Refused | None:
    # Two parsers that choose differently see different requests in the same bytes.
    if {b"content-length", b"transfer-encoding"} <= {name.lower() for name, _ in headers}:
        return Refused(400, "ambiguous_length", "Content-Length and Transfer-Encoding exclude each other.")
    return None


def _refused_upgrade(headers: Headers) -> Refused | None:
    # An offer to go on in HTTP/2 (h2c) is not refused but ignored: some clients send it with every request.
    if any(name.lower() == b"upgrade" and b"websocket" in value.lower() for name, value in headers):
        return Refused(400, "upgrade_unsupported", "There are no WebSockets here.")
    return None
