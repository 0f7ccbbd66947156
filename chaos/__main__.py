"""`python -m chaos`: run scenarios, each on servers and databases of its own, and say what was seen."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial

import attrs
from tests.postgres import running_server

from chaos import lost_host, many_jobs, outside, own_work, postgres_faults, sqlite_faults, terms
from chaos.kills import kill_loop
from chaos.outcome import Outcome

DOWN = 30.0  # seconds that PostgreSQL is away


@attrs.frozen
class Options:
    """What may be chosen."""

    kills: int
    jobs: int
    until: float  # on the monotonic clock
    seed: int
    forked: bool


def _kills_sqlite(options: Options) -> Outcome:
    return kill_loop(None, options.kills, seed=options.seed, until=options.until, forked=options.forked)


def _kills_postgresql(options: Options) -> Outcome:
    with running_server() as server:
        return kill_loop(server, options.kills, seed=options.seed, until=options.until, forked=options.forked)


def _work_sqlite(options: Options) -> Outcome:
    return own_work.killed_at_work(None, options.kills, seed=options.seed, until=options.until, forked=options.forked)


def _work_postgresql(options: Options) -> Outcome:
    with running_server() as server:
        return own_work.killed_at_work(
            server, options.kills, seed=options.seed, until=options.until, forked=options.forked
        )


def _jobs_sqlite(options: Options) -> Outcome:
    return many_jobs.many_jobs(None, options.jobs, forked=options.forked)


def _jobs_postgresql(options: Options) -> Outcome:
    with running_server() as server:
        return many_jobs.many_jobs(server, options.jobs, forked=options.forked)


def _pooler(_: Options) -> Outcome:
    with running_server() as server:
        return postgres_faults.pooled(server)


def _plain(run: Callable[..., Outcome], *arguments: float) -> Callable[[Options], Outcome]:
    return lambda _: partial(run, *arguments)()


SCENARIOS: dict[str, Callable[[Options], Outcome]] = {
    "kills-sqlite": _kills_sqlite,
    "kills-postgresql": _kills_postgresql,
    "work-sqlite": _work_sqlite,
    "work-postgresql": _work_postgresql,
    "jobs-sqlite": _jobs_sqlite,
    "jobs-postgresql": _jobs_postgresql,
    "freeze": _plain(postgres_faults.frozen, 3),
    "partition": _plain(postgres_faults.partition, 3),
    "terminate": _plain(postgres_faults.terminated, 5),
    "restart": _plain(postgres_faults.restarted, DOWN),
    "host-gone": _plain(lost_host.host_gone, 5.0),
    "pooler": _pooler,
    "index": _plain(postgres_faults.index_built),
    "terms": _plain(terms.leader_changes, 1000),
    "disk-full": _plain(sqlite_faults.disk_full),
    "foreign-process": _plain(sqlite_faults.foreign_process, 3),
    "sigterm": _plain(sqlite_faults.sigterm, 3),
    "receivers": _plain(outside.bad_receivers, 60),
    "sentinels": _plain(outside.sentinels),
    "restore": _plain(outside.restored),
}


def main(line: Sequence[str] | None = None) -> int:
    """The exit status: 0 when everything that was asked for was run, or cannot be run on this machine, and held."""
    arguments = _arguments(line)
    until = time.monotonic() + arguments.minutes * 60
    options = Options(
        kills=arguments.kills, jobs=arguments.jobs, until=until, seed=arguments.seed, forked=not arguments.whole
    )
    outcomes = {}
    for name in arguments.only or SCENARIOS:
        if time.monotonic() >= until:
            outcomes[name] = "NOT RUN: out of time"
        else:
            outcomes[name] = _run(name, options)
    print("\nSummary")
    for name, outcome in outcomes.items():
        print(f"{name:<18} {outcome}")
    return 0 if all(outcome.startswith(("held", "SKIPPED")) for outcome in outcomes.values()) else 1


def _run(name: str, options: Options) -> str:
    """What became of a scenario, in a few words; its figures are printed."""
    print(f"{name} … (load average {os.getloadavg()[0]:.1f})", flush=True)
    began = time.monotonic()
    try:
        outcome = SCENARIOS[name](options)
    except lost_host.CannotRun as error:
        return f"SKIPPED: {error}"
    except Exception as error:
        traceback.print_exc()  # with the folder that is kept
        print(f"    again: {_again(name, options)}", flush=True)
        return f"VIOLATED: {str(error)[:300]}"
    for what, value in outcome.figures.items():
        print(f"    {what}: {value}", flush=True)
    return f"held ({time.monotonic() - began:.0f} s)"


def _again(name: str, options: Options) -> str:
    chosen = f"--kills {options.kills} --jobs {options.jobs} --seed {options.seed}"
    return f"./scripts/chaos --only {name} {chosen}{'' if options.forked else ' --whole'}"


def _arguments(line: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*SCENARIOS], metavar="NAME", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--kills", type=_some, default=30, help="of each kill loop (30)")
    parser.add_argument("--jobs", type=_some, default=10_000, help="small jobs in one queue (10,000)")
    parser.add_argument("--minutes", type=_minutes, default=30, help="nothing begins after that (30)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the load")
    parser.add_argument("--whole", action="store_true", help="start every server whole, instead of forking them loaded")
    return parser.parse_args(line)


def _some(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _minutes(text: str) -> float:
    if not (number := float(text)) >= 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


if __name__ == "__main__":
    sys.exit(main())
