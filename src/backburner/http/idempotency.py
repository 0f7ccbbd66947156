"""`Idempotency-Key`: a POST that is sent again is answered again, and does nothing again."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress

import attrs
import trio
from quart import Response
from werkzeug.exceptions import HTTPException

from backburner.clock import Clock
from backburner.errors import BackburnerError, Invalid, TransientError
from backburner.http.body import read_rest
from backburner.http.flow import FlowRequest
from backburner.http.problem import Refused
from backburner.http.services import Services
from backburner.storage import idempotency
from backburner.storage.database import Database
from backburner.storage.idempotency import Answer, Answered, Busy, Claim, Record, Use

HEADER = "Idempotency-Key"
REPLAYED = "idempotent-replayed"
LONGEST = 255  # characters
RETRY_SECONDS = 2  # what a client is told that comes while the first request is under way
TOUCH_EVERY = 10.0  # seconds; a third of what an untouched claim is honoured for
RELEASE_SECONDS = 5.0  # for giving a key back when the request was cancelled


@attrs.define(eq=False)
class Held:
    """The key of a request under way."""

    claim: Claim
    request: FlowRequest
    limit: int  #: bytes of a body
    recorded: bool = attrs.field(default=False, init=False)

    async def record(self) -> Record:
        """What the transaction that answers the request has to write."""
        await read_rest(self.request, limit=self.limit)
        return Record(self.claim, body_hash(self.request))


def watch_body(request: FlowRequest) -> None:
    """Have the body hashed as it is read; to be called before. The query string counts as its beginning."""
    request.body.digest = hashlib.sha256(request.query_string + b"\n")


def body_hash(request: FlowRequest) -> str:
    """SHA-256 of query string and body, hexadecimal. To be called when the body was read."""
    if request.body.digest is None:
        raise AssertionError("watch_body was not called")
    return request.body.digest.hexdigest()


async def once(
    services: Services,
    request: FlowRequest,
    *,
    caller: str,
    route: str,
    act: Callable[[Held | None], Awaitable[Response]],
) -> Response:
    """The answer of `act`, or the one that an earlier request with the same key got.

    `act` stores its answer with what it makes, by `Call.write`; else it is stored behind it. Only a success is stored.
    Raises Refused (409) while the earlier request is under way, and Invalid when it had another body.
    """
    key = _key(request)
    if key is None:
        return await act(None)
    watch_body(request)
    use = Use(caller=caller, route=route, key=key)
    found = await services.database.write(idempotency.claim, use, now=services.clock.now())
    limit = services.limits.max_request_bytes
    if isinstance(found, Claim):
        return await _held(services, Held(found, request, limit), act)
    if isinstance(found, Busy):
        message = "A request with this Idempotency-Key is still under way."
        raise Refused(409, "idempotency_key_in_use", message, headers={"Retry-After": str(RETRY_SECONDS)})
    await read_rest(request, limit=limit)
    return _replayed(found, body_hash(request))


def _key(request: FlowRequest) -> str | None:
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    if len(given) > 1 or not 1 <= len(given[0]) <= LONGEST:
        raise Invalid(f"Give one {HEADER} of 1 to {LONGEST} characters.", code="invalid_value", param=HEADER)
    return str(given[0])


def _replayed(found: Answered, body_hash: str) -> Response:
    if found.body_hash != body_hash:
        message = f"This {HEADER} was used for a request with another body or query."
        raise Invalid(message, code="idempotency_key_reused", param=HEADER)
    response = respond(found.answer)
    response.headers[REPLAYED] = "true"
    return response


def respond(answer: Answer) -> Response:
    """An answer, sent."""
    response = Response(answer.body, answer.status, content_type="application/json")
    response.headers.update(dict(answer.headers))
    return response


async def _held(services: Services, held: Held, act: Callable[[Held | None], Awaitable[Response]]) -> Response:
    """Act while the claim is kept alive; give the key back unless an answer was stored."""
    database, failure = services.database, None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep, database, services.clock, held.claim)
            try:
                response = await act(held)
                await _store(database, held, response)
            except (BackburnerError, HTTPException) as error:
                failure = error  # out of the nursery's exception group
            nursery.cancel_scope.cancel(reason="request done")
    finally:
        if not held.recorded:
            await _release(database, held.claim)  # noqa: ASYNC102  # shielded, with a deadline, by itself
    if failure is not None:
        raise failure
    return response


async def _keep(database: Database, clock: Clock, claim: Claim) -> None:
    while True:
        await trio.sleep(TOUCH_EVERY)
        with suppress(TransientError):  # the next touch may come in time
            await database.write(idempotency.touch, claim, now=clock.now())


async def _release(database: Database, claim: Claim) -> None:
    with trio.move_on_after(RELEASE_SECONDS, shield=True), suppress(TransientError):
        await database.write(idempotency.release, claim)


async def _store(database: Database, held: Held, response: Response) -> None:
    """Store the answer of a request that made nothing. What must not be cached must not be kept either."""
    if held.recorded or response.status_code >= 300 or "no-store" in response.headers.get("Cache-Control", ""):
        return
    body = await response.get_data(as_text=False)
    answer = Answer(status=response.status_code, body=body, headers=_kept_headers(response))
    await database.write(idempotency.record, await held.record(), answer)
    held.recorded = True


def _kept_headers(response: Response) -> dict[str, str]:
    return {name: response.headers[name] for name in ("Location",) if name in response.headers}
