"""Every storage function, called as the server calls it, beside whatever else is in the database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import sqlalchemy as sa
from tests.storage.both import NOW, Stock, later
from tests.storage.test_ledger import SAYS, agents, answered, asks, finished
from tests.storage.test_results import FAILED, LINE, apply, ended, page
from tests.storage.test_work import claim, queue

from backburner.commands import (
    BatchIngested,
    DeliveryAttempted,
    Polled,
    ReadFailed,
    Unchanged,
    WorkDeferred,
    WorkEnded,
    WorkProgressed,
)
from backburner.files import Part
from backburner.holds import Hold, HoldCode
from backburner.model import NewItem, PlannedBatch, Principal, SharedItem
from backburner.states import ACTIVE, BatchStatus, DeliveryStatus, ItemStatus, JobStatus, JobType
from backburner.storage import (
    absent,
    accounts,
    agent_requests,
    ahead,
    audit,
    batches,
    by_hand,
    candidates,
    conversations,
    deliveries,
    divisions,
    facts,
    feedback,
    fence,
    files,
    fitness,
    handler_jobs,
    holds,
    idempotency,
    items,
    job_lists,
    job_updates,
    jobs,
    ledger,
    live,
    local_keys,
    members,
    messages,
    migrate,
    overview,
    postgresql,
    quotas,
    repeats,
    results,
    runs,
    sandbox_store,
    settle,
    staging,
    step_calls,
    steps,
    submissions,
    tenants,
    turns,
    work,
)
from backburner.storage.apply import apply_free_commands
from backburner.storage.fence import fenced
from backburner.storage.handler_jobs import Child
from backburner.storage.pages import Cut
from backburner.storage.tables import provider_batches, requests
from backburner.storage.work_ends import apply_work

#: What reads history: `db check`, `db restored` and `doctor`, which an operator runs by hand, the start of a server
#: on SQLite, which looks through the Idempotency-Keys of the last days once, and the begin of a term with the sandbox
#: inside the servers, which reads what that has.
OPERATORS = {
    "idempotency.release_all",
    "doubt.doubt_submissions",
    "doubt.newest_change",
    "recount.jobs_after",
    "recount.recount",
    "sandbox_store.load",
    "troubles.troubles",
}
#: Those that ask nothing on one of the databases, or talk to the driver itself, which copies rows and reads none.
SILENT = {
    "sqlite": {
        "fitness.require_usable",
        "notifications.announce_jobs",
        "notifications.announce_step_down",
        "notifications.announce_work",
        "postgresql.begin_to_stream",
        "postgresql.insert_many",
        "postgresql.write_refusal",
        "work.by_shared_clock",
    },
    "postgresql": {"postgresql.begin_to_stream", "postgresql.insert_many", "sqlite.insert_many"},
}
OLD = "job-00000000-0000-7000-8000-000000000300"
OLD_AGENT = "job-00000000-0000-7000-8000-000000000301"
PAGE = Cut(limit=50)
LIST = {"limit": 50, "after": None, "before": None, "ascending": False}
ME = Principal(
    key_id="key-1",
    user_id="user-1",
    user_key=1,
    organization_id="org-1",
    organization_key=1,
    scopes=frozenset({"admin"}),
    is_operator=True,
)
QUOTAS = quotas.Quotas(open_jobs=1000, items_per_day=10**9, bytes_per_day=10**12)
HOOK = "http://x.test/hook"


def submitting(stock: Stock) -> None:
    tx, job = stock.tx, stock.job(9, chunk=3)
    first, second, third = stock.batches(job)
    fenced(tx, stock.term(), candidates.submittable, now=later(1))
    candidates.queued_items(tx, "sandbox")
    batches.begin_attempt(tx, first.key, epoch=1, now=NOW)
    batch = batches.get_batch(tx, first.key)
    batches.requests_of_batch(tx, batch, lambda index, params: (index, params))
    batches.provider_options(tx, job.key)
    batches.sizes_of_batch(tx, batch)
    submissions.set_unknown(tx, first.key, look_at=NOW, error=None)
    candidates.submittable(tx, now=later(1))
    submissions.unsettled_submissions(tx, "sandbox", now=NOW)
    submissions.not_candidates(tx, first.key, ["msgbatch_old1", "msgbatch_new"])
    submissions.rival_nonces(tx, first.key)
    submissions.may_be_taken(tx, first.key)
    submissions.quarantine(tx, first.key, error=None, look_at=NOW)
    batches.attach(
        tx, first.key, provider_batch_id="msgbatch_1", status="in_progress", response=b"{}", now=NOW, next_poll_at=NOW
    )
    submissions.rule_out(tx, first.key, ["msgbatch_1"], look_at=NOW)
    submissions.postpone(tx, first.key, until=NOW, error=None, now=NOW, ids=stock.ids)
    submissions.hold_back(tx, first.key, until=NOW, error={"code": "x"})
    for key in (second.key, third.key):
        batches.begin_attempt(tx, key, epoch=1, now=NOW)
    divisions.divide(tx, second.key, now=NOW, ids=stock.ids)
    submissions.reject(tx, third.key, error={"code": "x"}, now=NOW, ids=stock.ids)
    submissions.drop_if_stopping(tx, job.key, [second.key], now=NOW, ids=stock.ids)


def dividing(stock: Stock) -> None:
    tx, ids, job = stock.tx, stock.ids, stock.job(12, chunk=6)
    first, second = stock.batches(job)
    for batch in (first, second):
        batches.begin_attempt(tx, batch.key, epoch=1, now=NOW)
    divisions.refused(tx, first.key, error={"message": "no"}, now=NOW, ids=ids)
    divisions.go_on(tx, first.key, now=NOW, ids=ids)
    divisions.wake(tx, first.key, now=NOW)
    divisions.interrupted(tx, second.key, until=NOW, error={"code": "x"}, now=NOW, ids=ids)


def waiting(stock: Stock) -> None:
    tx, job = stock.tx, stock.job(3)
    stock.submitted(job)
    holds.waiting_jobs(tx, "sandbox")
    holds.changed_holds(tx, [job.key], "another", now=NOW)
    holds.set_holds(tx, {job.key: Hold(HoldCode.PROVIDER_ABSENT, NOW, "gone")}, now=NOW)
    holds.waiting_jobs(tx, "another")
    holds.denied_batches(tx, before=NOW)
    absent.absent_providers(tx, ["another"])
    other = stock.job(3)
    tx.execute(sa.update(provider_batches).where(provider_batches.c.job_id == other.key).values(provider="gone"))
    absent.move_planned(tx, "gone", "vanished", now=NOW)
    absent.end_batches(tx, "vanished", at_provider=True, now=NOW, ids=stock.ids)


def polling(stock: Stock) -> None:
    tx, term, job = stock.tx, stock.term(), stock.job(9, chunk=3, callback_url=HOOK)
    stock.submitted(job)
    batches.due_batches(tx, "sandbox", now=NOW, limit=100)
    batches.next_poll_time(tx, "sandbox")
    batches.next_poll_time(tx, "sandbox", (BatchStatus.PLANNED, *batches.UNSETTLED), after=NOW)
    batches.hopeless_batches(tx, now=NOW, lookback=timedelta(weeks=2), limit=100)
    batches.open_batch_counts(tx)
    settle.open_batches(tx, job.key)
    first, second, third = stock.batches(job)
    looked = {"provider_status": "in_progress", "response": b"{}", "polled_at": NOW, "next_poll_at": NOW}
    apply(stock, term, Polled(term=term, batch_key=first.key, failures=0, **looked))
    apply(stock, term, Unchanged(term=term, polled_at=NOW, due={NOW: [first.key, second.key]}))
    apply(stock, term, ended(term, first), page(term, first, _0=LINE, _1=FAILED))
    results.stored_indices(tx, job.key, 1, 0, 2)
    failed = {"reads": 1, "failures": 1, "next_poll_at": NOW, "error": None}
    apply(stock, term, ReadFailed(term=term, batch_key=first.key, **failed))
    apply(stock, term, page(term, first, _2=LINE), BatchIngested(term=term, batch_key=first.key, at=NOW))
    batches.give_up(tx, second.key, now=NOW, ids=stock.ids)
    batches.lose(tx, third.key, now=NOW, ids=stock.ids)
    batches.settled(tx, job.key, now=NOW, ids=stock.ids)
    items.list_items(tx, job, statuses=[ItemStatus.ERRORED], custom_id=None, **LIST)
    items.results_page(tx, job, statuses=(), after=-1, limit=100)
    items.requests_of(tx, job.key)
    items.position_of(tx, job.key, "item-1")
    items.retryable(tx, job, statuses=[ItemStatus.ERRORED], custom_ids=None, after=-1, limit=10)
    items.unknown_custom_ids(tx, job.key, ["item-1", "x"])
    results.job_ids_of(tx, [job.key])


def operating(stock: Stock) -> None:
    tx, job = stock.tx, stock.job(6, chunk=3)
    first, second = stock.batches(job)
    by_hand.list_batches(tx, statuses=(), cut=PAGE)
    by_hand.find_batch(tx, first.id)
    for batch in (first, second):
        batches.begin_attempt(tx, batch.key, epoch=1, now=NOW)
        submissions.set_unknown(tx, batch.key, look_at=NOW, error=None)
    by_hand.unresolved(tx)
    by_hand.look_now(tx, first.id, now=NOW)
    by_hand.adopt(tx, first.id, "msgbatch_mine", now=NOW)
    by_hand.abandon(tx, second.id, now=NOW, ids=stock.ids)
    stock.term()
    overview.overview(tx)
    overview.ask_to_step_down(tx)
    facts.set_provider(tx, facts.ProviderState(name="sandbox", state="paused", reason=None, retry_at=None), now=NOW)
    overview.pause(tx, now=NOW)
    overview.resume(tx, now=NOW)
    audit.list_audit(tx, within=1, chosen=audit.AuditFilter(), cut=PAGE)
    tried = {
        "principal": ME,
        "action": "job.create",
        "object_id": None,
        "address": None,
        "request_id": "req-1",
        "at": NOW,
    }
    audit.log_denial(tx, audit.new_entry(stock.ids, **tried))
    audit.sweep(tx, before=later(-(10**9)), most=10)
    migrate.outgrown(tx)
    if tx.dialect.name == "postgresql":
        fitness.require_usable(tx)
        postgresql.write_refusal(tx)
    migrate.schema_of(tx)
    ahead.is_too_far_ahead(tx, now=NOW, longest_look=ahead.LONGEST_LOOK)
    ahead.pull_back(tx, now=NOW, longest_look=ahead.LONGEST_LOOK)


def owning(stock: Stock) -> None:
    tx, ids = stock.tx, stock.ids
    accounts.has_keys(tx)
    accounts.bootstrap(tx, key_hash="x", prefix="bb_", webhook_secret="whsec_eA==", now=NOW, ids=ids)
    accounts.accept_key(tx, key_hash="y", prefix="bb_", now=NOW, ids=ids)
    accounts.principal_of(tx, "y", now=NOW)
    accounts.set_webhook_secret(tx, 1, "whsec_eQ==", now=NOW)
    accounts.signing_secret(tx, 1, now=NOW)
    made = tenants.create_organization(tx, name="o", webhook_secret="whsec_eA==", now=NOW, ids=ids)
    user = tenants.create_user(tx, organization_id=made.id, name="u", within=None, now=NOW, ids=ids)
    tenants.list_organizations(tx, within=None)
    accounts.list_users(tx, within=1)
    local_keys.make_local_key(tx, key_hash="local", prefix="bb_", name=None, ids=ids)
    key = accounts.create_key(
        tx, user_id=user.id, key_hash="z", prefix="bb_", scopes=["read"], name=None, expires_at=None, within=None,
        now=NOW, ids=ids,
    )  # fmt: skip
    accounts.list_keys(tx, within=None)
    accounts.note_uses(tx, {key.id: NOW})
    accounts.revoke_key(tx, key.id, within=None, now=NOW)
    live.usable_keys(tx, [key.id], now=NOW)


def making(stock: Stock) -> None:
    tx, ids = stock.tx, stock.ids
    plain = job_updates.make_plain_job(
        tx, stock.new_job(job_type=JobType.JOB, metadata={"a": "b"}, callback_url=HOOK), now=NOW, quotas=QUOTAS
    )
    quotas.check_room(tx, QUOTAS, 1, now=NOW)
    job_updates.update_job(
        tx,
        1,
        plain.id,
        {"metadata": {"c": "d"}},
        expected=lambda _: None,
        now=NOW,
        ids=ids,
    )
    attempt = repeats.Attempt(caller="key-1", body_hash="h", number=0, began=NOW)
    for _ in range(2):
        key = staging.draw_key(tx, now=NOW)
        staging.stage_items(tx, key, 0, [NewItem("a", "{}", 2)], now=NOW)
        planned = [PlannedBatch(ids.new("batch"), ids.nonce(), 0, 0, 2)]
        repeats.make_job_once(tx, attempt, key, stock.new_job(), planned, now=NOW, quotas=QUOTAS)
    dropped = staging.draw_key(tx, now=NOW)
    staging.stage_shared_items(tx, dropped, 0, [SharedItem("a", 0, 2)], now=NOW)
    staging.drop_key(tx, dropped)
    staging.loose_key_before(tx, later(60))
    staging.sweep_key(tx, dropped, most=10, before=later(60), now=NOW)
    use = idempotency.Use(caller="key-1", route="POST /v1/jobs", key="mine")
    held = idempotency.claim(tx, use, now=NOW)
    assert isinstance(held, idempotency.Claim)
    idempotency.touch(tx, held, now=NOW)
    idempotency.record(tx, idempotency.Record(held, "h"), idempotency.Answer(status=202, body=b"{}"))
    idempotency.claim(tx, use, now=NOW)
    idempotency.release(tx, held)
    idempotency.sweep(tx, now=later(-(10**9)), most=10)


def reading(stock: Stock) -> None:
    tx, job = stock.tx, jobs.get_job(stock.tx, 1, OLD)
    jobs.get_job(tx, None, OLD)
    for chosen in (
        job_lists.JobFilter(),
        job_lists.JobFilter(statuses=ACTIVE),
        job_lists.JobFilter(statuses=[JobStatus.FAILED], job_type=JobType.JOB),
        job_lists.JobFilter(agent_id="agent"),
        job_lists.JobFilter(metadata={"team": "a"}),
        job_lists.JobFilter(metadata={"team": "a"}, statuses=ACTIVE),
        job_lists.JobFilter(created_after=NOW),
    ):
        job_lists.list_jobs(tx, 1, chosen, **LIST)
    # Over all organizations, and in lists of runs, what matches an agent or metadata is sorted, all of it.
    for chosen in (
        job_lists.JobFilter(),
        job_lists.JobFilter(statuses=ACTIVE),
        job_lists.JobFilter(agent_id="rare"),
        job_lists.JobFilter(metadata={"team": "rare"}),
    ):
        job_lists.list_jobs(tx, None, chosen, **LIST)
    live.jobs_named(tx, [OLD])
    live.versions_of(tx, [OLD])
    live.versions_since(tx, 1, NOW)
    live.changed_after(tx, 1, NOW, OLD, limit=100)
    for span in (runs.RunSpan(), runs.RunSpan(agent_ids=["rare"]), runs.RunSpan(low=(OLD, 0))):
        runs.list_runs(tx, 1, span, limit=20)
        runs.list_steps(tx, 1, span, limit=20)
    batches.batches_of_job(tx, job.key)
    items.list_items(tx, job, statuses=[ItemStatus.SUCCEEDED], custom_id="a", **LIST)
    items.results_page(tx, job, statuses=[ItemStatus.SUCCEEDED], after=-1, limit=100)
    items.retryable(tx, job, statuses=[ItemStatus.ERRORED], custom_ids=None, after=-1, limit=100)
    steps.steps_of(tx, job, steps.Span(), limit=20, with_params=True)
    messages.list_messages(tx, job, messages.MessageSpan(), limit=20)
    messages.item_messages(tx, job, 0)
    step_calls.calls_of(tx, job.key, 0, 10)
    feedback.give_feedback(tx, job.key, 0, 1, feedback="positive", tags=["a"])
    deliveries.deliveries_of(tx, job.key)


def ending(stock: Stock) -> None:
    tx, ids = stock.tx, stock.ids
    stock.job(3, deadline_at=later(5))
    jobs.next_deadline(tx)
    jobs.past_deadline(tx, now=later(9), limit=10)
    jobs.expire_jobs(tx, now=later(9), limit=10, ids=ids)
    jobs.job_counts(tx)
    job = stock.job(3, callback_url=HOOK)
    jobs.cancel_job(tx, 1, job.id, now=NOW, ids=ids)
    deliveries.pending_deliveries(tx)
    deliveries.next_delivery_at(tx, busy_receivers={"y.test:80"})
    (due,) = deliveries.claim_deliveries(tx, now=NOW, lease_until=later(60), limit=10, busy_organizations={2})
    attempt = DeliveryAttempted(
        key=due.key, number=1, at=NOW, status_code=200, error=None, duration_ms=1, status=DeliveryStatus.DELIVERED,
        next_attempt_at=None,
    )  # fmt: skip
    apply_free_commands(tx, [attempt], ids=ids)
    deliveries.redeliver(tx, job.key, due.id, now=NOW)
    jobs.delete_job(tx, 1, job.id)
    jobs.delete_job(tx, 1, OLD)
    staging.loose_key_before(tx, later(1))
    staging.sweep_key(tx, 300, most=1000, before=later(1), now=NOW)


def talking(stock: Stock) -> None:
    tx, job, ids = stock.tx, agents(stock), stock.ids
    (first,) = stock.batches(job)
    tx.execute(sa.update(requests).where(requests.c.job_id == job.key).values(params='{"messages":[]}'))
    answered(stock, first.key, {0: asks("add", "look"), 1: SAYS, 2: asks("add", item=2)})
    begun = ledger.start_calls(tx, limit=2, epoch=1, now=NOW)
    ledger.left_started(tx, known=frozenset())
    ledger.take_on(tx, [begun[0].place], epoch=2, now=NOW)
    begun += ledger.start_calls(tx, limit=9, epoch=1, now=NOW)
    ledger.finish_calls(tx, [finished(call.place) for call in begun])
    turns.ready_jobs(tx)
    turns.plan_round(tx, job.key, chunk_bytes=10**6, now=NOW, ids=ids)
    _, second = stock.batches(job)
    members.members(tx, second.key)
    batches.sizes_of_batch(tx, second)
    batches.requests_of_batch(tx, second, lambda index, params: (index, params))
    agent_requests.request_of(tx, job.key, 0, 2)
    batches.begin_attempt(tx, second.key, epoch=1, now=NOW)
    divisions.divide(tx, second.key, now=NOW, ids=ids)
    settle.close_batch(tx, second.key, fill=ItemStatus.ERRORED, code=None, now=NOW, allowed={BatchStatus.PLANNED})
    jobs.stop_job(tx, job.key, "cancelled_by_user", now=NOW, ids=ids)
    conversations.decide_answers(tx, limit=100, now=NOW, ids=ids)


def working(stock: Stock) -> None:
    tx, ids = stock.tx, stock.ids
    made = [queue(stock, callback_url=HOOK) for _ in range(4)]
    work.next_due(tx, ["one", "two"], now=NOW)
    work.queue_figures(tx, now=NOW)
    first, second, *_ = claim(stock)
    work.renew(tx, [first.token], now=NOW, lease_until=later(60))
    work.stopping_of(tx, [first.token])
    work.is_claimed(tx, first.job_key)
    child = Child(made[0].id, "mine", first.token)
    key = staging.draw_key(tx, now=NOW)
    staging.stage_items(tx, key, 0, [NewItem("a", "{}", 2)], now=NOW)
    planned = [PlannedBatch(ids.new("batch"), ids.nonce(), 0, 0, 2)]
    handler_jobs.make_child(tx, child, key, stock.new_job(), planned, now=NOW)
    handler_jobs.child_of(tx, child)
    apply_work(
        tx,
        [
            WorkProgressed(job_key=first.job_key, token=first.token, at=NOW, progress={"done": 1}),
            WorkEnded(job_key=first.job_key, token=first.token, at=NOW, status=JobStatus.COMPLETED, reason="end_turn"),
            WorkDeferred(
                job_key=second.job_key, token=second.token, at=NOW, available_at=NOW, counts=True, error={"code": "x"}
            ),
        ],
        ids=ids,
    )
    work.recover(tx, now=later(99), ids=ids, expired_before=later(90))
    jobs.cancel_job(tx, 1, made[3].id, now=NOW, ids=ids)
    work.leave(tx, made[3].key)


def uploading(stock: Stock) -> None:
    tx, ids = stock.tx, stock.ids
    limits = files.FileLimits()
    made = files.create_file(tx, ME, name="a.jsonl", expected_bytes=None, sha256=None, limits=limits, now=NOW, ids=ids)
    files.put_part(tx, 1, made.id, Part(1, 2, "00"), b"{}", limits=limits, now=NOW)
    seen = files.get_file(tx, 1, made.id)
    files.list_files(tx, 1, PAGE)
    files.parts_of(tx, seen)
    files.piece_of(tx, seen.key, 1, 0)
    files.complete_file(tx, 1, seen, sha256=None, now=NOW)
    files.touch_file(tx, seen.key, now=NOW)
    files.expire_files(tx, before=later(-99), now=NOW)
    files.delete_file(tx, 1, made.id, now=NOW)
    files.sweep_parts(tx, most=10)


def simulating(stock: Stock) -> None:
    sandbox_store.add(stock.tx, 1, b"record", [b"page"])
    sandbox_store.replace(stock.tx, 1, b"another")
    sandbox_store.page(stock.tx, 1, 0)
    sandbox_store.delete(stock.tx, 1)


def leading(stock: Stock) -> None:
    term = stock.term()
    fence.current_leader(stock.tx)
    facts.is_polling(stock.tx)
    facts.get_fact(stock.tx, facts.LAST_CYCLE)
    facts.set_fact(stock.tx, facts.LAST_CYCLE, {}, now=NOW)
    facts.provider_states(stock.tx)
    fence.end_term(stock.tx, term, now=NOW, reason="test")


CALLS: tuple[Callable[[Stock], None], ...] = (
    submitting,
    dividing,
    waiting,
    polling,
    operating,
    owning,
    making,
    reading,
    ending,
    talking,
    working,
    uploading,
    simulating,
    leading,
)
