"""Whether the process is up, whether it can take requests, and its numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from quart import Response, request

from backburner.figures import HandlerFigures, QueueFigures
from backburner.http.call import Call, reply
from backburner.http.envelope import problem
from backburner.http.query import query
from backburner.http.services import InstanceStatus, Services
from backburner.http.warnings import warnings
from backburner.storage.overview import Overview, overview
from backburner.storage.work import queue_figures

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


async def healthz(services: Services) -> Response:
    """The process answers."""
    _no_parameters()
    return reply({"status": "ok", "version": services.version})


async def readyz(services: Services) -> Response:
    """200 when the database answers and takes writes and nothing else is in the way; else 503."""
    _no_parameters()
    reason = services.ready() or await services.readiness.refusal()
    if reason is not None:
        return problem(503, "not_ready", reason)
    queue = await services.database.read(queue_figures, now=services.clock.now())
    said = await warnings(services, services.status(), queue)
    return reply({"status": "ready", "version": services.version, "warnings": said})


async def metrics(call: Call) -> Response:
    """Numbers of all organizations, so for the operator's keys only."""
    call.query()
    call.require_operator()
    return await exposition(call.services)


async def public_metrics(services: Services) -> Response:
    """The same for everybody, where the settings say so."""
    _no_parameters()
    return await exposition(services)


async def exposition(services: Services) -> Response:
    """What the rest of the program counts, then what the database and this instance show now."""
    now = CollectorRegistry()
    queue = await services.database.read(queue_figures, now=services.clock.now())
    now.register(_Snapshot(services.status(), await services.database.read(overview), queue))
    return Response(
        generate_latest(services.registry) + generate_latest(services.denials.registry) + generate_latest(now),
        200,
        content_type=_TEXT,
    )


@attrs.frozen(eq=False)
class _Snapshot:
    instance: InstanceStatus
    found: Overview
    queue: QueueFigures

    def collect(self) -> Iterable[Metric]:
        places = self.instance.jobs.places
        yield _by("backburner_places", "Places for handlers.", "executor", {k: p.total for k, p in places.items()})
        yield _by("backburner_places_taken", "Of those, taken.", "executor", {k: p.taken for k, p in places.items()})
        yield _by(
            "backburner_abandoned",
            "Work that ignores its end.",
            "executor",
            {k: p.abandoned for k, p in places.items()},
        )
        yield from _of_handlers(self.instance.jobs.handlers)
        yield _by("backburner_active_jobs", "Jobs that have not ended.", "status", self.found.active_jobs)
        yield _by("backburner_open_provider_batches", "Batches not final.", "status", self.found.open_batches)
        states = {provider.name: float(provider.state == "active") for provider in self.found.providers}
        yield _by("backburner_provider_active", "1 while submissions go to the provider.", "provider", states)
        for name, help_text, value in (
            ("deliveries_pending", "Webhooks still owed.", self.found.deliveries_pending),
            ("writer_queue", "Commands that wait for the bulk writer.", self.instance.writer_queue),
            ("background_tasks", "Tasks at work in the background.", self.instance.background_tasks),
            ("is_leader", "1 on the instance that submits and polls.", self.instance.is_leader),
            ("queued_jobs", "Background jobs that wait.", self.queue.waiting),
            ("claimed_jobs", "Background jobs in the hands of an instance.", self.queue.claimed),
            ("polling_enabled", "0 while polling is paused by hand.", self.found.polling),
        ):
            yield GaugeMetricFamily(f"backburner_{name}", help_text, value=float(value))


def _of_handlers(handlers: Sequence[HandlerFigures]) -> Iterable[Metric]:
    """What handlers do on this instance."""
    attempts = CounterMetricFamily(
        "backburner_handler_attempts", "Attempts since the start, by outcome.", labels=["handler", "outcome"]
    )
    for one in handlers:
        for outcome, number in (("succeeded", one.succeeded), ("failed", one.failed), ("ended", one.ended)):
            attempts.add_metric([one.name, outcome], number)
    yield attempts
    running = {one.name: float(one.running) for one in handlers}
    yield _by("backburner_handler_running", "Jobs at work.", "handler", running)
    resting = {one.name: float(one.state == "resting") for one in handlers}
    yield _by("backburner_handler_resting", "1 while a handler only fails and is left alone.", "handler", resting)


def _by(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family


def _no_parameters() -> None:
    query(request.query_string, {})
