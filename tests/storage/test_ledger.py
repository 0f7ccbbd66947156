"""The tool ledger and later rounds, on both databases."""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa
from tests.storage.both import NOW, Stock, later

from backburner.agent_options import AgentOptions, ToolSpec, kept
from backburner.commands import CallPlace, ResultPage, ResultRow, ToolFinished
from backburner.model import Job, Term, Usage
from backburner.states import ConversationState, JobStatus
from backburner.storage import batches, conversations, divisions, jobs, ledger, results, settle, submissions, turns
from backburner.storage.members import members
from backburner.storage.tables import conversations as talks
from backburner.storage.tables import organizations, users

AGENT = AgentOptions(tools=(ToolSpec(name="add"), ToolSpec(name="look", idempotent=True)))
TERM = Term(epoch=1, term_id="term", instance_id="here")


def asks(*names: str, item: int = 0, round: int = 1) -> str:  # noqa: A002  # the glossary's word
    uses = ",".join(
        f'{{"type":"tool_use","id":"toolu_{item}_{round}_{n}","name":"{name}","input":{{"a":1}}}}'
        for n, name in enumerate(names)
    )
    said = f'{{"content":[{uses}],"stop_reason":"tool_use","usage":{{"input_tokens":5,"output_tokens":2}}}}'
    return f'{{"type":"succeeded","message":{said}}}'


SAYS = '{"type":"succeeded","message":{"content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn"}}'


def agents(stock: Stock, items: int = 3) -> Job:
    """An agent job, its first round at the provider."""
    job = stock.job(items, chunk=items, agent=kept(AGENT))
    stock.submitted(job)
    return job


def answered(stock: Stock, batch_key: int, lines: dict[int, str], *, round: int = 1) -> None:  # noqa: A002  # the glossary's word
    """These answers come, and are decided."""
    batch = batches.get_batch(stock.tx, batch_key)
    settle.mark_ended(stock.tx, batch_key, {}, NOW)
    page = ResultPage(
        term=TERM,
        batch_key=batch_key,
        job_key=batch.job_key,
        round=round,
        rows=tuple(ResultRow(index, "succeeded", line) for index, line in lines.items()),
        counts=Counter(succeeded=len(lines)),
        usage=Usage(input_tokens=5 * len(lines)),
        byte_size=100,
        of_agents=True,
    )
    results.store_pages(stock.tx, [page], now=NOW)
    results.store_pages(stock.tx, [page], now=NOW)  # as after a lost answer of the database
    if len(lines) == batch.item_count:
        settle.mark_ingested(stock.tx, batch_key, NOW)
    conversations.decide_answers(stock.tx, limit=100, now=NOW, ids=stock.ids)


def finished(place: CallPlace, content: str = '"3"') -> ToolFinished:
    return ToolFinished(term=TERM, place=place, content=content, is_error=False, at=NOW)


def standing(stock: Stock) -> list[tuple[ConversationState, int]]:
    return [(row.state, row.round) for row in stock.tx.execute(sa.select(talks).order_by(talks.c.idx))]


def shown(stock: Stock, job: Job) -> Job:
    return jobs.get_job(stock.tx, 1, job.id)


S = ConversationState


def test_a_conversation_goes_from_answer_to_answer(stock: Stock):
    job = agents(stock)
    (first,) = stock.batches(job)
    answered(stock, first.key, {0: asks("add", "look"), 1: SAYS, 2: asks("add", item=2)})
    assert standing(stock) == [(S.TOOLS, 1), (S.DONE, 1), (S.TOOLS, 1)]
    assert (shown(stock, job).counts.succeeded, shown(stock, job).counts.processing) == (1, 2)
    begun = ledger.start_calls(stock.tx, limit=2, epoch=1, now=NOW)
    assert [(call.place.item, call.name) for call in begun] == [(0, "add"), (0, "look")]
    begun += ledger.start_calls(stock.tx, limit=9, epoch=1, now=NOW)
    assert ledger.finish_calls(stock.tx, [finished(call.place) for call in begun[:1]]) is False
    assert ledger.finish_calls(stock.tx, [finished(call.place) for call in begun]) is True
    assert standing(stock) == [(S.READY, 2), (S.DONE, 1), (S.READY, 2)]
    assert turns.plan_round(stock.tx, job.key, chunk_bytes=10**6, now=NOW, ids=stock.ids) == 1
    _, second = stock.batches(job)
    assert (second.round, second.item_count, second.first_index, second.last_index) == (2, 2, 0, 2)
    assert members(stock.tx, second.key) == [0, 2]
    assert shown(stock, job).batches.total == 2


def test_what_is_finished_is_kept_and_what_was_begun_is_found(stock: Stock):
    job = agents(stock, 1)
    (batch,) = stock.batches(job)
    answered(stock, batch.key, {0: asks("add", "look")})
    add, look = ledger.start_calls(stock.tx, limit=9, epoch=1, now=NOW)
    ledger.finish_calls(stock.tx, [finished(add.place)])
    ledger.finish_calls(stock.tx, [finished(add.place, '"other"')])
    (left,) = ledger.left_started(stock.tx, known=frozenset())
    assert (left.place, left.spec.idempotent, left.is_wanted, left.attempt) == (look.place, True, True, 1)
    assert ledger.left_started(stock.tx, known={look.place}) == []
    (again,) = ledger.take_on(stock.tx, [add.place, look.place], epoch=2, now=later(5))
    assert (again.place, again.attempt) == (look.place, 2)
    assert ledger.finish_calls(stock.tx, [finished(look.place)]) is True
    job_calls = stock.tx.execute(sa.text("SELECT result FROM tool_calls ORDER BY position")).scalars().all()
    assert job_calls == ['"3"', '"3"']


