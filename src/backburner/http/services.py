"""What the HTTP API is given to work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import attrs
import trio
from prometheus_client import CollectorRegistry

from backburner.agent_options import ToolSpec
from backburner.app import Handler
from backburner.changes import Changes
from backburner.clock import Clock
from backburner.egress import WEB_PORTS
from backburner.figures import JobFigures, ProcessFigures
from backburner.http.denials import Denials
from backburner.http.key_uses import KeyUses
from backburner.http.limiter import RateLimits
from backburner.http.live import Live
from backburner.http.readiness import Readiness
from backburner.ids import Ids
from backburner.storage.database import Database
from backburner.storage.files import FileLimits
from backburner.storage.quotas import UNLIMITED, Quotas


@attrs.frozen(kw_only=True)
class Limits:
    """How large things may be. Bytes are counted after decoding."""

    max_request_bytes: int
    max_items_per_job: int
    max_item_bytes: int
    chunk_items: int | None  #: of a provider batch where the caller does not say; None: by the size of the job
    chunk_bytes: int


@attrs.frozen(kw_only=True)
class InstanceStatus:
    """What this process knows about itself."""

    is_leader: bool
    refusal: str | None  #: why it does not want to lead, if so
    writer_queue: int  #: commands that wait for the bulk writer
    background_tasks: int
    polling_enabled: bool  #: by its settings
    next_tick_at: datetime | None  #: None when it does not lead
    jobs: JobFigures = attrs.field(factory=JobFigures)
    process: ProcessFigures | None = None


@attrs.frozen(kw_only=True)
class LettaDefaults:
    """What a request that Letta's clients send is sent on with, where it does not say."""

    model: str = "claude-haiku-4-5"
    max_tokens: int = 4096


@attrs.frozen(kw_only=True)
class Services:
    """The rest of the program, as far as requests need it."""

    database: Database
    clock: Clock
    ids: Ids
    changes: Changes
    limits: Limits
    provider: str  #: of batches that name none
    providers: frozenset[str]  #: those that a batch may name
    allow_private_callbacks: bool
    callback_ports: frozenset[int] | None = WEB_PORTS  #: None: any
    public_url: str | None  #: goes before paths in `Location`
    work: Callable[[], None]  #: there is something to submit, poll or deliver
    status: Callable[[], InstanceStatus]
    poll_now: Callable[[], None]
    ready: Callable[[], str | None]  #: why this instance cannot take requests; None when it can
    version: str
    metrics_public: bool = False
    handlers: Mapping[str, Handler] = attrs.field(factory=dict)  #: those that jobs may name
    max_queued_jobs: int = 100_000  #: jobs of handlers that wait
    tools: Mapping[str, ToolSpec] = attrs.field(factory=dict)  #: those that agents may name
    registry: CollectorRegistry = attrs.field(factory=CollectorRegistry)  #: what the rest of the program counts
    #: What other organizations than the first may send to the provider: header names, or `NAME=VALUE`.
    tenant_provider_headers: frozenset[str] = frozenset()
    rate_limits: RateLimits = attrs.field(factory=RateLimits)
    quotas: Quotas = UNLIMITED
    files: FileLimits = attrs.field(factory=FileLimits)
    file_retention: timedelta = timedelta(days=3)  #: after which a file that nobody uses is deleted
    #: Parts of files that are received at once: each is held in memory.
    parts_at_once: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(16))
    letta: LettaDefaults = attrs.field(factory=LettaDefaults)
    #: Gives the office away if this instance holds it in the term with this epoch.
    step_down: Callable[[int], object] = lambda _epoch: False
    overload: Callable[[], str | None] = lambda: None  #: why nothing that changes something should be let in, if so
    #: Set when the server stops, before `changes.all_changed()`: requests that wait for a change answer then.
    stopping: trio.Event = attrs.field(factory=trio.Event)
    live: Live = attrs.field(init=False)  #: somebody has to `run` it
    readiness: Readiness = attrs.field(init=False)
    key_uses: KeyUses = attrs.field(init=False)  #: and this
    denials: Denials = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        live = Live(database=self.database, changes=self.changes, clock=self.clock, stopping=self.stopping)
        object.__setattr__(self, "live", live)
        object.__setattr__(self, "readiness", Readiness(database=self.database, clock=self.clock))
        uses = KeyUses(database=self.database, clock=self.clock, stopping=self.stopping)
        object.__setattr__(self, "key_uses", uses)
        object.__setattr__(self, "denials", Denials(database=self.database, clock=self.clock))
