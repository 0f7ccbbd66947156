"""A thousand changes of leadership, with writers of old terms that do not give up."""

from __future__ import annotations

import contextlib
import threading
from random import Random

import psycopg
import trio
from tests.postgres import running_server
from tests.storage.offices import SCHEMA, offices, won

from backburner.model import Term
from chaos.ledger import Violation
from chaos.outcome import Outcome

WORK = "CREATE TABLE work (epoch bigint NOT NULL, newest bigint NOT NULL)"
FENCE = "SELECT 1 FROM leader_epoch WHERE name = 'default' AND epoch = %s AND term_id = %s FOR SHARE"
WRITE = "INSERT INTO work SELECT %s, epoch FROM leader_epoch"
WRITERS = 3


def leader_changes(number: int) -> Outcome:
    """That many terms, two instances in turn; whoever writes does so under the fence, for this term or an older one."""
    terms: list[Term] = []
    over = threading.Event()
    with running_server() as server, server.database() as name:
        url = server.url(name)
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(SCHEMA)
            admin.execute(WORK)
            threads = [threading.Thread(target=_write, args=(url, terms, over, seed)) for seed in range(WRITERS)]
            for thread in threads:
                thread.start()
            try:
                trio.run(_alternate, url, number, terms)
            finally:
                over.set()
                for thread in threads:
                    thread.join()
            written, stale, epochs = _count(admin)
    if stale:
        raise Violation(f"{stale} of {written} writes are of an older term than the newest at that moment")
    if [term.epoch for term in terms] != [*range(1, number + 1)] or epochs != number:
        raise Violation(f"{number} terms began, {epochs} epochs are known")
    return Outcome({"terms": number, "writes": written, "stale writes": stale})


def _count(admin: psycopg.Connection) -> tuple[int, int, int]:
    row = admin.execute("SELECT count(*), count(*) FILTER (WHERE epoch < newest) FROM work").fetchone()
    known = admin.execute("SELECT count(DISTINCT epoch) FROM leader_history").fetchone()
    assert row is not None
    assert known is not None
    return int(row[0]), int(row[1]), int(known[0])


async def _alternate(url: str, number: int, terms: list[Term]) -> None:
    async with offices(url, "a", "b") as pair:
        for turn in range(number):
            office = pair[turn % 2]
            term = await won(office)
            terms.append(term)
            await trio.sleep(0.002)
            await office.resign(term, "test")


def _write(url: str, terms: list[Term], over: threading.Event, seed: int) -> None:
    random = Random(seed)
    with psycopg.connect(url) as connection:
        while not over.is_set():
            if not terms:
                continue
            term = terms[max(0, len(terms) - 1 - random.randrange(3))]
            with contextlib.suppress(psycopg.errors.LockNotAvailable):
                if connection.execute(FENCE, (term.epoch, term.term_id)).fetchone() is not None:
                    connection.execute(WRITE, (term.epoch,))
            connection.commit()
