"""One provider, one receiver, one database, and servers that come and go."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import attrs
import psycopg
from psycopg import sql
from tests.postgres import PostgresServer
from tests.processes.harness import Process, Starting, run, sandbox, starting, using
from tests.processes.receiver import Receiver

from chaos.ledger import Ledger, Violation
from chaos.proxy import Proxy
from chaos.workload import Workload
from chaos.zygote import Zygote, shared

BATCH_SECONDS = "0.2-1"
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
SUBMIT, READ = b"POST /v1/messages/batches HTTP", b"/results HTTP"


@attrs.define(kw_only=True, eq=False)
class Arena:
    """Everything that outlives the servers. Their calls to the provider pass through a proxy that sees them."""

    folder: Path
    database: str
    provider: Process
    proxy: Proxy
    receiver: Receiver
    stack: ExitStack
    ledger: Ledger = attrs.field(factory=Ledger)
    zygote: Zygote | None = None  #: forks the servers; None: each is started whole
    url: str = ""  #: of the server that clients talk to
    _started: int = attrs.field(default=0, init=False)

    @property
    def is_sqlite(self) -> bool:
        return self.database.startswith("sqlite")

    def start(self, *arguments: str, environ: Mapping[str, str] | None = None, database: str | None = None) -> Starting:
        """Another server, on its way up; it is killed when the arena closes."""
        self._started += 1
        reached = {"BACKBURNER_ANTHROPIC_BASE_URL": f"http://127.0.0.1:{self.proxy.port}"}
        return self.stack.enter_context(
            starting(
                self.folder,
                *("--database", database or self.database, *arguments),
                environ=using(self.provider) | reached | dict(environ or {}),
                log=f"server-{self._started}.log",
                **({"start": self.zygote.start} if self.zygote else {}),
            )
        )

    def workload(self, **options: Any) -> Workload:
        """Clients of whichever server `url` names."""
        return Workload(self.ledger, self.receiver, lambda: self.url, **options)

    def audit(self, server: Process) -> dict[str, Any]:
        """Everything ends, and everything holds: for clients, on the bill, and in the database."""
        figures = self.ledger.audit(server, self.provider, self.receiver)
        self.check_database()
        return figures

    def check_database(self) -> None:
        """`backburner db check` finds nothing. Raises Violation."""
        checked = run(self.folder, "db", "check", "--database", self.database)
        if checked.returncode:
            raise Violation(f"db check: {checked.stdout}{checked.stderr}")


@contextmanager
def _folder() -> Iterator[Path]:
    """Removed at the end, unless something went wrong."""
    place = Path(tempfile.mkdtemp(prefix="backburner-chaos-"))
    try:
        yield place
    except Exception as error:
        error.add_note(f"kept: {place}")
        raise
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _kept_tables(database: PostgresServer, url: str, place: Path) -> Iterator[None]:
    """Put PostgreSQL's log and our tables into the folder when something went wrong: the database will be dropped."""
    try:
        yield
    except Exception:
        shutil.copy(database.log, place / "postgresql.log")
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url) as connection:
            for (table,) in connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ).fetchall():
                query = sql.SQL("COPY {} TO STDOUT (FORMAT csv, HEADER)").format(sql.Identifier(table))
                with (place / f"{table}.csv").open("wb") as file, connection.cursor().copy(query) as rows:
                    file.writelines(rows)
        raise


@contextmanager
def arena(
    database: PostgresServer | None,
    *,
    on_event: Callable[[str], None] = lambda _: None,
    batch_seconds: str = BATCH_SECONDS,
    forked: bool = False,
) -> Iterator[Arena]:
    """On a fresh database of that PostgreSQL, or on a new SQLite file. `on_event` hears of each "submit", "ingest" and
    "deliver" while it is under way. With `forked` servers skip their imports. When the block raises, the folder with
    logs and data is kept, and a note of the exception says where.
    """

    def saw(data: bytes) -> None:
        if SUBMIT in data:
            on_event("submit")
        elif READ in data:
            on_event("ingest")

    with ExitStack() as stack:
        place = stack.enter_context(_folder())
        provider = stack.enter_context(sandbox(place, "--batch-seconds", batch_seconds))
        proxy = stack.enter_context(Proxy(int(provider.url.rpartition(":")[2]), saw))
        receiver = stack.enter_context(Receiver(lambda: on_event("deliver")))
        name = stack.enter_context(database.database() if database else nullcontext(""))
        url = database.url(name) if database else f"sqlite:///{place}/jobs.db"
        if database:
            stack.enter_context(_kept_tables(database, url, place))
        yield Arena(
            folder=place,
            database=url,
            provider=provider,
            proxy=proxy,
            receiver=receiver,
            stack=stack,
            zygote=shared() if forked else None,
        )
