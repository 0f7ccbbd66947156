"""What an instance needs to run background jobs, and how its executor is made of it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import attrs

from backburner.actors.children import BatchChildren, ChildLimits
from backburner.actors.executor import Executor
from backburner.actors.loops import Bell
from backburner.actors.runner import Runner
from backburner.actors.writer import Writes
from backburner.app import App
from backburner.clock import Clock
from backburner.execution.executors import Executors
from backburner.ids import Ids
from backburner.pace import Pace
from backburner.storage.database import Database


@attrs.frozen(kw_only=True)
class Background:
    """The handlers of one instance and where they run."""

    app: App = attrs.field(factory=App)
    executors: Executors = attrs.field(factory=Executors)
    child_limits: ChildLimits = attrs.field(factory=ChildLimits)
    instance_id: str = "here"

    def executor(
        self,
        *,
        database: Database,
        writes: Writes,
        clock: Clock,
        random: Random,
        ids: Ids,
        pace: Pace,
        bell: Bell,
        provider: str,
        work: Callable[[], None],
    ) -> Executor:
        """The actor; whoever runs it may stop it."""
        children = BatchChildren(
            database=database, clock=clock, ids=ids, provider=provider, limits=self.child_limits, work=work
        )
        runner = Runner(
            executors=self.executors,
            writes=writes,
            clock=clock,
            random=random,
            children_of=children.of,
            grace=pace.drain,
            freed=bell.ring,
        )
        return Executor(
            handlers=self.app.handlers,
            runner=runner,
            database=database,
            clock=clock,
            ids=ids,
            bell=bell,
            instance=self.instance_id,
            drain=pace.drain,
            look=pace.look,
            lease=pace.job_lease,
            organization_places=pace.jobs_per_organization,
        )
