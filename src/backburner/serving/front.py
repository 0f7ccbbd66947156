"""The front door of a server: the HTTP application, and what it may ask of the system."""

from __future__ import annotations

from functools import partial

import attrs
import trio

from backburner import __version__
from backburner.actors.toolbox import spec_of
from backburner.execution.watchdog import LoopWatch, ProcessMeter
from backburner.figures import ProcessFigures
from backburner.http.app import create_app
from backburner.http.binding import Bound
from backburner.http.caps import ConnectionCaps
from backburner.http.envelope import request_ids
from backburner.http.flow import BodyPace
from backburner.http.hosting import make_room, serve_http
from backburner.http.limiter import RateLimits
from backburner.http.services import InstanceStatus, LettaDefaults, Limits, Services
from backburner.providers.anthropic import LIMITS
from backburner.serving.origins import Origins
from backburner.settings import Settings
from backburner.storage.files import FileLimits
from backburner.system import System


@attrs.frozen(kw_only=True, eq=False)
class Front:
    """The HTTP server."""

    settings: Settings
    origins: Origins
    system: System
    bound: Bound  # where to listen
    watch: LoopWatch = attrs.field(factory=LoopWatch)  # whoever runs the front has it watch
    meter: ProcessMeter = attrs.field(factory=ProcessMeter)

    async def __call__(self, stop: trio.Event, *, task_status: trio.TaskStatus[str]) -> None:
        services = self._services(stop)
        app = create_app(services)
        app.body_pace = BodyPace(
            stall=self.settings.client_stall_seconds, bytes_per_second=self.settings.min_upload_bytes_per_second
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(services.live.run)
            nursery.start_soon(services.key_uses.run)
            address = await nursery.start(
                partial(
                    serve_http,
                    app,
                    bound=self.bound,
                    stop=stop,
                    graceful_timeout=self.settings.shutdown_grace_seconds / 3,
                    new_request_id=request_ids(self.origins.ids),
                    send_timeout=self.settings.client_stall_seconds,
                    keep_alive_timeout=self.settings.keep_alive_seconds,
                    caps=ConnectionCaps(
                        total=make_room(self.settings.max_connections),
                        per_address=self.settings.max_connections_per_address,
                    ),
                )
            )
            task_status.started(address.url)

    def _services(self, stop: trio.Event) -> Services:
        settings, system = self.settings, self.system
        return Services(
            database=system.database,
            clock=self.origins.clock,
            ids=self.origins.ids,
            changes=system.changes,
            limits=_limits(settings),
            provider=settings.provider_name,
            providers=frozenset({settings.provider_name}),
            allow_private_callbacks=settings.callback_allow_private_networks,
            callback_ports=settings.callback_ports,
            public_url=settings.public_url,
            tenant_provider_headers=settings.tenant_provider_headers,
            rate_limits=RateLimits(
                requests_per_second=settings.rate_limit_requests_per_second,
                burst=settings.rate_limit_burst,
                failures_per_minute=settings.auth_failures_per_minute,
            ),
            quotas=system.background.quotas,
            files=FileLimits(most=settings.max_file_bytes, of_organization=settings.quota_file_bytes),
            file_retention=system.pace.file_retention,
            letta=LettaDefaults(model=settings.letta_default_model, max_tokens=settings.letta_default_max_tokens),
            step_down=system.step_down,
            overload=lambda: "is behind with writing" if system.writer.is_behind else None,
            metrics_public=settings.metrics_public,
            registry=system.metrics.registry,
            handlers=system.executor.handlers,
            tools={name: spec_of(tool) for name, tool in system.background.app.tools.items()},
            max_queued_jobs=settings.max_queued_jobs,
            work=system.work,
            status=self._status,
            poll_now=system.poll_now,
            ready=lambda: "the server is stopping" if stop.is_set() else None,
            stopping=stop,
            version=__version__,
        )

    def _process(self) -> ProcessFigures:
        return ProcessFigures(
            loop_lag_seconds=round(self.watch.take_longest(), 4),
            loop_blocked=self.watch.blocked,
            loop_blocked_by=self.watch.last,
            cpu_share=self.meter.take_cpu_share(),
            memory_bytes=self.meter.memory_bytes(),
        )

    def _status(self) -> InstanceStatus:
        system = self.system
        ticker = system.ticker
        return InstanceStatus(
            is_leader=system.leader.is_leader,
            refusal=system.leader.refusal,
            writer_queue=system.writer.queue,
            background_tasks=trio.lowlevel.current_statistics().tasks_living,
            polling_enabled=self.settings.enable_batch_job_polling,
            next_tick_at=None if ticker is None else ticker.next_tick_at,
            jobs=system.executor.figures(),
            process=self._process(),
        )


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_request_bytes=settings.max_request_bytes,
        max_items_per_job=settings.max_items_per_job,
        max_item_bytes=LIMITS.max_item_bytes,
        chunk_items=settings.chunk_items,
        chunk_bytes=settings.chunk_bytes,
    )
