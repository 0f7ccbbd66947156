"""What the ledger says of steps: the calls that each asked for, and what the next was given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs
import msgspec
import sqlalchemy as sa

from backburner.next_request import ToolReturn, results_content
from backburner.states import ToolCallState
from backburner.storage.tables import tool_calls
from backburner.times import rfc3339

JsonObject = dict[str, Any]
Place = tuple[int, int]  # index, round


@attrs.frozen
class Calls:
    """The ledger's rows of some items, by item and round."""

    rows: Mapping[Place, Sequence[Any]]

    def shown(self, index: int, number: int) -> list[JsonObject]:
        """What became of each call that the answer of a round asked for, in its order."""
        return [_shown(row) for row in self.rows.get((index, number), ())]

    def given(self, index: int, number: int) -> list[Any] | None:
        """The content of the message that answers the calls of the round before; None if there were none."""
        rows = [row for row in self.rows.get((index, number - 1), ()) if row.state is ToolCallState.FINISHED]
        if not rows:
            return None
        returns = [ToolReturn(row.tool_use_id, row.result, row.is_error) for row in rows]
        content: list[Any] = msgspec.json.decode(results_content(returns))
        return content


def calls_of(tx: sa.Connection, job_key: int, first: int, last: int) -> Calls:
    """Those of the items from the first position to the last."""
    found: dict[Place, list[Any]] = defaultdict(list)
    wanted = sa.select(tool_calls).where(tool_calls.c.job_id == job_key, tool_calls.c.idx.between(first, last))
    for row in tx.execute(wanted.order_by(tool_calls.c.idx, tool_calls.c.round, tool_calls.c.position)):
        found[row.idx, row.round].append(row)
    return Calls(found)


def _shown(row: Any) -> JsonObject:
    return {
        "state": row.state,
        "is_error": row.is_error,
        "started_at": _time(row.started_at),
        "finished_at": _time(row.finished_at),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
