"""The office: writes of an old term change nothing, and two never both submit."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from backburner.model import Term
from simulation.invariants.base import Invariant
from simulation.store import Change, Commit

if TYPE_CHECKING:
    from simulation.network import Message

#: What anybody may do to a provider batch: plan it, have it looked at soon, end it unsent, delete it with its job.
FREE = {"next_poll_at", "error"}


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
    old, new = change.old, change.new
    if new is None or change.table not in ("provider_batches", "results"):
        return False
    if change.table == "results":
        return True
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
