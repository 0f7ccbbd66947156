"""The sandbox: the service, the faults that were asked for, and what every answer carries."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from email.utils import format_datetime
from pathlib import Path
from random import Random
from typing import Any

import attrs
import msgspec
import trio

from backburner.clock import Clock
from backburner.providers.sandbox.batches import Batch
from backburner.providers.sandbox.fault_answers import ANSWERS
from backburner.providers.sandbox.fault_lines import LINES, spoiled
from backburner.providers.sandbox.fault_streams import BREAKS, CUT_BODY, STREAMS
from backburner.providers.sandbox.fault_views import PAGES, VIEWS
from backburner.providers.sandbox.faults import FaultRule, Faults
from backburner.providers.sandbox.items import Draws, token
from backburner.providers.sandbox.options import SandboxOptions
from backburner.providers.sandbox.routes import Route, authorize, check_body, route, workspace_of
from backburner.providers.sandbox.service import Offload, Service, inline
from backburner.providers.sandbox.store import MemoryStore, SqliteStore, Store, StoreFailed
from backburner.providers.sandbox.wire import JSON, ApiError, Break, Request, Response, not_found

_ORGANIZATION = ("anthropic-organization-id", "7b9c0f5e-0000-4000-8000-5a9db0c50001")


@attrs.frozen
class Admission:
    """A request whose head is known, and what will go wrong with it."""

    route: Route
    faults: list[FaultRule]

    @property
    def refused(self) -> bool:
        """The connection ends before the body is read."""
        return any(BREAKS.get(rule.fault) is Break.REFUSE for rule in self.faults)

    def cut_after(self, length: int | None) -> int | None:
        """How many bytes of a body are read before the connection is reset; None: the whole body is read.

        `length` is how long the body will be, where the head tells.
        """
        limits = [rule.argument for rule in self.faults if rule.fault == CUT_BODY]
        if not limits:
            return None
        if limits[0] is None:
            return (length or 0) // 2
        return int(limits[0]) if length is None or length > int(limits[0]) else None


class Sandbox:
    """One simulated account.

    With a path or a store its batches survive the process: a new sandbox on the same goes on with them, ends included.
    `faults` may be changed at any time. A face calls `admit` with the head of a request and `respond` with the whole.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        options: SandboxOptions | None = None,
        path: Path | None = None,
        store: Store | None = None,
    ) -> None:
        self.options = options or SandboxOptions()
        self.clock = clock
        self.faults = Faults(self.options.seed)
        store = store or (MemoryStore() if path is None else SqliteStore(path))
        self._service = Service(clock, self.options, store)
        self._draws = Draws(self.options.seed)
        self._requests = 0

    async def load(self, offload: Offload = inline) -> None:
        """Know what others have written into the store."""
        await offload(self._service.load)

    def close(self) -> None:
        """Let go of the file. No request may be under way."""
        self._service.close()

    def admit(self, method: str, path: str, headers: Mapping[str, str]) -> Admission:
        """Count a call. To be done once for each request, as soon as its head is there. Names are in lower case."""
        to = route(method, path)
        batch = self._service.register.get(to.batch_id)
        sequence = self._service.next_sequence if batch is None else batch.sequence
        return Admission(to, self.faults.fire(to.endpoint, sequence, to.batch_id, headers))

    async def respond(self, request: Request, admission: Admission, offload: Offload = inline) -> Response:
        """The answer to a request, after the latency. Never raises ApiError."""
        request_id = self._request_id()
        await trio.sleep(self.options.latency_seconds / 2)
        try:
            response = await self._answer(request, admission, request_id, offload)
        except ApiError as error:
            response = error.response(request_id)
        except (sqlite3.Error, StoreFailed) as error:
            problem = f"What the sandbox keeps cannot be used: {error}"
            response = ApiError(500, "api_error", problem).response(request_id)
        await trio.sleep(self.options.latency_seconds / 2)
        return self._signed(response, request_id, request.headers)

    def refusal(self, error: ApiError, headers: Mapping[str, str]) -> Response:
        """The answer to a request that a face cannot read."""
        request_id = self._request_id()
        return self._signed(error.response(request_id), request_id, headers)

    def _signed(self, response: Response, request_id: str, headers: Mapping[str, str]) -> Response:
        date = ("date", format_datetime(self.clock.now(), usegmt=True))
        account = (_ORGANIZATION, ("anthropic-workspace-id", workspace_of(headers)))
        return attrs.evolve(response, headers=(*response.headers, ("request-id", request_id), date, *account))

    async def _answer(self, request: Request, admission: Admission, request_id: str, offload: Offload) -> Response:
        for rule in admission.faults:
            if rule.fault in BREAKS:
                return Response(status=500, headers=(), pieces=(), before=(BREAKS[rule.fault],))
            if rule.fault in ANSWERS:
                return ANSWERS[rule.fault](rule.argument, self.clock.now(), request_id)
        try:
            response = await self._carry_out(request, admission, offload)
        except ApiError as error:
            response = error.response(request_id)
        for rule in admission.faults:
            if rule.fault in STREAMS:
                response = STREAMS[rule.fault](response, rule.argument, request_id)
        return response

    async def _carry_out(self, request: Request, admission: Admission, offload: Offload) -> Response:
        caller = authorize(request, self.options.api_key)
        workspace = caller.workspace
        to = admission.route
        base = f"{request.origin}{to.prefix}/v1/messages/batches"
        match to.endpoint:
            case "create":
                check_body(request)
                return self._shown(await self._service.create(request.body, caller, offload), base, admission)
            case "retrieve":
                return self._shown(self._service.find(to.batch_id, workspace), base, admission)
            case "cancel":
                return self._shown(await self._service.cancel(to.batch_id, workspace, offload), base, admission)
            case "delete":
                await self._service.delete(to.batch_id, workspace, offload)
                return _json({"id": to.batch_id, "type": "message_batch_deleted"})
            case "list":
                return self._listed(request, workspace, base, admission)
            case "results":
                return await self._results(self._service.find(to.batch_id, workspace), admission, offload)
        if to.status == 405:
            raise ApiError(405, "invalid_request_error", "Method Not Allowed")
        raise not_found("Not Found")

    def _shown(self, batch: Batch, base: str, admission: Admission) -> Response:
        return _json(self._view(batch, base, admission))

    def _view(self, batch: Batch, base: str, admission: Admission) -> dict[str, Any]:
        view = batch.view(self._service.now(), f"{base}/{batch.id}/results")
        for rule in admission.faults:
            if rule.fault in VIEWS and rule.means(batch.sequence, batch.id):
                view = VIEWS[rule.fault](view, rule.argument)
        return view

    def _listed(self, request: Request, workspace: str, base: str, admission: Admission) -> Response:
        faults = {rule.fault: rule.argument for rule in admission.faults}
        found = self._service.register.page(workspace, request.query, faults)
        data = [self._view(batch, base, admission) for batch in found.batches]
        first_id, last_id = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        page = {"data": data, "has_more": found.has_more, "first_id": first_id, "last_id": last_id}
        for rule in admission.faults:
            if rule.fault in PAGES:
                page = PAGES[rule.fault](page, rule.argument)
        return _json(page)

    async def _results(self, batch: Batch, admission: Admission, offload: Offload) -> Response:
        lines = await self._service.read_results(batch, offload)
        rules = [(rule.fault, rule.argument) for rule in admission.faults if rule.fault in LINES]
        chance = Random(f"{self.options.seed} {batch.id}")  # noqa: S311 (repeatable on purpose)
        pieces = spoiled(lines, batch.total, rules, chance) if rules else lines
        return Response(status=200, headers=(("content-type", "application/x-jsonl"),), pieces=pieces)

    def _request_id(self) -> str:
        self._requests += 1
        draw = self._draws.draw(f"request {self._requests} {self._service.now()}")
        return f"req_011C{token(draw)[:20]}"


def _json(content: dict[str, Any]) -> Response:
    return Response.whole(200, msgspec.json.encode(content), JSON)
