"""Agents: rounds in order, each turn paid once, and no tool used twice that must not be."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
import trio

from simulation.agent_rules import broken_conversations
from simulation.invariants.base import Invariant
from simulation.store import Change, Commit, Row

if TYPE_CHECKING:
    from backburner.actors.toolbox import ToolContext
    from simulation.lives import Life


@attrs.define(eq=False)
class Rounds(Invariant):
    name: ClassVar[str] = "rounds of a conversation go in order, and each turn is asked for once"

    _asked: dict[tuple[int, int, int], str] = attrs.field(factory=dict)  # job, round, item → nonce

    def before_commit(self, commit: Commit) -> None:
        for change in commit.changes:
            if change.table == "conversations" and change.new is not None:
                self._check(change)

    def _check(self, change: Change) -> None:
        old, new = change.old, change.new
        assert new is not None
        who = f"item {new['idx']} of job {new['job_id']}"
        before = 0 if old is None else old["round"]
        if new["round"] - before not in ((1,) if old is None else (0, 1)):
            self.broken(f"{who} went from round {before} to {new['round']}")
        if old is not None and old["state"] == "done" and old != new:
            self.broken(f"{who} was done, and went on: {new}")

    def after_commit(self, commit: Commit) -> None:
        for change in commit.changes:
            if change.table == "conversations" and change.old is not None and change.new is not None:
                self._check_step(change.old, change.new)

    def _check_step(self, row: Row, new: Row) -> None:
        if (row["state"], new["state"]) != ("tools", "ready"):
            return
        for call in self.mirror.calls.values():
            place = (call["job_id"], call["idx"], call["round"])
            if place == (row["job_id"], row["idx"], row["round"]) and call["state"] != "finished":
                self.broken(f"item {row['idx']} of job {row['job_id']} goes on, but {call['tool_use_id']} has not run")

    def made(self, nonce: str) -> None:
        batch = next((row for row in self.mirror.batches.values() if row["nonce"] == nonce), None)
        if batch is None:  # deleted with its job
            return
        for index in self.world.account.indices(self.world.account.made[nonce][-1]):
            turn = (batch["job_id"], batch["round"], index)
            if (other := self._asked.setdefault(turn, nonce)) != nonce:
                self.broken(f"item {index}, round {batch['round']} was sent in {nonce}, and before in {other}")

    def at_end(self) -> None:
        with self.world.store.database.reading.connect() as tx:
            for what in broken_conversations(tx):
                self.broken(what)


@attrs.define(eq=False)
class Ledger(Invariant):
    name: ClassVar[str] = "a tool that has finished never runs again, and one that must not is never begun twice"

    _begun: dict[tuple[int, int, str], int] = attrs.field(factory=dict)

    def before_commit(self, commit: Commit) -> None:
        for change in commit.changes:
            old, new = change.old, change.new
            if change.table != "tool_calls" or old is None or new is None:
                continue
            if old["state"] == "finished" and old != new:
                self.broken(f"the finished call {old['tool_use_id']} changed: {old} → {new}")
            if old["state"] == "requested" and new["state"] == "finished":
                self.broken(f"{old['tool_use_id']} has finished without having begun")

    def tool_begins(self, life: Life, name: str, ctx: ToolContext) -> None:
        job = self.mirror.by_public_id[ctx.job_id]
        use = (job, ctx.round, ctx.tool_use_id)
        self._begun[use] = self._begun.get(use, 0) + 1
        if name == "add" and self._begun[use] > 1:
            self.broken(f"{name} ({ctx.tool_use_id}) must not run twice, and was begun {self._begun[use]} times")
        call = self.mirror.calls.get(use)
        was_stopped = life.thawed_at == trio.current_time()  # between the look at its mandate and this
        if not was_stopped and (call is None or call["state"] != "started"):
            self.broken(f"{name} ({ctx.tool_use_id}) runs, but the ledger says {call and call['state']}")
