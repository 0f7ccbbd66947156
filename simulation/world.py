"""One run of one seed: everything together, first with faults, then calm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import attrs
import trio

from backburner.app import App
from backburner.clock import TrioClock
from backburner.providers.sandbox.engine import Sandbox
from backburner.system import System
from simulation.account import Account
from simulation.chaos import LONGEST_DELAY, Chaos
from simulation.clients import Client, GaveUp, Ledger
from simulation.clockwork import Steps, run
from simulation.fates import Fates
from simulation.grapevine import Grapevine
from simulation.instances import Instance, Slot
from simulation.invariants.audit import audit
from simulation.leadership import Office
from simulation.lives import Life, install_run_queue
from simulation.mirror import Mirror
from simulation.network import Network
from simulation.profile import Profile
from simulation.receivers import Receivers
from simulation.store import Store
from simulation.trace import Trace
from simulation.witnesses import Witnesses
from simulation.workers import registered
from simulation.workloads import OF_WORKERS, WORKLOADS, Workload

RESTART = (1.0, 30.0)  # seconds until a dead instance is started again
COMING = 20.0  # seconds in which clients turn up
STOP_WITHIN = LONGEST_DELAY + 60.0  # seconds that an orderly stop may take in a calm; what was slow before goes on


@attrs.frozen(kw_only=True)
class Violation:
    """A promise that was broken."""

    invariant: str
    what: str
    step: int
    last: Sequence[str]
    cause: BaseException | None = None


@attrs.define(kw_only=True, eq=False)
class World:
    """What outlives every instance."""

    profile: Profile
    trace: Trace
    steps: Steps
    workloads: Sequence[Workload] = ()  # of those that are asked for at once; none: some are drawn by the seed
    choices: Sequence[Workload] = ()  # from which they are drawn; none: from all
    store: Store = attrs.field(factory=Store)
    mirror: Mirror = attrs.field(factory=Mirror)
    ledger: Ledger = attrs.field(factory=Ledger)
    app: App = attrs.field(init=False)
    office: Office = attrs.field(factory=Office)
    clock: TrioClock = attrs.field(factory=TrioClock)
    slots: list[Slot] = attrs.field(init=False)
    lives: list[Instance] = attrs.field(factory=list)
    chaos: Chaos = attrs.field(init=False)
    account: Account = attrs.field(init=False)
    receivers: Receivers = attrs.field(init=False)
    grapevine: Grapevine = attrs.field(init=False)
    network: Network = attrs.field(init=False)
    witnesses: Witnesses = attrs.field(init=False)
    violation: Violation | None = None
    is_calm: bool = False
    settled: trio.Event = attrs.field(factory=trio.Event)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _stories: list[Workload] = attrs.field(init=False)
    _closing: bool = False
    _waiting: int = 0  # clients that are not done

    def __attrs_post_init__(self) -> None:
        profile = self.profile
        self._stories = list(self.workloads) or self._drawn()
        self.app = registered() if set(self._stories).intersection(OF_WORKERS) else App()
        self.slots = [Slot(index) for index in range(profile.instances)]
        self.chaos = Chaos(self.random("chaos"), profile.rates)
        sandbox = Sandbox(clock=self.clock, options=profile.sandbox)
        for rule in profile.provider_faults:
            sandbox.faults.add(rule)
        self.witnesses = told = Witnesses(self)
        self.account = Account(sandbox, told.asked, on_made=told.made)
        self.receivers = Receivers(random=self.random("receivers"), troubles=profile.receivers, heard=told.heard)
        self.grapevine = Grapevine(self.chaos, profile.deaf_instances)
        self.store.on_commit = told.committed
        self.steps.never_rests = lambda task: self.broken("nothing turns in circles", f"{task} was the next step")

    def random(self, purpose: str) -> Random:
        """Chance for one purpose, so that they do not disturb each other."""
        return Random(f"{purpose} {self.profile.seed}")

    # --- what is found -------------------------------------------------------------------------------------

    def expect(self, holds: bool, what: str) -> None:
        """What a workload counts on."""
        if not holds:
            self.broken("clients get the answers that are documented", what)
            raise GaveUp(what)

    def stop(self) -> None:
        """End the run here."""
        self._scope.cancel()

    def broken(self, invariant: str, what: str, cause: BaseException | None = None) -> None:
        """A promise was broken: the run ends."""
        if self.violation is None:
            self.violation = Violation(
                invariant=invariant, what=what, step=self.trace.step, last=list(self.trace.last), cause=cause
            )
            self.trace.event(f"VIOLATION of {invariant!r}: {what}")
        self._scope.cancel()

    # --- the run -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """From the first start to the last stop."""
        install_run_queue()
        async with trio.open_nursery() as nursery:
            self.network = Network(
                nursery=nursery,
                chaos=self.chaos,
                trace=self.trace,
                sending=self.witnesses.sending,
                given_up=self.witnesses.given_up,
                freeze=self.freeze,
                settle=self.profile.pace.settle,
            )
            try:
                with self._scope:
                    await self._play(nursery)
            finally:  # or the tasks of the dead would keep the run from ending
                self._bury()
            nursery.cancel_scope.cancel()
        self.account.sandbox.close()

    async def _play(self, nursery: trio.Nursery) -> None:
        for slot in self.slots:
            nursery.start_soon(self._keep_running, slot)
        async with trio.open_nursery() as clients:
            for number, chosen in enumerate(self._stories):
                self._waiting += 1
                clients.start_soon(self._follow, number, chosen)
            await self._faults()
            self._calm()
            with trio.move_on_after(self.profile.patience) as patience:
                await self._all_settled()
            if patience.cancelled_caught:
                self._unsettled()
        await self._stop_all()
        audit(self)
        self.witnesses.all_ended()

    def _drawn(self) -> list[Workload]:
        random = self.random("workloads")
        return [random.choice(self.choices or list(WORKLOADS.values())) for _ in range(self.profile.workloads)]

    async def _follow(self, number: int, chosen: Workload) -> None:
        random = self.random(f"client {number}")
        if not self.workloads:
            await trio.sleep(random.uniform(0, COMING))
        client = Client(self, f"client-{number}", random.choice([1, 1, 2]), random)
        try:
            await chosen(client)
        except* GaveUp as errors:
            self.broken("clients are answered in the end", str(errors.exceptions[0]))
        self._waiting -= 1
        self.settled.set()

    async def _faults(self) -> None:
        """Until the time is over, or there is nothing left that could be disturbed."""
        async with trio.open_nursery() as nursery:
            Fates(self, self.steps, self.random("fates")).start(nursery)
            with trio.move_on_after(self.profile.faults_last):
                await self._all_settled()
            nursery.cancel_scope.cancel()

    def _calm(self) -> None:
        self.trace.event("calm")
        self.is_calm = self.receivers.is_calm = True
        self.chaos.is_on, self.chaos.away_until = False, float("-inf")
        self.account.sandbox.faults.clear()
        self.office.evict_after = 150.0
        for instance in self.lives:
            self.thaw(instance.life)
            if instance.system is not None:
                self.calm_down(instance.system)

    def calm_down(self, system: System) -> None:
        """A calm hour has many heartbeats, and nothing happens in them."""
        if self.is_calm:
            system.leader.heartbeat_interval, system.leader.trust, system.leader.retry_interval = 30.0, 100.0, 10.0

    def freeze(self, life: Life, seconds: float | None = None) -> None:
        """Stop an instance for a while: for longer than it is trusted, if nothing is said."""
        if not life.is_frozen and not life.is_over:
            seconds = seconds or self.chaos.random.choice([4.0, 20.0, 60.0])
            self.trace.event(f"{life.name} is frozen for {seconds} s")
            life.freeze(trio.current_time())
            self.network.spawn(self._thaw_later, life, seconds)

    async def _thaw_later(self, life: Life, seconds: float) -> None:
        await trio.sleep(seconds)
        self.thaw(life)

    def thaw(self, life: Life) -> None:
        if life.is_frozen and not life.is_over:
            self.trace.event(f"{life.name} wakes")
            life.thaw(trio.current_time())

    async def _all_settled(self) -> None:
        while self._waiting or not self.mirror.is_settled:
            self.settled = trio.Event()
            await self.settled.wait()

    def _unsettled(self) -> None:
        left = list(self.mirror.open_work) or ["a client still waits"]
        self.broken("everything comes to its end in a calm", "; ".join(left[:5]))

    # --- instances -----------------------------------------------------------------------------------------

    async def _keep_running(self, slot: Slot) -> None:
        random = self.random(f"machine {slot.index}")
        while not self._closing:
            slot.starts += 1
            instance = slot.current = Instance(self, slot, Life(f"i{slot.index}.{slot.starts}"))
            self.lives.append(instance)
            self.trace.event(f"{instance.life.name} starts")
            self.network.spawn(instance.run)
            await instance.life.ended.wait()
            slot.current = None
            self.trace.event(f"{instance.life.name} is gone")
            await trio.sleep(random.uniform(*RESTART))

    async def _stop_all(self) -> None:
        self._closing = True
        running = [slot.current for slot in self.slots if slot.current is not None]
        for instance in running:
            instance.stop.set()
        with trio.move_on_after(STOP_WITHIN) as patience:
            for instance in running:
                await instance.life.ended.wait()
        if patience.cancelled_caught:
            self.broken("an instance that is asked to stop goes home", f"still there after {STOP_WITHIN} s")

    def _bury(self) -> None:
        for instance in self.lives:
            instance.life.bury()
            instance.scope.cancel()


Show = Callable[[str], None]


def simulate(
    profile: Profile,
    *,
    workloads: Sequence[Workload] = (),
    choices: Sequence[Workload] = (),
    show: Show | None = None,
    prepare: Callable[[World], None] = lambda _: None,
) -> World:
    """Run a profile; the world as it was in the end, with the violation if there was one."""
    trace = Trace(show)
    worlds: list[World] = []

    async def story(steps: Steps) -> None:
        world = World(profile=profile, trace=trace, steps=steps, workloads=workloads, choices=choices)
        worlds.append(world)
        prepare(world)
        await world.run()

    run(profile.seed, story, trace)
    return worlds[0]
