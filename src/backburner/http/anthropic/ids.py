"""Ids of jobs as ids of message batches, and back. Nothing is stored: one is written as the other."""

from __future__ import annotations

import uuid

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # in the order of their codes
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_PREFIX = "msgbatch_01"
_LENGTH = 22  # digits of a UUID
_JOB = "job-"


def batch_id_of(job_id: str) -> str:
    """`msgbatch_01` and the UUID of the job's id in 22 digits of base 62, so that batches sort as jobs do."""
    value = uuid.UUID(job_id.removeprefix(_JOB)).int
    digits = ""
    for _ in range(_LENGTH):
        value, digit = divmod(value, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return _PREFIX + digits


def job_id_of(batch_id: str) -> str | None:
    """The id of the job; None for what is not such an id."""
    digits = batch_id.removeprefix(_PREFIX)
    if len(batch_id) != len(_PREFIX) + _LENGTH or len(digits) != _LENGTH or not _VALUES.keys() >= set(digits):
        return None
    value = 0
    for digit in digits:
        value = value * len(_DIGITS) + _VALUES[digit]
    return None if value >= 1 << 128 else f"{_JOB}{uuid.UUID(int=value)}"
