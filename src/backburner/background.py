"""What an instance needs to run background jobs, and how its executor is made of it."""

from __future__ import annotations

from random import Random
from typing import Protocol

import attrs

from backburner.actors.children import BatchChildren, ChildLimits
from backburner.actors.executor import Executor
from backburner.actors.loops import Bell
from backburner.actors.runner import Runner
from backburner.actors.writer import Writes
from backburner.app import App, Handler
from backburner.clock import Clock
from backburner.execution.executors import Executors
from backburner.files import INGEST_FILE
from backburner.ids import Ids
from backburner.ingestion.ingest import Ingestion, IngestRules, ingest_handler
from backburner.pace import Pace
from backburner.storage.database import Database
from backburner.storage.quotas import UNLIMITED, Quotas


class Instance(Protocol):
    """What the rest of an instance lends to its executor."""

    database: Database
    provider_name: str
    clock: Clock
    random: Random
    ids: Ids
    pace: Pace

    def work(self) -> None:
        """There may be something to submit, to poll, to deliver or to execute."""


@attrs.frozen(kw_only=True)
class Background:
    """The handlers of one instance and where they run."""

    app: App = attrs.field(factory=App)
    executors: Executors = attrs.field(factory=Executors)
    child_limits: ChildLimits = attrs.field(factory=ChildLimits)
    quotas: Quotas = UNLIMITED
    ingest: IngestRules = attrs.field(factory=IngestRules)
    instance_id: str = "here"

    def executor(self, instance: Instance, writes: Writes, bell: Bell) -> Executor:
        """The actor; whoever runs it may stop it."""
        children = BatchChildren(
            database=instance.database,
            clock=instance.clock,
            ids=instance.ids,
            provider=instance.provider_name,
            limits=self.child_limits,
            quotas=self.quotas,
            work=instance.work,
        )
        runner = Runner(
            executors=self.executors,
            writes=writes,
            clock=instance.clock,
            random=instance.random,
            children_of=children.of,
            grace=instance.pace.drain,
            freed=bell.ring,
        )
        return Executor(
            handlers={**self.app.handlers, INGEST_FILE: self._ingest_file(instance)},
            runner=runner,
            database=instance.database,
            clock=instance.clock,
            ids=instance.ids,
            bell=bell,
            instance=self.instance_id,
            drain=instance.pace.drain,
            look=instance.pace.look,
            lease=instance.pace.job_lease,
            organization_places=instance.pace.jobs_per_organization,
        )

    def _ingest_file(self, instance: Instance) -> Handler:
        ingestion = Ingestion(database=instance.database, clock=instance.clock, ids=instance.ids, rules=self.ingest)
        return ingest_handler(ingestion)
