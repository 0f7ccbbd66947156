"""The office: writes of an old term change nothing, two never both submit, and none asks without being confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
import trio

from backburner.model import Term
from simulation.invariants.base import Invariant
from simulation.store import Change, Commit, Row

if TYPE_CHECKING:
    from simulation.network import Message

#: What anybody may do to a provider batch: plan it, have it looked at soon, end it unsent, delete it with its job.
FREE = {"next_poll_at", "error"}
#: The ends of conversations that any instance may write: it answers the cancel, or finds the deadline over.
STOPPED = {"canceled", "expired"}
#: Written down again, not taken from the program: it may be wrong there.
TRUST = 10.0  # seconds after the start of a good heartbeat
CALM_TRUST = 100.0  # in a calm, in which heartbeats are rare


@attrs.define(eq=False)
class Fenced(Invariant):
    name: ClassVar[str] = "a write of an old term changes nothing"

    def before_commit(self, commit: Commit) -> None:
        if commit.term is not None and commit.verb != "end_term":
            self._check_term(commit, commit.term)
        leader = self.mirror.epoch["instance_id"]
        who = commit.life.name if commit.life else "nobody"
        for change in commit.changes:
            if change.table == "leader_epoch":
                self._check_epoch(change)
            elif _is_the_leaders(change) and who != leader:
                self.broken(f"{who} did {commit.verb}, but {leader} leads")

    def _check_term(self, commit: Commit, term: Term) -> None:
        current = self.mirror.epoch
        if (term.epoch, term.term_id) != (current["epoch"], current["term_id"]):
            self.broken(f"{commit.verb} of term {term.epoch} was committed in term {current['epoch']}")

    def _check_epoch(self, change: Change) -> None:
        old, new = change.old, change.new
        if old is None or new is None or new["epoch"] != old["epoch"] + 1:
            self.broken(f"the epoch went from {old} to {new}")


def _is_the_leaders(change: Change) -> bool:
    new = change.new
    if new is None:
        return False
    if change.table == "provider_batches":
        return _is_looked_after(change.old, new)
    if change.table == "conversations":
        return change.old is not None and new["status"] not in STOPPED
    if change.table == "tool_calls":
        return bool(new["state"] != "dropped")
    return change.table == "results"


def _is_looked_after(old: Row | None, new: Row) -> bool:
    if old is None:
        return bool(new["status"] != "planned")
    if old["status"] == "planned" and new["status"] in ("planned", "closed"):
        return False
    return any(old[name] != new[name] for name in old.keys() - FREE)


@attrs.define(eq=False)
class OneSubmitter(Invariant):
    name: ClassVar[str] = "only the leader asks the provider for something"

    def sending(self, message: Message) -> None:
        leader = self.mirror.epoch["instance_id"]
        if message.to == "provider" and message.life.name != leader:
            self.broken(f"{message.life.name} asks {message.what}, but {leader} leads")


@attrs.define(eq=False)
class Trusted(Invariant):
    name: ClassVar[str] = "the provider is asked only as long as a term is trusted"

    def sending(self, message: Message) -> None:
        if message.to != "provider":
            return
        who = message.life.name
        confirmed_at = self.world.office.confirmed_at.get(who, float("-inf"))
        now, trust = trio.current_time(), CALM_TRUST if self.world.is_calm else TRUST
        if now > confirmed_at + trust:  # added up as the program does, to the last bit
            self.broken(f"{who} asks {message.what}, {now - confirmed_at:.3f} s after its last good heartbeat")
