"""Where a known bug is looked for: what the seeds have in common that are tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from simulation.profile import Profile
from simulation.workloads import WORKLOADS, Workload

#: Provider faults in which an answer to a submission is lost, though the batch was made.
LOST_CREATES = ("create:lost_response@p0.5", "create:lost_500@p0.5", "create:lost_504@p0.5")


@attrs.frozen(kw_only=True)
class Where:
    """What is forced upon the profile that a seed draws. All else stays as the seed has it."""

    faults: Sequence[str] = ()  # of the provider, instead of those that were drawn
    rates: Mapping[str, float] = attrs.field(factory=dict)
    profile: Mapping[str, Any] = attrs.field(factory=dict)
    pace: Mapping[str, Any] = attrs.field(factory=dict)
    workloads: Sequence[str] = ()  # clients do one of these

    def of(self, profile: Profile) -> Profile:
        """The seed's profile as it is tried."""
        return attrs.evolve(
            profile,
            provider_faults=tuple(self.faults) or profile.provider_faults,
            rates=attrs.evolve(profile.rates, **self.rates),
            pace=attrs.evolve(profile.pace, **self.pace),
            **self.profile,
        )

    @property
    def choices(self) -> list[Workload]:
        """The workloads that are drawn from; none: all of them."""
        return [WORKLOADS[name] for name in self.workloads]


AS_DRAWN = Where()
BATCHES = ("a_batch_is_seen_to_its_end", "a_batch_of_many_chunks")
AGENTS = ("agents_use_tools",)
HANDLERS = ("a_handler_works",)
ORDERS = ("a_handler_orders_a_batch",)
#: The leader stands still for longer than it is trusted, and another one takes over.
FROZEN = Where(
    rates={"freeze": 0.03},
    profile={"instances": 2, "freezes": ((6.0, 40, 30.0), (14.0, 80, 30.0), (22.0, 20, 30.0)), "faults_last": 120.0},
    workloads=BATCHES,
)
#: The same in the middle of an upload, which goes on when the leader wakes.
UPLOADING = Where(
    rates={"freeze": 0.03, "dragging": 0.7},
    profile={
        "instances": 2,
        "freezes": ((5.0, 5, 90.0), (12.0, 5, 90.0)),
        "faults_last": 120.0,
        "request_timeout": 600.0,
    },
    pace={"settle": 20.0},
    workloads=BATCHES,
)
LOST_ANSWERS = Where(faults=LOST_CREATES, workloads=BATCHES)
UNKNOWN_COMMITS = Where(rates={"unknown": 0.2}, pace={"write_rows": 2}, workloads=BATCHES)
DYING = Where(rates={"die_before": 0.03, "die_after": 0.03}, workloads=BATCHES)
DYING_AGENTS = Where(rates={"die_before": 0.01, "die_after": 0.03}, profile={"instances": 2}, workloads=AGENTS)
