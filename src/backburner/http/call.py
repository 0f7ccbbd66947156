"""One authenticated request on its way to a handler, and how handlers become routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import attrs
import msgspec
from quart import Response, g, request

from backburner.errors import NotFound, StorageUnavailable
from backburner.http.auth import KeyRing
from backburner.http.body import read_json
from backburner.http.door import Door
from backburner.http.envelope import EdgeApp, add_headers, current_request_id
from backburner.http.flow import FlowRequest
from backburner.http.idempotency import Held, once, respond
from backburner.http.openapi.operation import Route
from backburner.http.problem import Refused
from backburner.http.provider_options import options_of
from backburner.http.query import Parameter, query
from backburner.http.services import Services
from backburner.http.strict import unstorable
from backburner.json_reader import SHOWN
from backburner.model import Principal
from backburner.storage.audit import Already, Entry, audited, new_entry
from backburner.storage.database import Tx
from backburner.storage.idempotency import Answer, recorded
from backburner.storage.quotas import check_room

T = TypeVar("T")
P = ParamSpec("P")

LONGEST_ID = 255  # characters of an id in a path
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
    action: str = ""  #: what the audit log says
    object_id: str | None = None  #: the last id in the path
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
        work: Callable[Concatenate[Tx, P], T | Already[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """As `Database.write`, for what a POST makes: the answer that is `told` of it is stored with it.

        Reads the rest of the body first. What is told must hold no secret.
        """
        done = None if self.held is None else await self.held.record()
        entry = self._entry()

        def logged(tx: Tx) -> T:
            return audited(tx, entry, work, *args, **kwargs)

        outcome = await self.services.database.write(recorded, done, told, logged)
        if self.held is not None:
            self.held.recorded = True
        return outcome

    async def make(
        self,
        told: Callable[[T], Answer],
        work: Callable[Concatenate[Tx, P], T | Already[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Response:
        """The same, answered as it is told."""
        return respond(told(await self.write(told, work, *args, **kwargs)))

    async def change(
        self, work: Callable[Concatenate[Tx, P], T | Already[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `Database.write`, with an entry in the audit log. For what may be done twice without harm."""
        return await self.services.database.write(audited, self._entry(), work, *args, **kwargs)

    def _entry(self) -> Entry:
        return new_entry(
            self.services.ids,
            at=self.services.clock.now(),
            principal=self.principal,
            action=self.action,
            object_id=self.object_id,
            address=self.request.remote_addr,
            request_id=current_request_id(),
        )

    async def require_room(self) -> None:
        """Raises QuotaExceeded when the organization has no room for another job now."""
        services = self.services
        if services.quotas:
            await services.database.read(check_room, services.quotas, self.organization_key, now=services.clock.now())

    def provider_options(self) -> Mapping[str, str]:
        """What the headers ask for that goes to the provider with a batch. Raises Invalid and Refused (400)."""
        allowed = self.services.tenant_provider_headers
        return options_of(self.request.headers, is_operator=self.principal.is_operator, allowed=allowed)

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
    door: Door
    listed: list[Route] = attrs.field(factory=list, init=False)  #: what was added, each once, for the documentation

    def add(
        self, method: str, path: str, scope: str, handler: Callable[..., Awaitable[Response]], action: str | None = None
    ) -> None:
        """Answer `method path` (below each base) with `handler`, for keys that have `scope`.

        `action` is what the audit log calls it: the kind of object, a dot, what is done. Routes that change nothing
        need none.
        """
        self.listed.append(Route(method, BASES[0] + path, scope, handler, action))
        for base in BASES:
            self._serve(method, base + path, scope, handler, action or f"{method} {path}")

    def add_absolute(
        self, method: str, path: str, scope: str, handler: Callable[..., Awaitable[Response]], action: str | None = None
    ) -> None:
        """The same for a path that stands outside the bases."""
        self.listed.append(Route(method, path, scope, handler, action))
        self._serve(method, path, scope, handler, action or f"{method} {path}")

    def add_foreign(
        self, method: str, path: str, scope: str, handler: Callable[..., Awaitable[Response]], action: str | None = None
    ) -> None:
        """The same for a path of another API, which is documented elsewhere."""
        self._serve(method, path, scope, handler, action or f"{method} {path}")

    def add_open(self, path: str, handler: Callable[[Services], Awaitable[Response]]) -> None:
        """Answer `GET path` without a key."""
        self.listed.append(Route("GET", path, None, handler))

        async def answer() -> Response:
            return await handler(self.services)

        self.app.add_url_rule(path, path, answer, methods=["GET"])

    def _serve(
        self, method: str, path: str, scope: str, handler: Callable[..., Awaitable[Response]], action: str
    ) -> None:
        async def answer(**parts: str) -> Response:
            try:
                self.door.let_in(method)
                with self.door.inside(method):
                    call = attrs.evolve(await self._call(scope), action=action, object_id=_last(parts))
                    return await self._answer(call, handler, parts)
            except StorageUnavailable:
                self.door.database_away()
                raise
            except Refused as error:
                refused = error
            # Outside the except block: a cancelled request would lose the error at a checkpoint within it.
            await self._denied(refused, action, _last(parts))
            raise refused

        self.app.add_url_rule(path, f"{method} {path}", answer, methods=[method])

    async def _answer(
        self, call: Call, handler: Callable[..., Awaitable[Response]], parts: Mapping[str, str]
    ) -> Response:
        _check_ids(parts)
        if call.request.method != "POST":
            return await handler(call, **parts)
        return await once(
            self.services,
            call.request,
            caller=call.principal.key_id,
            route=_route(call.request.path),
            act=lambda held: handler(attrs.evolve(call, held=held), **parts),
        )

    async def _denied(self, refused: Refused, action: str, object_id: str | None) -> None:
        """Who is turned away leaves a trace."""
        denials, principal = self.services.denials, g.get("principal")
        denials.note(refused, request.remote_addr)
        if refused.status == 403 and principal is not None:
            entry = new_entry(
                self.services.ids,
                at=self.services.clock.now(),
                principal=principal,
                action=action,
                object_id=object_id,
                address=request.remote_addr,
                request_id=current_request_id(),
            )
            await denials.write_down(entry)

    async def _call(self, scope: str) -> Call:
        asked = cast("FlowRequest", request._get_current_object())  # type: ignore[attr-defined]  # noqa: SLF001  # the proxy's way
        g.principal = principal = await self.keys.principal(asked.headers, asked.remote_addr)
        self.services.key_uses.used(principal.key_id)
        add_headers(self.keys.limiter.request(principal.key_id))
        if not principal.may(scope):
            raise Refused(403, "forbidden", f"This key does not have the scope {scope!r}.")
        return Call(services=self.services, keys=self.keys, principal=principal, request=asked)


def _check_ids(parts: Mapping[str, str]) -> None:
    """Raises NotFound for what can be the id of nothing, before anything is stored or looked up by it."""
    for name, text in parts.items():
        if len(text) > LONGEST_ID or unstorable(text) is not None:
            raise NotFound(name.removesuffix("_id").replace("_", " "), f"{text[:SHOWN]}…")


def _last(parts: Mapping[str, str]) -> str | None:
    return list(parts.values())[-1] if parts else None


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
