"""A thousand changes of leadership, with writers of old terms that do not give up."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from random import Random

import attrs
import psycopg
import sqlalchemy as sa
import trio
from tests.postgres import running_server
from tests.storage.offices import offices, won

from backburner.errors import LeadershipLost, StorageUnavailable
from backburner.model import Term
from backburner.storage.database import RunAgain, open_database, translated
from backburner.storage.fence import fence
from backburner.storage.migrate import prepare
from chaos.ledger import Violation
from chaos.outcome import Outcome

WORK = "CREATE TABLE written_work (epoch bigint NOT NULL, newest bigint NOT NULL)"
WRITE = sa.text("INSERT INTO written_work SELECT :epoch, epoch FROM leader_epoch")
WRITERS = 3
OLDEST = 3  # terms back
AT_WORK = 0.002  # seconds between fence and write, at most: without a lock another term begins meanwhile


def leader_changes(number: int) -> Outcome:
    """That many terms, two instances in turn; whoever writes does so behind the program's own fence, for the newest
    term that it knows or for an older one.
    """
    with running_server() as server, server.database() as name, _migrated(server.url(name)) as engine:
        url = server.url(name)
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(WORK)
            answers, terms = _under_way(url, number, engine)
            written, stale, epochs = _count(admin)
    if stale:
        raise Violation(f"{stale} of {written} writes are of an older term than the newest at that moment")
    if [term.epoch for term in terms] != [*range(1, number + 1)] or epochs != number:
        raise Violation(f"{number} terms began, {epochs} epochs are known")
    if not answers["written"] == written > 0 or not answers["refused"]:
        raise Violation(f"the fence was not tried: {written} rows, {dict(answers)}")
    return Outcome({"terms": number, "writes": written, "refused writes": answers["refused"], "stale writes": stale})


@contextmanager
def _migrated(url: str) -> Iterator[sa.Engine]:
    database = open_database(url, random=Random(0))
    try:
        prepare(database.writing, may_upgrade=True, now=datetime.now(UTC), sleep=time.sleep)
        yield database.writing
    finally:
        database.close()


def _under_way(url: str, number: int, engine: sa.Engine) -> tuple[Counter[str], list[Term]]:
    """All terms, and what became of the writes beside them."""
    terms: list[Term] = []
    over = threading.Event()
    with ThreadPoolExecutor(WRITERS) as pool:
        writers = [pool.submit(Writer(engine, terms, Random(seed)).run, over) for seed in range(WRITERS)]
        try:
            trio.run(_alternate, url, number, terms)
        finally:
            over.set()
        return sum((writer.result() for writer in writers), Counter[str]()), terms


async def _alternate(url: str, number: int, terms: list[Term]) -> None:
    async with offices(url, "a", "b") as pair:
        for turn in range(number):
            office = pair[turn % 2]
            term = await won(office)
            terms.append(term)
            await trio.sleep(0.002)
            await office.resign(term, "test")


@attrs.frozen
class Writer:
    """Writes for terms that may be over."""

    engine: sa.Engine
    terms: list[Term]
    random: Random

    def run(self, over: threading.Event) -> Counter[str]:
        """What became of the writes until it is `over`."""
        answers: Counter[str] = Counter()
        while not over.is_set():
            if self.terms:
                newest = len(self.terms) - 1
                answers[self._try(self.terms[max(0, newest - self.random.randrange(OLDEST))])] += 1
        return answers

    def _try(self, term: Term) -> str:
        try:
            with translated(), self.engine.begin() as tx:
                fence(tx, term)
                time.sleep(self.random.uniform(0, AT_WORK))
                tx.execute(WRITE, {"epoch": term.epoch})
        except LeadershipLost:
            time.sleep(AT_WORK / 2)
            return "refused"
        except (StorageUnavailable, RunAgain):
            return "waited too long"
        return "written"


def _count(admin: psycopg.Connection) -> tuple[int, int, int]:
    row = admin.execute("SELECT count(*), count(*) FILTER (WHERE epoch < newest) FROM written_work").fetchone()
    known = admin.execute("SELECT count(DISTINCT epoch) FROM leader_history").fetchone()
    assert row is not None
    assert known is not None
    return int(row[0]), int(row[1]), int(known[0])
