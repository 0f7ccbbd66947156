"""What an invariant may listen to."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    from backburner.actors.toolbox import ToolContext
    from backburner.execution.context import Context
    from simulation.asking import Ask
    from simulation.clients import Client, Operation
    from simulation.lives import Life
    from simulation.mirror import Mirror
    from simulation.network import Message
    from simulation.store import Commit, Row
    from simulation.world import World


@attrs.define(eq=False)
class Invariant:
    """A promise. Checks must be cheap: about what has changed, never about the whole database."""

    name: ClassVar[str] = ""
    world: World

    @property
    def mirror(self) -> Mirror:
        """What was committed so far, this commit included once it is told of."""
        return self.world.mirror

    def broken(self, what: str) -> None:
        """The promise was broken."""
        self.world.broken(self.name, what)

    def is_sent_by_hand(self, delivery: Row) -> bool:
        """Whether somebody has asked that this webhook be sent again. Its job may be deleted by now."""
        job = self.mirror.jobs.get(delivery["job_id"])
        return job is not None and job["public_id"] in self.world.ledger.redelivering

    def before_commit(self, commit: Commit) -> None:
        """A transaction was committed; the mirror does not show it yet."""

    def after_commit(self, commit: Commit) -> None:
        """A transaction was committed; the mirror shows it."""

    def sending(self, message: Message) -> None:
        """An instance sends a message to the provider or to a receiver."""

    def given_up(self, message: Message) -> None:
        """It has the answer, or waits for none any more."""

    def made(self, nonce: str) -> None:
        """The provider made a batch of the plan with this nonce."""

    def webhook(self, message: Message, status: int | None) -> None:
        """A webhook reached its receiver, which answers with this status, or not at all."""

    def answered(self, client: Client, ask: Ask) -> None:
        """A client has its answer, or knows that it gets none."""

    def acknowledged(self, operation: Operation, job_id: str) -> None:
        """A client was told that its job exists."""

    def downloaded(self, job_id: str, ask: Ask) -> None:
        """A client has read the results of an ended job."""

    def tool_begins(self, life: Life, name: str, ctx: ToolContext) -> None:
        """An agent's tool runs."""

    def handler_begins(self, life: Life, ctx: Context) -> None:
        """A handler runs."""

    def handler_ends(self, life: Life, ctx: Context) -> None:
        """It has come to an end of its own, good or bad."""

    def at_end(self) -> None:
        """Everything has come to its end."""
