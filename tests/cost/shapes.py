"""Inputs of any size whose cost is known to tempt: each function makes one of about so many bytes."""

from __future__ import annotations

import gzip
import itertools
import string
from collections.abc import Callable, Iterator

Shape = Callable[[int], bytes]

GOOD = b'{"custom_id":"c%d","params":{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}}'


def _names() -> Iterator[bytes]:
    letters = string.ascii_lowercase
    for length in itertools.count(1):
        for name in itertools.product(letters, repeat=length):
            yield "".join(name).encode()


def names(size: int, *, around: int = 1) -> list[bytes]:
    """Short different names that take so many bytes in all, each with some around it."""
    found: list[bytes] = []
    left = size
    for name in _names():
        left -= len(name) + around
        if left < 0:
            return found
        found.append(name)
    raise AssertionError("there are enough names")


def keys(size: int) -> bytes:
    return b"{" + b",".join(b'"%b":1' % name for name in names(size, around=5)) + b"}"


def twice(size: int) -> bytes:
    """Many keys, the last one twice."""
    found = names(size, around=5)
    return b"{" + b",".join(b'"%b":1' % name for name in [*found, found[-1]]) + b"}"


def below_long_key(size: int) -> bytes:
    """Many values below a long name, the last of which no database holds."""
    return b'{"' + b"k" * (size // 2) + b'":[' + b"1," * (size // 4) + b'"\\u0000"]}'


JSON: dict[str, Shape] = {
    "a string that is not closed": lambda size: b'"' + b'\\"' * (size // 2),
    "a key given twice": twice,
    "values below a long key": below_long_key,
    "brackets": lambda size: b"[" * size,
    "lists": lambda size: b"[" + b"[]," * (size // 3) + b"1]",
    "text of NULs": lambda size: b"[" + b'"\\u0000",' * (size // 9) + b"1]",
    "escapes": lambda size: b'{"a":"' + b"\\n" * (size // 2) + b'"}',
    "digits": lambda size: b"1" * size,
    "an unknown field that looks like an error": lambda size: b'{"' + b" - at `$" * (size // 8) + b'":1}',
}
#: As the value of a known field.
VALUES: dict[str, Shape] = {
    "texts": lambda size: b"[" + b'"a",' * (size // 4) + b'"b"]',
    "keys": keys,
    "a text": lambda size: b'"' + b"x" * size + b'"',
}


def good_lines(size: int) -> bytes:
    return b"\n".join(GOOD % number for number in range(size // len(GOOD)))


def item(params: bytes) -> bytes:
    return b'{"custom_id":"c","params":%b}' % params


NDJSON: dict[str, Shape] = {
    "bad lines": lambda size: b"1\n" * (size // 2),
    "blank lines": lambda size: b"\n" * size,
    "good lines": good_lines,
    "lines with one custom id": lambda size: (GOOD % 1 + b"\n") * (size // len(GOOD)),
    "a line that is not closed": lambda size: item(b'{"a":"' + b'\\"' * (size // 2)),
    "a key of params given twice": lambda size: item(twice(size)),
    "lists in params": lambda size: item(b'{"model":"m","x":' + JSON["lists"](size) + b"}"),
    "unknown fields": keys,
    "an endless line": lambda size: b" " * size,
}
#: The same bytes are what is sent; these are much longer when decoded.
GZIP: dict[str, Shape] = {
    "blank lines in gzip": lambda size: gzip.compress(b"\n" * (size * 1000), 9),
    "bad lines in gzip": lambda size: gzip.compress(b"1\n" * (size * 20), 9),
    "empty members of gzip": lambda size: gzip.compress(b"") * (size // 20),
}


def in_requests(requests: bytes) -> bytes:
    return b'{"requests":[' + requests + b"]}"


DOCUMENTS: dict[str, Shape] = {
    "numbers before an unusual request": lambda size: in_requests(b"1," * (size // 2) + b'{},{"params":1}'),
    "good requests": lambda size: in_requests(b",".join(good_lines(size).split(b"\n"))),
    "members": lambda size: keys(size)[:-1] + b',"requests":[]}',
    "a request that is not closed": lambda size: b'{"requests":["' + b'\\"' * (size // 2),
    "brackets in requests": lambda size: b'{"requests":[' + b"[" * size,
    "a key of a request given twice": lambda size: in_requests(item(twice(size))),
    "a bad request each": lambda size: in_requests(b",".join([b"{}"] * (size // 3))),
}
