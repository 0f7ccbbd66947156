"""`/openapi.json`, `/docs` and the page's style sheet: all made here, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import attrs
import msgspec
from quart import Response, request

from backburner.http.openapi.document import build
from backburner.http.openapi.operation import Operations, Route
from backburner.http.openapi.page import render_page
from backburner.http.query import query
from backburner.http.services import Services

#: Nothing but this server's own style sheet; no scripts at all.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
_SAFE = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@attrs.frozen(eq=False)
class Pages:
    """Documents the routes that are listed when it is first asked."""

    routes: list[Route]
    operations: Operations
    _made: dict[str, bytes] = attrs.field(factory=dict, init=False)

    async def openapi_document(self, services: Services) -> Response:
        """The document."""
        return _answer(self._once("json", lambda: self._document(services)), "application/json")

    async def documentation_page(self, services: Services) -> Response:
        """The same, to be read."""
        return _answer(self._once("html", lambda: self._page(services)), "text/html; charset=utf-8")

    async def documentation_style(self, _: Services) -> Response:
        """What the page looks like."""
        return _answer(_style(), "text/css; charset=utf-8")

    def _once(self, name: str, make: Callable[[], bytes]) -> bytes:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def _document(self, services: Services) -> bytes:
        return msgspec.json.encode(build(self.routes, self.operations, version=services.version))

    def _page(self, services: Services) -> bytes:
        return render_page(build(self.routes, self.operations, version=services.version)).encode()


@cache
def _style() -> bytes:
    return Path(__file__).with_name("style.css").read_bytes()


def _answer(body: bytes, media: str) -> Response:
    query(request.query_string, {})
    return Response(body, 200, content_type=media, headers=_SAFE)
