"""What a tenant asks for in headers makes the provider refuse: its batches wait, and nobody else's."""

from __future__ import annotations

import pytest
import trio
from tests.scenes import HOOK
from tests.test_fairness import second_organization
from tests.world import open_world, params

from backburner.errors import ProviderPaused
from backburner.providers.sandbox.options import SandboxOptions
from backburner.states import JobStatus
from backburner.storage.batches import batches_of_job
from backburner.storage.facts import provider_states
from backburner.submission import Candidate, choose, is_about_options, special_options

OPTIONS = {"anthropic-version": "2023-06-01", "anthropic-workspace-id": "wrkspc_two"}
SECOND = {"organization_key": 2, "user_key": 2}
HOUR = 3600.0


@pytest.mark.parametrize("status", [403, 404])
async def test_a_refusal_for_a_tenants_options_holds_its_batches_and_not_the_account(status, autojump_clock):
    async with open_world() as world:
        await second_organization(world)
        world.sandbox.faults.add(f"create:{status}:anthropic-workspace-id")
        bad = [
            await world.submit([params("bad")], provider_options=OPTIONS, callback_url=HOOK, **SECOND) for _ in range(5)
        ]
        good = await world.submit([params(f"good {n}") for n in range(5)])
        async with world.instance() as system:
            await world.ended(system, good)
            assert trio.current_time() < 300
            await trio.sleep(HOUR)
            (state,) = await world.database.read(provider_states)
            assert state.state == "active"
            creates = [path for _, method, path in world.calls if (method, path) == ("POST", "/v1/messages/batches")]
            assert len(creates) < 12  # one is tried, ever more seldom, for all that have these options
            (batch,) = await world.database.read(batches_of_job, bad[-1].key)
            assert batch.error["code"] == "options_refused"
            assert (await world.job(bad[-1])).hold.code == "options_refused"
            world.sandbox.faults.clear()
            for job in bad:
                assert (await world.ended(system, job)).status is JobStatus.COMPLETED


async def test_a_poll_that_is_refused_for_a_tenants_options_pauses_nobody(autojump_clock):
    async with open_world() as world:
        await second_organization(world)
        async with world.instance() as system:
            theirs = await world.submit([params("theirs")], system=system, provider_options=OPTIONS, **SECOND)
            await trio.sleep(3)
            world.sandbox.faults.add("*:403:anthropic-workspace-id")
            await trio.sleep(30)
            good = await world.submit([params("good")], system=system)
            (state,) = await world.database.read(provider_states)
            assert state.state == "active"
            await world.ended(system, good)
            assert trio.current_time() < 180
            assert (await world.job(theirs)).status is JobStatus.RUNNING
            world.sandbox.faults.clear()
            assert (await world.ended(system, theirs)).status is JobStatus.COMPLETED


async def test_a_key_that_does_not_work_pauses_the_account_whatever_the_options(autojump_clock):
    async with open_world() as world:
        world.sandbox.faults.add("create:401")
        await world.submit([params("x")], provider_options=OPTIONS)
        async with world.instance():
            await trio.sleep(30)
            (state,) = await world.database.read(provider_states)
            assert state.state == "paused"


async def test_the_probe_of_a_paused_account_is_another_organizations(autojump_clock):
    """What one organization's batches are refused for does not keep the others waiting for ever."""
    async with open_world(options=SandboxOptions(batch_seconds=(60, 60), latency_seconds=1.0)) as world:
        await second_organization(world)
        first = await world.submit([params("first")])
        world.sandbox.faults.add("create:403@1x1")
        async with world.instance() as system:
            await trio.sleep(5)
            second = await world.submit([params("second")], system=system, **SECOND)
            await world.ended(system, second)
            keys = [await world.database.read(batches_of_job, job.key) for job in (second, first)]
            ((probe,), (later,)) = keys
            assert probe.submitted_at < later.submitted_at


def test_whose_probe_it_is():
    both = [Candidate(key=n, organization_key=n, provider="p", item_count=1) for n in (1, 2)]
    assert choose(both, {}, most_queued=9, rather_not=1) == both[1]
    assert choose(both[:1], {}, most_queued=9, rather_not=1) == both[0]


@pytest.mark.parametrize(
    ("options", "special"),
    [
        ({}, ()),
        ({"anthropic-version": "2026-10-21", "anthropic-beta": "message-batches-2024-09-24"}, ()),
        ({"anthropic-beta": "new"}, (("anthropic-beta", "new"),)),
        (OPTIONS, (("anthropic-workspace-id", "wrkspc_two"),)),
    ],
)
def test_what_every_client_sends_is_not_special(options, special):
    assert special_options(options) == special
    assert is_about_options(ProviderPaused("no", status=403), options) == bool(special)
    assert not is_about_options(ProviderPaused("no", status=401), options)
