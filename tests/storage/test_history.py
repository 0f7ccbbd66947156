"""Nothing that is asked periodically or for a request reads history, on both databases, with statistics and without.

Every storage function is called beside a long history, and the database tells how much each of its statements has
read. No plan is compared with the one that is hoped for: what is read through shows, whatever it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from random import Random

import pytest
import sqlalchemy as sa
from tests.storage.both import NOW, Stock
from tests.storage.calls import CALLS, OPERATORS, SILENT
from tests.storage.history import fill
from tests.storage.meter import Cost, metered, storage_functions

from backburner.storage import migrate
from backburner.storage.database import open_database

#: What a statement may read: SQLite's instructions, rows of PostgreSQL's plan. A page of a list, the dearest of those
#: that are right, takes half of that. The smallest table of history has 30,000 rows, each of which costs SQLite three
#: instructions.
MOST = {"sqlite": 14_000, "postgresql": 3_000}
KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


@pytest.fixture(params=KINDS)
def history(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    """A database with a long history, which has never been analysed."""
    if request.param == "sqlite":
        yield from _filled(f"sqlite:///{tmp_path_factory.mktemp('history') / 'jobs.db'}")
        return
    server = request.getfixturevalue("postgres_server")
    with server.database() as name:
        yield from _filled(server.url(name))


def _filled(url: str) -> Iterator[sa.Engine]:
    with closing(open_database(url, random=Random(0), in_threads=False)) as database:
        migrate.prepare(database.writing, may_upgrade=False, now=NOW, sleep=lambda _: None)
        with database.writing.begin() as tx:
            if tx.dialect.name == "postgresql":
                tx.exec_driver_sql("SET LOCAL statement_timeout = 0")
            Stock(tx).first_organization()
            fill(tx)
        yield database.writing


def analyse(engine: sa.Engine) -> None:
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as tx:
        tx.exec_driver_sql("ANALYZE" if engine.dialect.name == "sqlite" else "VACUUM ANALYZE")


def costs_of(engine: sa.Engine, call: Callable[[Stock], None]) -> list[Cost]:
    """What the statements of a call have read. Nothing of it stays."""
    with engine.connect() as tx:
        with metered(tx) as meter:
            call(Stock(tx))
        tx.rollback()
    return meter.costs


def too_dear(engine: sa.Engine, costs: list[Cost]) -> list[str]:
    most = MOST[engine.dialect.name]
    return [
        f"{cost.work:,} by {', '.join(sorted(cost.functions))}: {cost.statement}\n{cost.plan}"
        for cost in costs
        if cost.work > most
    ]


def test_nothing_reads_history(history: sa.Engine):
    """In one test, because statistics cannot be taken away again, and the history takes seconds to make."""
    without = [cost for call in CALLS for cost in costs_of(history, call)]
    assert too_dear(history, without) == []
    called = {name for cost in without for name in cost.functions}
    missing = storage_functions() - OPERATORS - SILENT[history.dialect.name] - called
    assert missing == set(), "to be called in calls.py, or named there as an operator's"
    analyse(history)
    assert too_dear(history, [cost for call in CALLS for cost in costs_of(history, call)]) == []
    assert len(too_dear(history, costs_of(history, reads_history))) == 1


def reads_history(stock: Stock) -> None:
    """What has to be noticed."""
    stock.tx.execute(sa.text("SELECT count(*) FROM provider_batches WHERE provider = 'sandbox' AND epoch = 7"))
