"""What a conversation costs by the prices that its owner names."""

from __future__ import annotations

import msgspec
import pytest

from backburner.agent_options import AgentOptions, Prices, agent_of, cost_of, kept
from backburner.model import Usage
from backburner.rounds import COST_LIMIT, exceeded

MILLION = 1_000_000
READ = Usage(cache_read_input_tokens=MILLION)
WRITTEN = Usage(cache_creation_input_tokens=MILLION)


@pytest.mark.parametrize(
    ("prices", "usage", "dollars"),
    [
        (Prices(input=3, output=15), Usage(input_tokens=MILLION, output_tokens=2 * MILLION), 33),
        (Prices(input=3, output=15), WRITTEN, 6),
        (Prices(input=3, output=15), READ, 3),
        (Prices(input=3, output=15, cache_write=3.75, cache_read=0.3), WRITTEN, 3.75),
        (Prices(input=3, output=15, cache_write=3.75, cache_read=0.3), READ, 0.3),
        (Prices(input=3, output=15, cache_write=0, cache_read=0), READ, 0),
    ],
)
def test_a_price_that_is_not_named_counts_as_the_dearest_that_can_apply(prices, usage, dollars):
    assert prices.cost(usage) == pytest.approx(dollars)


@pytest.mark.parametrize("usage", [READ, WRITTEN])
def test_cached_tokens_count_towards_a_limit_in_dollars(usage):
    agent = AgentOptions(max_cost_usd=3.0, prices=Prices(input=3, output=15))
    assert exceeded(agent, round=1, used=usage) == COST_LIMIT


def test_options_are_kept_as_they_were_named():
    stored = kept(AgentOptions(prices=Prices(input=3, output=15)))
    assert stored["prices"] == {"input": 3, "output": 15}
    assert agent_of(msgspec.json.decode(msgspec.json.encode(stored))).prices == Prices(input=3, output=15)
    assert cost_of(stored, READ) == pytest.approx(3)
