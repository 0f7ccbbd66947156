"""One authenticated request on its way to a handler, and how handlers become routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import attrs
import msgspec
from quart import Response, request

from backburner.http.auth import KeyRing
from backburner.http.body import read_json
from backburner.http.envelope import EdgeApp
from backburner.http.flow import FlowRequest
from backburner.http.idempotency import Held, once, respond
from backburner.http.problem import Refused
from backburner.http.query import Parameter, query
from backburner.http.services import Services
from backburner.model import Principal
from backburner.storage.database import Tx
from backburner.storage.idempotency import Answer, recorded

T = TypeVar("T")
P = ParamSpec("P")

#: `/api` is the older form of the same routes.
BASES = ("/v1", "/api")


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request that has nothing to say."""


@attrs.frozen(kw_only=True)
class Call:
    """One request of somebody who may make it."""

    services: Services
    keys: KeyRing
    principal: Principal
    request: FlowRequest
    held: Held | None = None  #: the Idempotency-Key, if the request has one

    @property
    def organization_key(self) -> int:
        return self.principal.organization_key

    @property
    def reach(self) -> int | None:
        """Whose objects an admin route shows: None for everybody's, which only the operator sees."""
        return None if self.principal.is_operator else self.principal.organization_key

    def query(self, parameters: Mapping[str, Parameter] | None = None) -> dict[str, Any]:
        """The query parameters; every one that is not in `parameters` is refused."""
        return query(self.request.query_string, parameters or {})

    async def json(self, type_: type[T]) -> T:
        """The body, strictly."""
        return await read_json(self.request, type_)

    async def nothing(self) -> None:
        """Refuse query parameters and a body that says something."""
        self.query()
        await self.json(Nothing)

    async def write(
        self,
        told: Callable[[T], Answer],
        work: Callable[Concatenate[Tx, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """As `Database.write`, for what a POST makes: the answer that is `told` of it is stored with it.

        Reads the rest of the body first. What is told must hold no secret.
        """
        done = None if self.held is None else await self.held.record()
        outcome = await self.services.database.write(recorded, done, told, work, *args, **kwargs)
        if self.held is not None:
            self.held.recorded = True
        return outcome

    async def make(
        self,
        told: Callable[[T], Answer],
        work: Callable[Concatenate[Tx, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Response:
        """The same, answered as it is told."""
        return respond(told(await self.write(told, work, *args, **kwargs)))

    def require_operator(self) -> None:
        """Raises Refused (403) for what concerns every organization, unless the operator asks."""
        if not self.principal.is_operator:
            raise Refused(403, "forbidden", "Only keys of the first organization may do this.")


class Handler(Protocol):
    """Answers a call; the variable parts of the path come by name."""

    def __call__(self, call: Call, /, **path: str) -> Awaitable[Response]: ...


@attrs.frozen
class Routes:
    """Puts handlers on an application. When a handler runs, the route, the method, the key and its scope are right."""

    app: EdgeApp
    services: Services
    keys: KeyRing

    def add(self, method: str, path: str, scope: str, handler: Callable[..., Awaitable[Response]]) -> None:
        """Answer `method path` (below each base) with `handler`, for keys that have `scope`."""
        for base in BASES:
            self.add_absolute(method, base + path, scope, handler)

    def add_absolute(self, method: str, path: str, scope: str, handler: Callable[..., Awaitable[Response]]) -> None:
        """The same for a path that stands outside the bases."""

        async def answer(**parts: str) -> Response:
            call = await self._call(scope)
            if method != "POST":
                return await handler(call, **parts)
            return await once(
                self.services,
                call.request,
                caller=call.principal.key_id,
                route=_route(call.request.path),
                act=lambda held: handler(attrs.evolve(call, held=held), **parts),
            )

        self.app.add_url_rule(path, f"{method} {path}", answer, methods=[method])

    async def _call(self, scope: str) -> Call:
        asked = cast("FlowRequest", request._get_current_object())  # type: ignore[attr-defined]  # noqa: SLF001  # the proxy's way
        principal = await self.keys.principal(asked.headers)
        if not principal.may(scope):
            raise Refused(403, "forbidden", f"This key does not have the scope {scope!r}.")
        return Call(services=self.services, keys=self.keys, principal=principal, request=asked)


def _route(path: str) -> str:
    """The path under the newer of the bases: both are one route."""
    new, old = BASES
    return f"POST {new}{path.removeprefix(old)}" if path.startswith(f"{old}/") else f"POST {path}"


def answer_of(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer in JSON, to be stored or sent."""
    return Answer(status=status, body=msgspec.json.encode(value), headers=dict(headers or {}))


def reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON."""
    return respond(answer_of(value, status, headers))
