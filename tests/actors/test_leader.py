"""The leader actor in one term: trust, duties and how the term ends, under virtual time."""

from __future__ import annotations

from random import Random

import attrs
import pytest
import trio
from tests.actors.office import FakeLeadership, Place, duties_of, leader_of, running

from backburner.actors.leader import Leader
from backburner.clock import TrioClock
from backburner.errors import LeadershipLost, StorageUnavailable
from backburner.leadership import Mandate
from backburner.model import Term


async def test_duties_end_ten_seconds_after_the_start_of_the_last_good_heartbeat(autojump_clock):
    office = FakeLeadership(Place())
    async with running(leader_of(office)):
        await trio.sleep(7)  # heartbeats at 0, 3 and 6
        office.answers = False
        await trio.sleep(13)
    assert office.place.events[:3] == [(0, "a on duty"), (16, "a off duty"), (16, "a resigned: not confirmed in time")]


async def test_a_slow_answer_does_not_stretch_trust(autojump_clock):
    office = FakeLeadership(Place(), heartbeat_takes=2)
    async with running(leader_of(office)):
        await trio.sleep(7.5)  # heartbeats from 0 to 2 and from 5 to 7
        office.answers = False
        await trio.sleep(10)
    assert office.place.events[:2] == [(2, "a on duty"), (15, "a off duty")]


async def test_a_refused_heartbeat_ends_the_duties_at_once(autojump_clock):
    office = FakeLeadership(Place())
    async with running(leader_of(office)):
        await trio.sleep(1)
        office.valid = False
        await trio.sleep(3)
        office.valid = True
    assert office.place.events[:3] == [(0, "a on duty"), (3, "a off duty"), (3, "a resigned: heartbeat refused")]


async def test_duties_do_not_begin_before_a_heartbeat_has_confirmed_the_term(autojump_clock):
    office = FakeLeadership(Place(), valid=False)
    async with running(leader_of(office)):
        await trio.sleep(0.1)
    assert office.place.events == [(0, "a resigned: heartbeat refused")]


async def test_trust_is_counted_from_a_heartbeat_and_not_from_a_slow_campaign(autojump_clock):
    office = FakeLeadership(Place(), campaign_takes=9)
    async with running(leader_of(office)):
        await trio.sleep(9.5)
        office.answers = False
        await trio.sleep(15)
    assert office.place.events[:2] == [(9, "a on duty"), (19, "a off duty")]


async def test_leadership_lost_in_a_duty_ends_the_term_and_the_next_one_begins(autojump_clock):
    office = FakeLeadership(Place())

    async def duties(mandate: Mandate) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(duties_of(office.place), mandate)
            await trio.sleep(2)
            if mandate.term.epoch == 1:
                raise LeadershipLost("fenced off")

    leader = leader_of(office, duties)
    async with running(leader):
        await trio.sleep(5)
        assert leader.term == Term(epoch=2, term_id="term-2", instance_id="a")
    assert office.place.events[1:3] == [(2, "a off duty"), (2, "a resigned: a duty found the term over")]


async def test_a_bug_in_a_duty_stops_the_actor_loudly_and_frees_the_office(autojump_clock):
    office = FakeLeadership(Place())

    async def duties(mandate: Mandate) -> None:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with running(leader_of(office, duties)):
            await trio.sleep(1)
    assert office.place.holder is None


async def test_duties_that_return_keep_the_office(autojump_clock):
    office = FakeLeadership(Place())

    async def duties(mandate: Mandate) -> None:
        await trio.sleep(1)

    leader = leader_of(office, duties)
    async with running(leader):
        await trio.sleep(60)
        assert (leader.is_leader, office.place.epoch) == (True, 1)


async def test_a_suspended_host_finds_its_mandate_over_when_it_wakes(autojump_clock):
    @attrs.define
    class BootClock(TrioClock):
        suspended: float = 0.0

        def monotonic(self) -> float:
            return trio.current_time() + self.suspended

    office, clock, checks = FakeLeadership(Place()), BootClock(), []

    async def duties(mandate: Mandate) -> None:
        mandate.check()
        await trio.sleep(1)
        clock.suspended = 60
        try:
            mandate.check()
        except LeadershipLost:
            checks.append("lost")
        await duties_of(office.place)(mandate)

    leader = Leader(leadership=office, duties=duties, clock=clock, random=Random(1))
    async with running(leader):
        await trio.sleep(2.5)
        assert (checks, leader.is_leader) == (["lost"], False)
        await trio.sleep(1)
    assert office.place.events[:3] == [
        (1, "a on duty"),
        (3, "a off duty"),
        (3, "a resigned: the host was suspended"),
    ]


async def test_a_mandate_is_over_when_its_term_is(autojump_clock):
    mandates = []

    async def duties(mandate: Mandate) -> None:
        mandates.append(mandate)
        await trio.sleep_forever()

    async with running(leader_of(FakeLeadership(Place()), duties)):
        await trio.sleep(1)
        mandates[0].check()
    with pytest.raises(LeadershipLost, match="Term 1 "):
        mandates[0].check()


@attrs.define
class Objection:
    """What is said against leading; an error is raised."""

    found: str | Exception | None = None

    async def __call__(self) -> str | None:
        await trio.lowlevel.checkpoint()
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


async def test_an_objection_ends_the_term_and_no_other_begins_until_it_is_gone(autojump_clock):
    office, objection = FakeLeadership(Place()), Objection()
    leader = leader_of(office, objection=objection)
    async with running(leader):
        await trio.sleep(4)
        objection.found = "the schema is newer"
        await trio.sleep(60)
        assert (leader.is_leader, leader.refusal) == (False, "the schema is newer")
        assert office.place.events == [
            (0, "a on duty"),
            (6, "a off duty"),
            (6, "a resigned: the schema is newer"),
        ]
        objection.found = None
        await trio.sleep(5)
        assert (leader.is_leader, leader.refusal) == (True, None)


async def test_no_duty_begins_under_an_objection(autojump_clock):
    office = FakeLeadership(Place())
    async with running(leader_of(office, objection=Objection("unfit"))):
        await trio.sleep(30)
    assert office.place.events == [(0, "a resigned: unfit")]


async def test_an_objection_that_cannot_be_asked_for_changes_nothing(autojump_clock):
    leader = leader_of(FakeLeadership(Place()), objection=Objection(StorageUnavailable("away")))
    async with running(leader):
        await trio.sleep(30)
        assert (leader.is_leader, leader.refusal) == (True, None)
