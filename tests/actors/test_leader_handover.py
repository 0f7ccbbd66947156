"""How the office passes from one instance to another, under virtual time."""

from __future__ import annotations

from random import Random

import trio
from tests.actors.office import FakeLeadership, Place, leader_of, running


async def test_a_follower_takes_over_at_once_when_told(autojump_clock):
    place = Place()
    a, b = leader_of(FakeLeadership(place, "a")), leader_of(FakeLeadership(place, "b"))
    async with trio.open_nursery() as nursery:
        await nursery.start(a.run)
        await trio.sleep(5)
        await nursery.start(b.run)
        await trio.sleep(5)
        a.release()
        await a.retire()
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert place.events[:4] == [
        (0, "a on duty"),
        (10, "a off duty"),
        (10, "a resigned: shut down"),
        (10, "b on duty"),
    ]


async def test_a_follower_that_is_not_told_takes_over_within_one_interval_and_a_half(autojump_clock):
    place = Place()
    a, b = FakeLeadership(place, "a", notifies=False), FakeLeadership(place, "b")
    async with trio.open_nursery() as nursery:
        await nursery.start(leader_of(a).run)
        await trio.sleep(1)
        await nursery.start(leader_of(b).run)
        a.refusal, a.valid = "broken", False
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    [taken_over] = [at for at, event in place.events if event == "b on duty"]
    assert 3 < taken_over <= 4.5


async def test_the_office_is_given_back_after_everything_else_when_it_is_released(autojump_clock):
    office = FakeLeadership(Place())
    leader = leader_of(office)
    async with trio.open_nursery() as nursery:
        await nursery.start(leader.run)
        await trio.sleep(1)
        await leader.retire()
        office.place.note("drained")
        await trio.sleep(20)  # longer than trust: heartbeats go on
        assert leader.is_leader
        leader.release()
    assert office.place.events == [
        (0, "a on duty"),
        (1, "a off duty"),
        (1, "drained"),
        (21, "a resigned: shut down"),
    ]


async def test_an_office_that_nobody_releases_is_given_back_after_the_grace(autojump_clock):
    office = FakeLeadership(Place())
    leader = leader_of(office, drain_grace=7.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(leader.run)
        await trio.sleep(1)
        await leader.retire()
    assert office.place.events[-1] == (8, "a resigned: shut down")


async def test_a_follower_retires_at_once(autojump_clock):
    leader = leader_of(FakeLeadership(Place(holder="another")))
    async with trio.open_nursery() as nursery:
        await nursery.start(leader.run)
        await trio.sleep(0.1)
        await leader.retire()
    assert trio.current_time() == 0.1


async def test_retiring_before_the_first_campaign_never_leads(autojump_clock):
    office = FakeLeadership(Place())
    leader = leader_of(office)
    async with trio.open_nursery() as nursery:
        leader.release()
        nursery.start_soon(leader.retire)
        nursery.start_soon(leader.run)
    assert "a on duty" not in [event for _, event in office.place.events]


async def test_a_cancelled_leader_still_resigns_after_its_duties(autojump_clock):
    office = FakeLeadership(Place())
    async with running(leader_of(office)):
        await trio.sleep(1)
    assert office.place.events == [(0, "a on duty"), (1, "a off duty"), (1, "a resigned: cancelled")]


async def test_stepping_down_lets_another_instance_lead(autojump_clock):
    place = Place()
    a, b = leader_of(FakeLeadership(place, "a")), leader_of(FakeLeadership(place, "b"))
    async with running(a):
        await trio.sleep(1)
        async with running(b):
            assert a.step_down() is True
            await trio.sleep(30)
            assert (a.is_leader, b.is_leader) == (False, True)
            assert a.step_down() is False
    assert place.events[:4] == [
        (0, "a on duty"),
        (1, "a off duty"),
        (1, "a resigned: asked to step down"),
        (1, "b on duty"),
    ]


async def test_stepping_down_alone_leads_again_after_a_pause(autojump_clock):
    office = FakeLeadership(Place())
    leader = leader_of(office)
    async with running(leader):
        await trio.sleep(1)
        leader.step_down()
        await trio.sleep(9.9)
        assert not leader.is_leader
        await trio.sleep(0.2)
        assert leader.is_leader


async def test_two_leaders_never_overlap_whatever_the_heartbeats_do(autojump_clock):
    place, random = Place(), Random(7)
    offices = [FakeLeadership(place, name) for name in "abc"]

    async def evict() -> None:
        """The database's side: frees the place when its holder has been silent for longer than trust."""
        while True:
            await trio.sleep(random.uniform(5, 30))
            for office in [office for office in offices if office.name == place.holder]:
                office.answers = False
                await trio.sleep(15)
                office.answers = True
                if place.holder == office.name:
                    place.vacate()

    async with running(*map(leader_of, offices)) as nursery:
        nursery.start_soon(evict)
        await trio.sleep(3600)
    shifts = [event.split()[1] for _, event in place.events if event.endswith("duty")]
    assert shifts == ["on", "off"] * (len(shifts) // 2)
    assert place.epoch > 50
