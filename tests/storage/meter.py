"""How much each statement reads, told by the database itself, and which storage functions issue it."""

from __future__ import annotations

import ast
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import sqlalchemy as sa

from backburner import storage

FOLDER = str(Path(storage.__file__).parent)
GRAIN = 100  # instructions of SQLite's machine


@attrs.define
class Cost:
    """What one statement has read: SQLite's instructions, or the rows of PostgreSQL's plan."""

    statement: str
    functions: frozenset[str]  #: `module.function` of storage that were being called
    work: int = 0
    plan: str = ""


@attrs.define
class Meter:
    """What the statements of a connection have cost."""

    costs: list[Cost] = attrs.field(factory=list)

    @property
    def functions(self) -> set[str]:
        return {name for cost in self.costs for name in cost.functions}


@contextmanager
def metered(tx: sa.Connection) -> Iterator[Meter]:
    """Measure every statement of the connection."""
    meter = Meter()
    hear = _counting(tx, meter) if tx.dialect.name == "sqlite" else _explaining(tx, meter)
    sa.event.listen(tx, "before_cursor_execute", hear)
    try:
        yield meter
    finally:
        sa.event.remove(tx, "before_cursor_execute", hear)
        if tx.dialect.name == "sqlite":
            _driver(tx).set_progress_handler(None, 0)


def _driver(tx: sa.Connection) -> sqlite3.Connection:
    connection = tx.connection.driver_connection
    assert isinstance(connection, sqlite3.Connection)
    return connection


def _counting(tx: sa.Connection, meter: Meter) -> Any:
    def tick() -> int:
        if meter.costs:
            meter.costs[-1].work += GRAIN
        return 0

    def hear(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        meter.costs.append(Cost(statement, callers()))

    _driver(tx).set_progress_handler(tick, GRAIN)
    return hear


def _explaining(tx: sa.Connection, meter: Meter) -> Any:
    def hear(_conn: Any, _cursor: Any, statement: str, *rest: Any) -> None:
        parameters, _context, executemany = rest
        cost = Cost(statement, callers())
        meter.costs.append(cost)
        verb = statement.lstrip().partition(" ")[0].upper()
        if verb not in {"SELECT", "UPDATE", "DELETE", "WITH"}:
            return
        with tx.connection.driver_connection.cursor() as other:
            other.execute("SAVEPOINT metering")
            one = parameters[0] if executemany else parameters
            other.execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement}", one)
            found = other.fetchone()[0][0]["Plan"]
            other.execute("ROLLBACK TO SAVEPOINT metering")
        cost.work = sum(_rows(found))
        cost.plan = str(found)

    return hear


def _rows(node: dict[str, Any]) -> Iterator[int]:
    """How many rows each step of a plan has looked at."""
    removed = ("Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck")
    yield round((node["Actual Rows"] + sum(node.get(name, 0) for name in removed)) * node["Actual Loops"])
    for child in node.get("Plans", ()):
        yield from _rows(child)


def callers() -> frozenset[str]:
    """The storage functions below which this is called."""
    found: set[str] = set()
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(FOLDER):
            found.add(f"{Path(code.co_filename).stem}.{code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    return frozenset(found)


def storage_functions() -> set[str]:
    """Every function of storage that takes a connection first: what runs in a transaction."""
    found: set[str] = set()
    for path in Path(FOLDER).glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                names = [argument.arg for argument in node.args.args]
                if names[:1] == ["tx"]:
                    found.add(f"{path.stem}.{node.name}")
    return found
