"""Known bugs of who leads, of what is submitted, and of looking at it."""

from __future__ import annotations

from simulation.mutants.base import Mutant
from simulation.where import BATCHES, DYING, FROZEN, LOST_ANSWERS, Where

SUBMITTING = (
    Mutant(
        "the fence does not compare the epoch",
        "one leader",
        "storage/fence.py",
        '        leader_epoch.c.epoch == bound("epoch", leader_epoch.c.epoch),\n'
        '        leader_epoch.c.term_id == bound("term_id", leader_epoch.c.term_id),\n',
        "",
        FROZEN,
    ),
    Mutant(
        "a refused heartbeat is taken for a good one",
        "one leader",
        "actors/leader.py",
        "elif not await self.leadership.heartbeat(office.mandate.term):",
        "elif not await self.leadership.heartbeat(office.mandate.term) and False:",
        FROZEN,
    ),
    Mutant(
        "an unknown submission is made again unseen",
        "submissions",
        "actors/submitter.py",
        "await self._write(submissions.set_unknown, batch.key, look_at=self.clock.now(), error=problem_of(error))",
        "await self._write(submissions.postpone, batch.key, until=self.clock.now(), error=None, "
        "now=self.clock.now(), ids=self.ids)",
        LOST_ANSWERS,
    ),
    Mutant(
        "one look in vain is enough to submit again",
        "submissions",
        "submission.py",
        "    if looked_for >= settle:",
        "    if looked_for >= 0:",
        Where(faults=("list:hide_newest@p0.6x2", "create:lost_response@p0.6"), workloads=BATCHES),
    ),
    Mutant(
        "the SDK repeats a submission by itself",
        "submissions",
        "providers/anthropic_calls.py",
        '{"max_retries": 0, ',
        '{"max_retries": 2, ',
        LOST_ANSWERS,
    ),
    Mutant(
        "500 is taken for nothing was made",
        "submissions",
        "providers/anthropic_errors.py",
        "BUSY_STATUSES = frozenset({429, 529})",
        "BUSY_STATUSES = frozenset({429, 500, 504, 529})",
        LOST_ANSWERS,
    ),
    Mutant(
        "what may have been made counts as refused",
        "nothing is forgotten",
        "providers/anthropic_errors.py",
        "        return complaint.error(SubmissionRefused)\n    return complaint.error(SubmissionUnknown)",
        "        return complaint.error(SubmissionRefused)\n    return complaint.error(SubmissionRefused)",
        LOST_ANSWERS,
    ),
    Mutant(
        "a lost answer is taken for a lost request",
        "submissions",
        "providers/anthropic_errors.py",
        '        return SubmissionUnknown(str(lost), code="no_answer")',
        '        return ProviderUnavailable(str(lost), code="no_answer")',
        LOST_ANSWERS,
    ),
    Mutant(
        "a submission that died is not looked for",
        "nothing is forgotten",
        "storage/submissions.py",
        "sa.or_(_LOOK_IS_DUE, provider_batches.c.status == BatchStatus.SUBMITTING)",
        "_LOOK_IS_DUE",
        DYING,
    ),
    Mutant(
        "a few seconds of 404 lose a batch",
        "nothing is forgotten",
        "actors/poller.py",
        "LOST_AFTER = timedelta(hours=6)",
        "LOST_AFTER = timedelta(seconds=1)",
        Where(faults=("retrieve:404@p0.6",), workloads=BATCHES),
    ),
    Mutant(
        "the next look is forgotten",
        "nothing is forgotten",
        "storage/batches.py",
        '        next_poll_at=sa.bindparam("due"),\n        poll_failures=0,',
        "        next_poll_at=None,\n        poll_failures=0,",
    ),
    Mutant(
        "a batch that was looked at stays busy",
        "nothing is forgotten",
        "actors/ticker.py",
        "            if not ended:\n                self._busy.discard(batch.key)",
        "            if not ended:\n                self._busy.add(batch.key)",
    ),
    Mutant(
        "polls do not wait for the limiter",
        "limits",
        "actors/poller.py",
        "        async with self.limiter:  # never held while the writer is waited for",
        "        if True:",
        Where(pace={"poll_concurrency": 1}, workloads=("a_batch_of_many_chunks",)),
    ),
)
