"""Which error an answer is."""

from __future__ import annotations

import pytest
from tests.providers.anthropic_fake import error, html

from backburner.errors import (
    BatchNotFound,
    ProviderPaused,
    ProviderUnavailable,
    ResultsGone,
    SubmissionRefused,
    SubmissionTooLarge,
    SubmissionUnknown,
)
from backburner.providers.anthropic_errors import (
    Answer,
    batch_error,
    listing_error,
    results_error,
    submission_error,
)


def answer(response) -> Answer:
    return Answer(status=response.status_code, headers=response.headers, body=response.content)


SUBMISSIONS = [
    (error(400, "invalid_request_error"), SubmissionRefused),
    (html(400), SubmissionRefused),
    (error(400, "invalid_request_error", code="organization_on_hold"), ProviderPaused),
    (error(400, "invalid_request_error", "You have reached the spend limit you set yourself."), ProviderPaused),
    (error(400, "invalid_request_error", "Your credit balance is too low to access the API."), ProviderPaused),
    (error(400, "request_too_large"), SubmissionTooLarge),
    (error(401, "authentication_error"), ProviderPaused),
    (error(402, "billing_error"), ProviderPaused),
    (error(403, "permission_error"), ProviderPaused),
    (html(403), ProviderPaused),
    (error(404, "not_found_error"), ProviderPaused),
    (html(404), ProviderPaused),
    (html(405), ProviderPaused),
    (html(407), ProviderPaused),
    (html(408), SubmissionUnknown),
    (error(409, "conflict_error"), SubmissionUnknown),
    (html(410), SubmissionRefused),
    (error(413, "request_too_large"), SubmissionTooLarge),
    (html(413), SubmissionTooLarge),
    (error(422, "invalid_request_error"), SubmissionRefused),
    (html(425), SubmissionUnknown),
    (error(429, "rate_limit_error", retry_after="7"), ProviderUnavailable),
    (error(429, "rate_limit_error", code="ramp_limit_exceeded"), ProviderUnavailable),
    (error(429, "rate_limit_error", code="enforced_spend_limit_reached"), ProviderPaused),
    (error(429, "rate_limit_error", code="contract_spend_limit_reached"), ProviderPaused),
    (html(431), SubmissionRefused),
    (html(499), SubmissionUnknown),
    (error(500, "api_error"), SubmissionUnknown),
    (html(502), SubmissionUnknown),
    (html(503), SubmissionUnknown),
    (error(504, "timeout_error"), SubmissionUnknown),
    (html(520), SubmissionUnknown),
    (error(529, "overloaded_error"), ProviderUnavailable),
    (html(302), SubmissionUnknown),
    (html(307), SubmissionUnknown),
]


@pytest.mark.parametrize(("response", "kind"), SUBMISSIONS)
def test_an_unsuccessful_submission_claims_no_more_than_is_certain(response, kind):
    failure = submission_error(answer(response))
    assert (type(failure), failure.status) == (kind, response.status_code)


QUESTIONS = [
    (error(400, "invalid_request_error"), ProviderUnavailable),
    (error(400, "invalid_request_error", code="organization_on_hold"), ProviderPaused),
    (error(401, "authentication_error"), ProviderPaused),
    (error(402, "billing_error"), ProviderPaused),
    (error(403, "permission_error"), ProviderPaused),
    (error(404, "not_found_error"), BatchNotFound),
    (html(404), BatchNotFound),
    (html(405), ProviderPaused),
    (error(409, "conflict_error"), ProviderUnavailable),
    (html(410), ResultsGone),
    (error(429, "rate_limit_error"), ProviderUnavailable),
    (error(429, "rate_limit_error", code="enforced_spend_limit_reached"), ProviderPaused),
    (error(500, "api_error"), ProviderUnavailable),
    (html(502), ProviderUnavailable),
    (html(503), ProviderUnavailable),
    (error(529, "overloaded_error"), ProviderUnavailable),
    (html(307), ProviderUnavailable),
]


@pytest.mark.parametrize(("response", "kind"), QUESTIONS)
def test_an_unanswered_question_about_a_batch_can_be_asked_again_unless_a_person_must_act(response, kind):
    assert type(batch_error(answer(response))) is kind


def test_results_that_are_gone_are_told_from_results_not_there_yet():
    assert type(results_error(answer(html(410)))) is ResultsGone
    assert type(results_error(answer(html(404)))) is BatchNotFound


def test_a_listing_that_does_not_exist_means_a_wrong_address():
    assert type(listing_error(answer(html(404)))) is ProviderPaused
    assert type(listing_error(answer(html(500)))) is ProviderUnavailable


def test_an_error_says_what_the_provider_said():
    failure = submission_error(answer(error(429, "rate_limit_error", "Slow down", "ramp_limit_exceeded")))
    assert str(failure) == "HTTP 429 rate_limit_error: Slow down"
    assert failure.code == "ramp_limit_exceeded"


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"error":"x"}', b'{"error":{"message":5,"details":[]}}', b"\xff"])
def test_an_error_without_envelope_is_still_an_error(body):
    assert str(submission_error(Answer(status=400, headers={}, body=body))) == "HTTP 400: no reason given"


@pytest.mark.parametrize(
    ("headers", "seconds"), [({}, None), ({"retry-after": "7"}, 7.0), ({"retry-after-ms": "250"}, 0.25)]
)
def test_the_providers_wish_to_wait_goes_with_the_error(headers, seconds):
    failure = submission_error(Answer(status=429, headers=headers, body=b""))
    assert isinstance(failure, ProviderUnavailable)
    assert failure.retry_after == seconds
