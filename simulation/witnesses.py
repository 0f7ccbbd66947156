"""Those who tell the invariants what happens, and the trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from simulation.invariants import INVARIANTS, Invariant
from simulation.store import Commit

if TYPE_CHECKING:
    from backburner.actors.toolbox import ToolContext
    from backburner.execution.context import Context
    from simulation.asking import Ask
    from simulation.clients import Client, Operation
    from simulation.lives import Life
    from simulation.network import Message
    from simulation.world import World


@attrs.define(eq=False)
class Witnesses:
    """Everything that crosses the border of an instance comes by here."""

    world: World
    invariants: list[Invariant] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.invariants = [make(self.world) for make in INVARIANTS]

    def committed(self, commit: Commit) -> None:
        world = self.world
        who = commit.life.name if commit.life else "world"
        world.trace.event(f"{who} commits {commit.verb}: {_summary(commit)}")
        self._tell("before_commit", commit)
        world.mirror.take(commit)
        self._tell("after_commit", commit)
        world.grapevine.tell(commit)
        if world.mirror.is_settled:
            world.settled.set()

    def sending(self, message: Message) -> None:
        self.world.trace.event(f"{message.life.name} sends {message.what}")
        self._tell("sending", message)

    def given_up(self, message: Message) -> None:
        self._tell("given_up", message)

    def asked(self, message: Message) -> None:
        self.world.trace.event(f"{message.what} of {message.life.name} arrives")

    def made(self, nonce: str) -> None:
        self.world.trace.event(f"the provider made {self.world.account.made[nonce][-1]} for {nonce}")
        self._tell("made", nonce)

    def heard(self, message: Message, status: int | None) -> None:
        self.world.trace.event(f"a receiver answers {message.request.headers['webhook-id']}: {status}")
        self._tell("webhook", message, status)

    def answered(self, client: Client, ask: Ask) -> None:
        self.world.trace.event(f"{client.name} {ask.method} {ask.path}: {ask.status}")
        self._tell("answered", client, ask)

    def acknowledged(self, operation: Operation, job_id: str) -> None:
        self._tell("acknowledged", operation, job_id)

    def downloaded(self, job_id: str, ask: Ask) -> None:
        self._tell("downloaded", job_id, ask)

    def tool_begins(self, life: Life, name: str, ctx: ToolContext) -> None:
        self.world.trace.event(f"{life.name} runs {name} ({ctx.tool_use_id}), attempt {ctx.attempt}")
        self._tell("tool_begins", life, name, ctx)

    def tool_ends(self, life: Life, name: str, ctx: ToolContext) -> None:
        self.world.trace.event(f"{life.name} has run {name} ({ctx.tool_use_id})")

    def handler_begins(self, life: Life, ctx: Context) -> None:
        self.world.trace.event(f"{life.name} works on {ctx.job_id}, attempt {ctx.attempt}")
        self._tell("handler_begins", life, ctx)

    def handler_ends(self, life: Life, ctx: Context) -> None:
        self.world.trace.event(f"{life.name} has worked on {ctx.job_id}, attempt {ctx.attempt}")
        self._tell("handler_ends", life, ctx)

    def all_ended(self) -> None:
        self._tell("at_end")

    def _tell(self, what: str, *told: object) -> None:
        """Tell every invariant. One that fails must not look like a fault of the program, which bears many."""
        for invariant in self.invariants:
            try:
                getattr(invariant, what)(*told)
            except Exception as error:
                self.world.broken("the checks themselves work", f"{invariant.name}: {error!r}", error)


def _summary(commit: Commit) -> str:
    parts = []
    for change in commit.changes:
        row = change.new or change.old or {}
        name = row.get("public_id") or row.get("custom_id") or row.get("idx") or row.get("epoch") or row.get("number")
        status = f" {row['status']}" if "status" in row else ""
        parts.append(f"{'' if change.new else 'delete '}{change.table} {name}{status}")
    return ", ".join(parts[:6]) + (f" and {len(parts) - 6} more" if len(parts) > 6 else "")
