"""Who may be called now."""

from __future__ import annotations

import pytest

from backburner.delivery_slots import WAITING_PER_SLOT, DeliverySlots
from backburner.model import DueDelivery


def due(key: int, receiver: str = "a:443", organization: int = 1) -> DueDelivery:
    return DueDelivery(
        key=key,
        id=f"delivery-{key}",
        organization_key=organization,
        url="https://a/",
        receiver=receiver,
        body=b"{}",
        number=1,
        scheduled=1,
        secrets=(),
    )


@pytest.fixture
def slots() -> DeliverySlots:
    return DeliverySlots(total=8, per_receiver=4, per_organization=6)


def keys(started: list[DueDelivery]) -> list[int]:
    return [one.key for one in started]


def test_a_receiver_is_called_once_until_it_has_answered_then_up_to_its_limit(slots):
    slots.wait([due(key) for key in range(10)], start_before=100)
    assert keys(slots.start(0)) == [0]
    assert slots.start(0) == []
    slots.heard("a:443", prompt=True)
    assert keys(slots.start(0)) == [1, 2, 3]
    slots.finish(due(0))
    assert keys(slots.start(0)) == [4]
    assert slots.free == 4


def test_one_receivers_backlog_leaves_the_other_slots_free(slots):
    slots.wait([*(due(key) for key in range(50)), due(50, "b:443")], start_before=100)
    assert keys(slots.start(0)) == [0, 50]
    assert slots.busy_receivers() == {"a:443", "b:443"}
    slots.finish(due(50, "b:443"))
    assert slots.busy_receivers() == {"a:443"}


def test_an_organization_has_its_own_limit(slots):
    slots.wait([due(key, f"{key}:443", organization=7) for key in range(7)], start_before=100)
    assert keys(slots.start(0)) == [0, 1, 2, 3, 4, 5]
    assert slots.busy_organizations() == {7}
    slots.wait([due(8, "b:443", organization=8)], start_before=100)
    assert keys(slots.start(0)) == [8]
    slots.finish(due(0, "0:443", organization=7))
    assert slots.busy_organizations() == frozenset()
    assert keys(slots.start(0)) == [6]


def test_a_full_organization_does_not_block_a_receiver_that_others_use_too(slots):
    slots.heard("shared:443", prompt=True)
    slots.wait([due(key, f"{key}:443", organization=7) for key in range(6)], start_before=100)
    slots.wait([due(6, "shared:443", organization=7)], start_before=100)
    slots.start(0)
    assert "shared:443" not in slots.busy_receivers()
    slots.wait([due(8, "shared:443", organization=8)], start_before=100)
    assert keys(slots.start(0)) == [8]


def test_slow_receivers_share_a_quarter_of_the_slots(slots):
    for receiver in "abcd":
        slots.heard(receiver, prompt=False)
    slots.wait([due(key, receiver) for key, receiver in enumerate("abcd")], start_before=100)
    assert keys(slots.start(0)) == [0, 1]
    assert slots.busy_receivers() == {"a", "b", "c", "d"}
    slots.wait([due(9, "new")], start_before=100)
    assert keys(slots.start(0)) == [9]
    slots.heard("a", prompt=True)
    slots.finish(due(0, "a"))
    assert keys(slots.start(0)) == [2]


def test_a_receiver_that_becomes_slow_is_called_once_at_a_time_again(slots):
    slots.heard("a:443", prompt=True)
    slots.wait([due(0), due(1)], start_before=100)
    assert keys(slots.start(0)) == [0, 1]
    slots.heard("a:443", prompt=False)
    slots.finish(due(0))
    slots.wait([due(2)], start_before=100)
    assert slots.start(0) == []
    slots.finish(due(1))
    assert keys(slots.start(0)) == [2]


def test_what_has_waited_too_long_for_its_lease_is_let_go(slots):
    slots.wait([due(0), due(1)], start_before=30)
    slots.start(0)
    slots.heard("a:443", prompt=True)
    assert slots.start(31) == []
    assert slots.waiting == []


def test_what_waits_is_bounded(slots):
    slots.wait([due(key) for key in range(1000)], start_before=100)
    slots.start(0)
    assert len(slots.waiting) == 8 * WAITING_PER_SLOT


def test_a_delivery_that_is_still_being_recorded_is_not_begun_again(slots):
    slots.wait([due(0)], start_before=100)
    slots.start(0)
    slots.wait([due(0)], start_before=200)
    assert slots.waiting == []


def test_nothing_is_kept_of_receivers_that_are_not_being_called(slots):
    for key in range(10_000):
        slots.wait([due(key, f"{key}:443", organization=key)], start_before=100)
        slots.start(0)
        slots.heard(f"{key}:443", prompt=True)
        slots.finish(due(key, f"{key}:443", organization=key))
    assert (len(slots.prompt), slots.busy_receivers(), slots.busy_organizations()) == (4096, frozenset(), frozenset())
    assert (slots._of_receiver, slots._of_organization, slots.free) == ({}, {}, 8)
