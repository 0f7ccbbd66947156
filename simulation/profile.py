"""What one seed is about: how many instances, at which pace, and a draw of the things that go wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from random import Random
from typing import TypeVar

import attrs

from backburner.pace import Pace
from backburner.providers.sandbox.options import SandboxOptions
from simulation.chaos import Rates
from simulation.receivers import MOODS

T = TypeVar("T")

#: Faults of the provider, as its sandbox names them. `{p}` is a chance that each seed draws.
PROVIDER_FAULTS = (
    "create:lost_response@p{p}", "create:lost_500@p{p}", "create:lost_504@p{p}", "create:stall@p{p}x2",
    "create:slow_headers=20@p{p}", "create:500@p{p}", "create:500_html@p{p}", "create:502@p{p}", "create:503@p{p}",
    "create:504@p{p}", "create:529@p{p}", "create:429=3@p{p}", "create:429_ms=1500@p{p}", "create:429_date=4@p{p}",
    "create:429_bare@p{p}x4", "create:spend_cap@p{p}x1", "create:ramp_limit@p{p}x2", "create:401@p{p}x1",
    "create:402@p{p}x1", "create:403@p{p}x1", "create:408@p{p}", "create:409@p{p}", "create:413@p{p}x3",
    "create:413_html@p{p}x2", "create:refuse@p{p}", "create:reset@p{p}", "create:close@p{p}", "create:html_200@p{p}x3",
    "create:empty_200@p{p}x3", "create:truncated_json@p{p}x3", "create:reset_body@p{p}x3", "create:307@p{p}x2",
    "retrieve:500@p{p}", "retrieve:404@p{p}", "retrieve:reset@p{p}", "retrieve:429=5@p{p}", "retrieve:529@p{p}",
    "retrieve:401@p{p}x2", "retrieve:stall@p{p}x2", "retrieve:html_200@p{p}", "retrieve:empty_200@p{p}",
    "retrieve:truncated_json@p{p}", "retrieve:drip=40@p{p}x2", "retrieve:refuse@p{p}", "retrieve:close@p{p}",
    "status:backwards@p{p}", "status:unknown_status@p{p}", "status:null_results_url@p{p}", "retrieve:odd_counts@p{p}",
    "status:foreign_results_url@p{p}", "status:never_ends@p{p}x6", "retrieve:skew=-7200@p{p}",
    "list:500@p{p}", "list:reset@p{p}", "list:overlap@p{p}", "list:hide_newest@p{p}x2", "list:stuck_cursor@p{p}",
    "list:empty_page@p{p}", "list:429=4@p{p}", "list:stall@p{p}x2", "list:truncated_json@p{p}",
    "cancel:500@p{p}", "cancel:lost_response@p{p}", "cancel:409@p{p}", "cancel:404@p{p}x2", "cancel:stall@p{p}x2",
    "results:500@p{p}", "results:404@p{p}x3", "results:reset_midline@p{p}", "results:close_midline@p{p}",
    "results:stall_body@p{p}x2", "results:reset_body@p{p}", "results:broken_gzip@p{p}x3",
    "results:truncated_line@p{p}x2",
    "results:duplicate=2@p{p}", "results:contradict@p{p}", "results:foreign=2@p{p}", "results:crlf@p{p}",
    "results:blank@p{p}", "results:bom@p{p}", "results:no_newline@p{p}", "results:html_200@p{p}x2",
    "*:429_bare@p{p}x5", "*:529@p{p}x5", "*:refuse@p{p}x5",
)  # fmt: skip
#: Those after which an item may rightly have no result of the provider.
SPOILING = (
    "results:drop=1@p{p}", "results:truncate@p{p}", "results:bad_json@p{p}", "results:bad_utf8@p{p}",
    "results:unknown_type@p{p}",
)  # fmt: skip


@attrs.frozen(kw_only=True)
class Profile:
    """Everything that a seed decides before the run begins. Times in seconds."""

    seed: int
    instances: int
    single_writer: bool  # transactions of an instance wait for each other, as on SQLite
    pace: Pace
    sandbox: SandboxOptions
    provider_faults: tuple[str, ...]
    may_spoil: bool
    rates: Rates
    receivers: Mapping[str, float]
    faults_last: float
    kills: tuple[tuple[float, int], ...]  # when, and how many steps after that
    freezes: tuple[tuple[float, int, float], ...]  # and for how long
    stops: tuple[float, ...]  # orderly stops
    step_downs: tuple[float, ...]
    clock_jumps: tuple[tuple[float, float], ...]  # when, and by how much
    database_outages: tuple[tuple[float, float], ...]  # when, and for how long
    deaf_instances: bool  # they do not hear of each other's changes
    workloads: int
    request_timeout: float = 30.0  # that a call to the provider may take without progress

    @property
    def patience(self) -> float:
        """Within what time after the faults everything has come to its end."""
        return 3 * 3600.0 + 2 * max((abs(by) for _, by in self.clock_jumps), default=0.0)


def draw(seed: int) -> Profile:
    """The profile of a seed: each draws some of the kinds of faults, and how often they strike."""
    random = Random(f"profile {seed}")
    lasts = random.choice([30.0, 60.0, 120.0])
    spoils = random.random() < 0.25
    rules = random.sample(PROVIDER_FAULTS, random.choice([0, 3, 5, 8]))
    rules += random.sample(SPOILING, int(spoils))
    return Profile(
        seed=seed,
        instances=random.choice([1, 2, 2, 2, 3]),
        single_writer=random.random() < 0.5,
        pace=_pace(random),
        sandbox=_sandbox(random, seed),
        provider_faults=tuple(rule.format(p=f"{random.uniform(0.1, 0.7):.2f}") for rule in rules),
        may_spoil=spoils,
        rates=_rates(random),
        receivers=_moods(random),
        faults_last=lasts,
        kills=_sometimes(random, 0.5, 4, lambda: (_moment(random, lasts), _steps(random))),
        freezes=_sometimes(
            random, 0.4, 3, lambda: (_moment(random, lasts), _steps(random), random.choice([4.0, 12.0, 30.0, 90.0]))
        ),
        stops=_sometimes(random, 0.3, 2, lambda: _moment(random, lasts)),
        step_downs=_sometimes(random, 0.2, 2, lambda: _moment(random, lasts)),
        clock_jumps=_sometimes(
            random, 0.3, 3, lambda: (_moment(random, lasts), random.choice([-600.0, -90.0, -5.0, 5.0, 90.0, 600.0]))
        ),
        database_outages=_sometimes(random, 0.2, 2, lambda: (_moment(random, lasts), random.choice([2.0, 10.0, 40.0]))),
        deaf_instances=random.random() < 0.5,
        workloads=random.choice([1, 1, 2, 3]),
    )


def _sometimes(random: Random, chance: float, most: int, make: Callable[[], T]) -> tuple[T, ...]:
    if random.random() >= chance:
        return ()
    return tuple(make() for _ in range(random.randint(1, most)))


def _moment(random: Random, lasts: float) -> float:
    return round(random.uniform(0.0, lasts), 3)


def _steps(random: Random) -> int:
    return int(random.lognormvariate(4.0, 1.5))


def _pace(random: Random) -> Pace:
    interval = random.choice([10.0, 30.0])
    return Pace(
        interval=interval,
        jitter=random.choice([0.0, 2.0]),
        page_size=random.choice([2, 7, 1000]),
        poll_concurrency=random.choice([1, 2, 4]),
        lookback=timedelta(weeks=2),
        lock_retry=1.0,
        most_queued=random.choice([10, 40, 200_000]),
        settle=random.choice([20.0, 60.0]),
        write_rows=random.choice([2, 8, 4000]),
        write_window=random.choice([0.0, 0.02, 1.0]),
        look=random.choice([15.0, 30.0]),
        callback_concurrency=random.choice([1, 4, 16]),
        drain=10.0,
        job_lease=600.0,
    )


def _sandbox(random: Random, seed: int) -> SandboxOptions:
    low = random.choice([2.0, 8.0, 20.0])
    return SandboxOptions(
        seed=seed,
        latency_seconds=random.choice([0.01, 0.3, 2.0]),
        batch_seconds=(low, low * random.choice([1.0, 3.0])),
        cancel_seconds=random.choice([0.5, 5.0]),
        errored=random.choice([0.0, 0.0, 0.2, 1.0]),
        expired=random.choice([0.0, 0.0, 0.1]),
        canceled=random.choice([0.0, 0.0, 0.1]),
        reply_bytes=60,
    )


def _rates(random: Random) -> Rates:
    names = random.sample([field.name for field in attrs.fields(Rates)], random.choice([0, 1, 2, 3, 4]))
    return Rates(**{name: _rate(random, name) for name in names})


def _rate(random: Random, name: str) -> float:
    deadly = name.startswith(("die", "freeze"))
    return random.choice([0.01, 0.03, 0.06] if deadly else [0.01, 0.05, 0.2])


def _moods(random: Random) -> Mapping[str, float]:
    some = random.sample(MOODS, random.choice([0, 0, 1, 3]))
    return {mood: random.uniform(0.1, 0.9 / len(some)) for mood in some}
