"""Faults: how they are written, and when they happen."""

from __future__ import annotations

import pytest
from tests.providers.sandbox.account import BATCHES, new_sandbox, plain

from backburner.providers.sandbox.faults import FaultRule, Faults, parse_fault


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("create:lost_response@1", FaultRule(endpoint="create", fault="lost_response", when="1")),
        ("retrieve:429=7.5@3-5", FaultRule(endpoint="retrieve", fault="429", argument="7.5", when="3-5")),
        ("*:529@p0.5x3#2", FaultRule(endpoint="*", fault="529", when="p0.5", count=3, batch="2")),
        ("results:drop=2x1", FaultRule(endpoint="results", fault="drop", argument="2", count=1)),
        (
            "status:foreign_results_url=http://10.0.0.1:8/x@every4",
            FaultRule(endpoint="status", fault="foreign_results_url", argument="http://10.0.0.1:8/x", when="every4"),
        ),
        ("*:404:anthropic-beta", FaultRule(endpoint="*", fault="404", header="anthropic-beta")),
        (
            "create:403@2-x1:anthropic-workspace-id=wrkspc_2",
            FaultRule(
                endpoint="create", fault="403", when="2-", count=1, header="anthropic-workspace-id", value="wrkspc_2"
            ),
        ),
    ],
)
def test_a_rule_is_written_in_one_line(text, rule):
    assert parse_fault(text) == rule


@pytest.mark.parametrize(
    "text",
    [
        "create",
        "create:",
        "nowhere:500",
        "create:no_such_fault",
        "create:500@x",
        "list:500@p",
        "list:drip=x",
        "create:cut_body=x",
        "create:403:",
    ],
)
def test_a_line_that_is_no_rule_is_refused_with_the_reason(text):
    with pytest.raises(ValueError, match=text.partition(":")[0]):
        parse_fault(text)


@pytest.mark.parametrize(
    ("when", "calls"),
    [
        ("", [1, 2, 3, 4, 5, 6]),
        ("@2", [2]),
        ("@2-3", [2, 3]),
        ("@4-", [4, 5, 6]),
        ("@every3", [3, 6]),
        ("x2", [1, 2]),
        ("@every2x1", [2]),
    ],
)
def test_a_rule_fires_in_the_calls_that_it_names(when, calls):
    faults = Faults(seed=0)
    rule = faults.add(f"list:500{when}")
    assert [call for call in range(1, 7) if faults.fire("list", 1, "") == [rule]] == calls


def test_chance_is_the_same_for_the_same_seed():
    def fired(seed):
        faults = Faults(seed)
        faults.add("list:500@p0.5")
        return [bool(faults.fire("list", 1, "")) for _ in range(64)]

    assert fired(1) == fired(1) != fired(2)
    assert 16 < sum(fired(1)) < 48


def test_a_rule_for_one_batch_counts_only_calls_for_that_batch():
    faults = Faults(seed=0)
    rule = faults.add("retrieve:404@2#7")
    assert [faults.fire("retrieve", sequence, "") for sequence in (7, 8, 7, 8)] == [[], [], [rule], []]


@pytest.mark.parametrize(
    ("rule", "hit"), [("*:403:x-a", ["1", "2"]), ("*:403:x-a=2", ["2"]), ("*:403", ["1", "2", None])]
)
def test_a_rule_for_a_header_counts_only_calls_that_have_it(rule, hit):
    faults = Faults(seed=0)
    faults.add(rule)
    calls = {value: {"x-other": "2"} | ({"x-a": value} if value else {}) for value in ("1", "2", None)}
    assert [value for value, headers in calls.items() if faults.fire("list", 1, "", headers)] == hit


async def test_faults_can_be_taken_back(autojump_clock):
    engine = new_sandbox()
    rule = engine.faults.add("list:500")
    engine.faults.add("list:529")
    async with plain(engine) as client:
        assert (await client.get(BATCHES)).status_code == 500
        engine.faults.remove(rule)
        assert (await client.get(BATCHES)).status_code == 529
        engine.faults.clear()
        assert (await client.get(BATCHES)).status_code == 200
