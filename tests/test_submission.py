"""Which batch goes next, what an account takes, and what follows from a lost answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

from backburner.errors import ProviderPaused, ProviderUnavailable, SubmissionUnknown
from backburner.model import Counts
from backburner.providers.base import BatchView
from backburner.submission import (
    ACTIVE,
    PAUSED,
    PROBE_CAP,
    WAITING,
    Account,
    Adopt,
    Candidate,
    LookAgain,
    Quarantine,
    Resend,
    choose,
    holds_back,
    verdict,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
A_WHILE = timedelta(minutes=5)


def candidate(key: int, organization: int = 1, items: int = 10) -> Candidate:
    return Candidate(key=key, organization_key=organization, provider="p", item_count=items)


def view(name: str = "b") -> BatchView:
    return BatchView(
        provider_batch_id=name, status="ended", ended=True, canceling=False, counts=Counts(), created_at=NOW,
        results_ready=True, results_gone=False, raw=b"",
    )  # fmt: skip


def test_the_organization_with_the_fewest_items_at_the_provider_goes_next():
    both = [candidate(1, organization=1), candidate(2, organization=2)]
    assert choose(both, {}, most_queued=100) == both[0]
    assert choose(both, {1: 10}, most_queued=100) == both[1]
    assert choose(both, {1: 10, 2: 10}, most_queued=100) == both[0]


def test_what_does_not_fit_is_waited_for():
    assert choose([candidate(1, items=60), candidate(2, organization=2, items=1)], {2: 50}, most_queued=100) is None
    assert choose([candidate(1, items=60)], {}, most_queued=50) == candidate(1, items=60)
    assert choose([], {}, most_queued=50) is None


def test_an_account_that_is_paused_is_probed_ever_more_seldom():
    account, waits = Account(), []
    for _ in range(8):
        until = account.failed(ProviderPaused("no key", status=403), NOW, Random(0))
        waits.append((until - NOW).total_seconds())
    assert (account.state, account.reason, waits[:3], waits[-1]) == (PAUSED, "no key", [60, 120, 240], PROBE_CAP)
    assert not account.is_open(NOW)
    assert account.is_open(NOW + timedelta(seconds=PROBE_CAP))
    assert account.succeeded() is True
    assert account == Account()
    assert account.succeeded() is False


def test_an_account_waits_as_long_as_the_provider_wishes():
    account = Account()
    until = account.failed(ProviderUnavailable("busy", retry_after=30), NOW, Random(0))
    assert 30 <= (until - NOW).total_seconds() <= 37.5
    assert account.state == WAITING
    account.failed(SubmissionUnknown("lost"), NOW, Random(0))
    assert account.retry_at is not None
    assert account.retry_at - NOW < timedelta(seconds=6)


def test_polls_clear_only_what_polls_can_tell():
    for error, cleared in ((ProviderPaused("key", status=401), True), (ProviderPaused("money", status=402), False)):
        account = Account()
        account.failed(error, NOW, Random(0))
        assert account.poll_answered() is cleared
    account = Account()
    assert account.poll_answered() is False
    assert account.poll_refused(ProviderPaused("x", status=403), NOW, Random(0)) is True
    assert account.poll_refused(ProviderPaused("x", status=403), NOW, Random(0)) is False
    assert account.poll_answered() is True
    assert account.state == ACTIVE


def test_one_candidate_is_adopted_and_none_means_that_nothing_was_made_after_a_while():
    def of(candidates, since_attempt, age=A_WHILE, looks=5):
        return verdict(candidates, since_attempt=since_attempt, looks=looks, age=age, settle=120.0, interval=60.0)

    assert of([view()], 0) == Adopt(view())
    assert of([], 0) == LookAgain(30.0)
    assert of([], 110) == LookAgain(10.0)
    assert of([], 120, looks=1) == LookAgain(30.0)
    assert of([], 120, looks=2) == Resend()
    assert of([view("a"), view("b")], 500) == LookAgain(60.0)
    assert of([view("a"), view("b")], 500, timedelta(hours=27)) == Quarantine()


def test_a_submission_holds_back_its_size_for_minutes_whatever_the_clocks_say():
    for minutes, held in ((0, True), (9, True), (11, False), (60 * 24, False), (-1, True), (-60, False)):
        assert holds_back(NOW - timedelta(minutes=minutes), NOW) is held
