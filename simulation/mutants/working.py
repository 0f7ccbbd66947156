"""Known bugs of agents and of background jobs."""

from __future__ import annotations

from simulation.mutants.base import Mutant
from simulation.where import AGENTS, DYING_AGENTS, HANDLERS, ORDERS, Where

WORKING = (
    Mutant(
        "a call that must not is made again after a crash",
        "agents",
        "actors/tool_caller.py",
        "    is_idempotent = call.spec is not None and call.spec.idempotent\n",
        "    is_idempotent = call.spec is not None\n",
        DYING_AGENTS,
    ),
    Mutant(
        "a call under way is begun again",
        "agents",
        "storage/ledger.py",
        "is_to_make(), tool_calls.c.state == ToolCallState.REQUESTED).subquery",
        "is_to_make()).subquery",
        Where(workloads=AGENTS),
    ),
    Mutant(
        "a conversation goes on before all its tools have run",
        "agents",
        "storage/ledger.py",
        "            sa.not_(unfinished),\n",
        "",
        Where(workloads=AGENTS),
    ),
    Mutant(
        "a planned conversation stays ready",
        "agents",
        "storage/turns.py",
        "            .values(state=ConversationState.ASKED, updated_at=now)",
        "            .values(updated_at=now)",
        Where(workloads=AGENTS),
    ),
    Mutant(
        "attempts are not limited",
        "background jobs",
        "storage/work.py",
        "    elif row.attempt >= row.max_attempts:",
        "    elif row.attempt > row.max_attempts:",
        Where(
            profile={
                "instances": 1,
                "kills": ((8.0, 5), (40.0, 5), (75.0, 5), (110.0, 5), (145.0, 5)),
                "faults_last": 180.0,
            },
            workloads=HANDLERS,
        ),
    ),
    Mutant(
        "a lease is not renewed",
        "background jobs",
        "storage/work.py",
        "where(work.c.token.in_(tokens)).values(lease_until=lease_until).returning",
        "where(work.c.token.in_(tokens)).values(lease_until=work.c.lease_until).returning",
        Where(
            rates=dict.fromkeys(("away", "unknown", "torn", "slow", "freeze", "die_before", "die_after"), 0.0),
            profile={"kills": (), "freezes": (), "stops": (), "clock_jumps": (), "database_outages": ()},
            workloads=HANDLERS,
        ),
    ),
    Mutant(
        "a job that has ended stays in the queue",
        "background jobs",
        "storage/work_ends.py",
        "    tx.execute(sa.delete(work).where(work.c.token.in_([command.token for command in commands])))\n",
        "",
        Where(workloads=HANDLERS),
    ),
    Mutant(
        "whose a batch is is not noted",
        "background jobs",
        "storage/handler_jobs.py",
        "    tx.execute(sa.insert(children).values(parent_id=parent_key, key=child.key, child_public_id=new.id))\n",
        "",
        Where(workloads=ORDERS),
    ),
)
