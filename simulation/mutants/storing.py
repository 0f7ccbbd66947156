"""Known bugs of results and of ends."""

from __future__ import annotations

from simulation.mutants.base import Mutant
from simulation.where import BATCHES, UNKNOWN_COMMITS, Where

STORING = (
    Mutant(
        "the nonce is ignored",
        "results once",
        "wire.py",
        "    if mark != nonce or not digits.isascii()",
        "    if not mark or not digits.isascii()",
        Where(faults=("results:foreign=2@p0.7",), workloads=BATCHES),
    ),
    Mutant(
        "repeated results are counted again",
        "results once",
        "storage/results.py",
        "        pages = _only_new(tx, pages)\n",
        "        _only_new(tx, pages)\n",
        UNKNOWN_COMMITS,
    ),
    Mutant(
        "usage of a repeated line is booked",
        "results once",
        "reading.py",
        '            self.odd["repeated"] += 1  # the first one counts\n',
        '            self.odd["repeated"] += 1\n            self._usages.append(found.usage or Usage())\n',
        Where(faults=("results:duplicate=3@p0.7",), workloads=BATCHES),
    ),
    Mutant(
        "a batch counts as read when the stream ends",
        "results once",
        "actors/ingest.py",
        "        if reading.is_complete:\n",
        "        if reading.matched:\n",
        Where(faults=("results:truncate@p0.6",), profile={"may_spoil": True}, workloads=BATCHES),
    ),
    Mutant(
        "an ended batch ends again",
        "results once",
        "storage/settle.py",
        ".where(_IS_IT, provider_batches.c.status == BatchStatus.SUBMITTED)",
        ".where(_IS_IT)",
        UNKNOWN_COMMITS,
    ),
    Mutant(
        "an ingested batch is ingested again",
        "results once",
        "storage/settle.py",
        ".where(_IS_IT, provider_batches.c.status == BatchStatus.ENDED)",
        ".where(_IS_IT)",
        UNKNOWN_COMMITS,
    ),
    Mutant(
        "a job ends before its last batch",
        "ends never change",
        "storage/settle.py",
        "    if row.status.is_terminal or row.batches_final < row.batches_total or counts.processing:",
        "    if row.status.is_terminal or row.batches_final < 1:",
        Where(workloads=("a_batch_of_many_chunks",)),
    ),
    Mutant(
        "a completed job can still fail",
        "ends never change",
        "states.py",
        "    _S.COMPLETED: frozenset(),",
        "    _S.COMPLETED: frozenset({_S.FAILED}),",
        Where(workloads=("a_job_is_moved_by_its_owner",)),
    ),
    Mutant(
        "halves of a divided batch overlap",
        "results once",
        "storage/divisions.py",
        "    lasts = [*(chunk[0][0] - 1 for chunk in chunks[1:]), row.last_idx]",
        "    lasts = [*(chunk[0][0] for chunk in chunks[1:]), row.last_idx]",
        Where(faults=("create:413@p0.7x3",), workloads=BATCHES),
    ),
    Mutant(
        "the database is away and the write is dropped",
        "results once",
        "actors/writer.py",
        "                self._database_away = True\n",
        "                return Applied()\n",
        Where(rates={"away": 0.2, "torn": 0.2}, workloads=BATCHES),
    ),
)
