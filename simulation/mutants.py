"""Known bugs, each one line where a promise rests."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from simulation.profile import Profile


def _any(_: Profile) -> bool:
    return True


def _fault(*names: str) -> Callable[[Profile], bool]:
    """The provider does one of these."""
    return lambda profile: any(name in rule for rule in profile.provider_faults for name in names)


def _rate(*names: str) -> Callable[[Profile], bool]:
    """Transactions or messages fail in one of these ways."""
    return lambda profile: any(getattr(profile.rates, name) for name in names)


def _lost_create(profile: Profile) -> bool:
    lost = _fault("create:lost", "create:stall", "create:html", "create:empty", "create:trunc", "create:reset_body")
    return lost(profile) or _rate("unanswered")(profile)


def _frozen(profile: Profile) -> bool:
    return profile.instances > 1 and (_rate("freeze")(profile) or bool(profile.freezes))


def _dying(profile: Profile) -> bool:
    return _rate("die_before", "die_after")(profile) or bool(profile.kills)


@attrs.frozen
class Mutant:
    """In `file` the line `old` becomes `new`. Seeds whose profile is `likely` to show it are tried first."""

    name: str
    file: str
    old: str
    new: str
    likely: Callable[[Profile], bool] = _any


MUTANTS = (
    Mutant(
        "the fence does not compare the epoch",
        "storage/fence.py",
        '        leader_epoch.c.epoch == bound("epoch", leader_epoch.c.epoch),\n'
        '        leader_epoch.c.term_id == bound("term_id", leader_epoch.c.term_id),\n',
        "",
        _frozen,
    ),
    Mutant(
        "a refused heartbeat is taken for a good one",
        "actors/leader.py",
        "elif not await self.leadership.heartbeat(office.mandate.term):",
        "elif not await self.leadership.heartbeat(office.mandate.term) and False:",
        _rate("freeze", "away", "slow"),
    ),
    Mutant(
        "an unknown submission is made again unseen",
        "actors/submitter.py",
        "await self._write(submissions.set_unknown, batch.key, look_at=self.clock.now(), error=problem_of(error))",
        "await self._write(submissions.postpone, batch.key, until=self.clock.now(), error=None, "
        "now=self.clock.now(), ids=self.ids)",
        _lost_create,
    ),
    Mutant(
        "one look in vain is enough to submit again",
        "submission.py",
        "    if looked_for >= settle:",
        "    if looked_for >= 0:",
        _fault("hide_newest"),
    ),
    Mutant(
        "the SDK repeats a submission by itself",
        "providers/anthropic_calls.py",
        "max_retries=0",
        "max_retries=2",
        _lost_create,
    ),
    Mutant(
        "500 is taken for nothing was made",
        "providers/anthropic_errors.py",
        "BUSY_STATUSES = frozenset({429, 529})",
        "BUSY_STATUSES = frozenset({429, 500, 504, 529})",
        _fault("create:lost_500", "create:lost_504"),
    ),
    Mutant(
        "a lost answer is taken for a lost request",
        "providers/anthropic_errors.py",
        '        return SubmissionUnknown(str(lost), code="no_answer")',
        '        return ProviderUnavailable(str(lost), code="no_answer")',
        _lost_create,
    ),
    Mutant(
        "a submission that died is not looked for",
        "storage/submissions.py",
        "sa.or_(_LOOK_IS_DUE, provider_batches.c.status == BatchStatus.SUBMITTING)",
        "_LOOK_IS_DUE",
        _dying,
    ),
    Mutant(
        "the nonce is ignored",
        "wire.py",
        "    if mark != nonce or not digits.isascii()",
        "    if not mark or not digits.isascii()",
        _fault("results:foreign"),
    ),
    Mutant(
        "repeated results are counted again",
        "storage/results.py",
        "        pages = _only_new(tx, pages)\n",
        "        _only_new(tx, pages)\n",
        _fault("results:"),
    ),
    Mutant(
        "usage of a page read again is booked whole",
        "reading.py",
        "counts=Counter(row.status for row in rows), usage=total(usages))",
        "counts=Counter(row.status for row in rows), usage=total(usages) + page.usage)",
        _fault("results:"),
    ),
    Mutant(
        "a batch counts as read when the stream ends",
        "actors/ingest.py",
        "        if reading.is_complete:\n",
        "        if reading.matched:\n",
        _fault("results:truncate", "results:drop"),
    ),
    Mutant(
        "a few seconds of 404 lose a batch",
        "actors/poller.py",
        "LOST_AFTER = timedelta(hours=6)",
        "LOST_AFTER = timedelta(seconds=1)",
        _fault("retrieve:404"),
    ),
    Mutant(
        "an ended batch ends again",
        "storage/settle.py",
        ".where(_IS_IT, provider_batches.c.status == BatchStatus.SUBMITTED)",
        ".where(_IS_IT)",
        _rate("unknown"),
    ),
    Mutant(
        "an ingested batch is ingested again",
        "storage/settle.py",
        ".where(_IS_IT, provider_batches.c.status == BatchStatus.ENDED)",
        ".where(_IS_IT)",
        _rate("unknown"),
    ),
    Mutant(
        "a job ends before its last batch",
        "storage/settle.py",
        "    if row.status.is_terminal or row.batches_final < row.batches_total or counts.processing:",
        "    if row.status.is_terminal or row.batches_final < 1:",
    ),
    Mutant(
        "a completed job can still fail",
        "states.py",
        "    _S.COMPLETED: frozenset(),",
        "    _S.COMPLETED: frozenset({_S.FAILED}),",
    ),
    Mutant(
        "only completed jobs owe a webhook",
        "storage/settle.py",
        "    if job.callback_url is not None:\n        _owe_delivery",
        "    if job.callback_url is not None and status is JobStatus.COMPLETED:\n        _owe_delivery",
    ),
    Mutant(
        "an attempt is recorded twice",
        "storage/deliveries.py",
        "for row in rows if row.number == numbers[row.id] - 1}",
        "for row in rows}",
        _rate("unknown", "freeze"),
    ),
    Mutant(
        "a redirect counts as delivered",
        "delivery_schedule.py",
        "    if status_code is not None and 200 <= status_code < 300:",
        "    if status_code is not None and 200 <= status_code < 400:",
        lambda profile: "302" in profile.receivers,
    ),
    Mutant(
        "the next look is forgotten",
        "storage/batches.py",
        '        next_poll_at=sa.bindparam("due"),\n        poll_failures=0,',
        "        next_poll_at=None,\n        poll_failures=0,",
    ),
    Mutant(
        "a batch that was looked at stays busy",
        "actors/ticker.py",
        "            if not ended:\n                self._busy.discard(batch.key)",
        "            if not ended:\n                self._busy.add(batch.key)",
    ),
    Mutant(
        "polls do not wait for the limiter",
        "actors/poller.py",
        "        async with self.limiter:  # never held while the writer is waited for",
        "        if True:",
    ),
    Mutant(
        "the answer is not stored with the job",
        "storage/idempotency.py",
        "    if done is not None:\n        record(tx, done, told(outcome))",
        "    if done is not None:\n        told(outcome)",
        _rate("unanswered", "repeated"),
    ),
    Mutant(
        "halves of a divided batch overlap",
        "storage/submissions.py",
        "            last_idx=second.first - 1,",
        "            last_idx=second.first,",
        _fault("create:413"),
    ),
    Mutant(
        "the database is away and the write is dropped",
        "actors/writer.py",
        "                self._database_away = True\n",
        "                return Applied()\n",
        _rate("away", "torn"),
    ),
)