def test_every_job_gets_its_turn_with_tools(stock: Stock):
    found = [agents(stock, 2) for _ in range(2)]
    for job in found:
        answered(stock, stock.batches(job)[0].key, {0: asks("add", "add"), 1: asks("add")})
    begun = ledger.start_calls(stock.tx, limit=4, epoch=1, now=NOW)
    assert Counter(call.place.job_key for call in begun) == {job.key: 2 for job in found}


def second_organization(stock: Stock) -> None:
    stock.tx.execute(sa.insert(organizations).values(id=2, public_id="org-2", name="second", created_at=NOW))
    stock.tx.execute(sa.insert(users).values(id=2, public_id="user-2", organization_id=2, name="x", created_at=NOW))


def waiting(stock: Stock, calls: int, *, organization: int = 1) -> Job:
    """A job with one conversation that waits for so many tools."""
    job = stock.job(1, agent=kept(AGENT), organization_key=organization, user_key=organization)
    (batch,) = stock.submitted(job)
    answered(stock, batch.key, {0: asks(*["add"] * calls)})
    return job


def test_an_organization_has_no_more_places_than_are_free(stock: Stock):
    second_organization(stock)
    waiting(stock, 20)
    begun = ledger.start_calls(stock.tx, limit=16, epoch=1, now=NOW)
    assert len(begun) == 8
    assert ledger.start_calls(stock.tx, limit=8, epoch=1, now=NOW) == []
    waiting(stock, 20, organization=2)
    others = ledger.start_calls(stock.tx, limit=8, epoch=1, now=NOW)
    assert [call.organization_key for call in others] == [2] * 4
    ledger.finish_calls(stock.tx, [finished(call.place) for call in begun[:6]])
    more = ledger.start_calls(stock.tx, limit=10, epoch=1, now=NOW)
    assert Counter(call.organization_key for call in more) == {1: 4, 2: 1}


def test_the_only_organization_has_every_place(stock: Stock):
    waiting(stock, 20)
    assert len(ledger.start_calls(stock.tx, limit=16, epoch=1, now=NOW)) == 16


def test_organizations_take_turns_with_tools_however_many_jobs_they_have(stock: Stock):
    second_organization(stock)
    for _ in range(5):
        waiting(stock, 2)
    waiting(stock, 9, organization=2)
    begun = ledger.start_calls(stock.tx, limit=9, epoch=1, now=NOW)
    assert Counter(call.organization_key for call in begun) == {1: 3, 2: 3}


def test_a_cancelled_job_ends_what_waits_and_drops_what_was_not_begun(stock: Stock):
    job = agents(stock)
    (batch,) = stock.batches(job)
    answered(stock, batch.key, {0: asks("add", "look"), 1: SAYS, 2: asks("add", item=2)})
    (begun,) = ledger.start_calls(stock.tx, limit=1, epoch=1, now=NOW)
    after, done = jobs.cancel_job(stock.tx, 1, job.id, now=NOW, ids=stock.ids)
    assert (done, after.status, after.counts.canceled, after.counts.succeeded) == (True, JobStatus.CANCELLED, 2, 1)
    assert ledger.start_calls(stock.tx, limit=9, epoch=1, now=NOW) == []
    assert ledger.finish_calls(stock.tx, [finished(begun.place)]) is False


def test_a_batch_of_a_later_round_is_divided_and_refused_by_its_members(stock: Stock):
    job = agents(stock, 5)
    (batch,) = stock.batches(job)
    answered(stock, batch.key, {index: asks("add", item=index) if index % 2 == 0 else SAYS for index in range(5)})
    begun = ledger.start_calls(stock.tx, limit=9, epoch=1, now=NOW)
    ledger.finish_calls(stock.tx, [finished(call.place) for call in begun])
    turns.plan_round(stock.tx, job.key, chunk_bytes=10**6, now=NOW, ids=stock.ids)
    second = stock.batches(job)[1]
    batches.begin_attempt(stock.tx, second.key, epoch=1, now=NOW)
    sizes = batches.sizes_of_batch(stock.tx, second)
    assert [index for index, _ in sizes] == [0, 2, 4]
    divisions.divide(stock.tx, second.key, now=NOW, ids=stock.ids)
    _, one, two = stock.batches(job)
    assert (members(stock.tx, one.key), members(stock.tx, two.key)) == ([0], [2, 4])
    batches.begin_attempt(stock.tx, two.key, epoch=1, now=NOW)
    submissions.reject(stock.tx, two.key, error={"code": "no"}, now=NOW, ids=stock.ids)
    assert standing(stock) == [(S.ASKED, 2), (S.DONE, 1), (S.DONE, 2), (S.DONE, 1), (S.DONE, 2)]
    assert (shown(stock, job).counts.errored, shown(stock, job).counts.processing) == (2, 1)
