"""Faults in the lines of a results file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import Any

import msgspec

from backburner.providers.sandbox.wire import Break, Piece

#: Takes the right lines with their ends, their number, the fault's argument and chance.
LineFault = Callable[[Iterator[bytes], int, str | None, Random], Iterator[Piece]]
_ODD_COUNTS: tuple[Any, ...] = (None, 12.5, -1, "many", [], {})
DEEP = 3_000  # levels, of which decoders read about a thousand


def _numbers(total: int, argument: str | None, random: Random) -> set[int]:
    """Which lines are hit: as many as the argument says, one without it."""
    return set(random.sample(range(total), min(total, int(argument or 1))))


def _each_hit(change: Callable[[bytes], bytes]) -> LineFault:
    def fault(lines: Iterator[bytes], total: int, argument: str | None, random: Random) -> Iterator[Piece]:
        hit = _numbers(total, argument, random)
        for number, line in enumerate(lines):
            yield change(line) if number in hit else line

    return fault


def _every(change: Callable[[bytes], bytes]) -> LineFault:
    def fault(lines: Iterator[bytes], _total: int, _argument: str | None, _random: Random) -> Iterator[Piece]:
        return map(change, lines)

    return fault


def _cut(*, inside: bool, ends: Break | None) -> LineFault:
    """After some lines (the argument, or half of them) nothing more comes."""

    def fault(lines: Iterator[bytes], total: int, argument: str | None, _random: Random) -> Iterator[Piece]:
        whole = total // 2 if argument is None else int(argument)
        for number, line in enumerate(lines):
            if number < whole:
                yield line
                continue
            if inside:
                yield line[: len(line) // 2]
            if ends is not None:
                yield ends
            return

    return fault


def _bom(lines: Iterator[bytes], _total: int, _argument: str | None, _random: Random) -> Iterator[Piece]:
    yield b"\xef\xbb\xbf" + next(lines)
    yield from lines


def _no_newline(lines: Iterator[bytes], _total: int, _argument: str | None, _random: Random) -> Iterator[Piece]:
    last = next(lines)
    for line in lines:
        yield last
        last = line
    yield last[:-1]


def _foreign(lines: Iterator[bytes], _total: int, argument: str | None, _random: Random) -> Iterator[Piece]:
    for number in range(int(argument or 1)):
        yield b'{"custom_id":"nobody-%d","result":{"type":"expired"}}\n' % number
    yield from lines


def _contradicted(line: bytes) -> bytes:
    first, _, _ = line.partition(b"\n")
    custom_id = msgspec.json.decode(first)["custom_id"].encode()
    return line + b'{"custom_id":"%b","result":{"type":"expired"}}\n' % custom_id


def _of_unknown_type(line: bytes) -> bytes:
    decoded: dict[str, Any] = msgspec.json.decode(line)
    decoded["result"] = {"type": "throttled"}
    return msgspec.json.encode(decoded) + b"\n"


def _of_odd_usage(line: bytes) -> bytes:
    decoded: dict[str, Any] = msgspec.json.decode(line)
    if "message" in decoded["result"]:
        usage = decoded["result"]["message"]["usage"]
        usage["output_tokens"] = _ODD_COUNTS[len(line) % len(_ODD_COUNTS)]
    return msgspec.json.encode(decoded) + b"\n"


def _bad_utf8(line: bytes) -> bytes:
    return line.replace(b'"result"', b'"r\xff\xfesult"', 1)


def _deep(line: bytes) -> bytes:
    return line.replace(b'"result":{', b'"result":{"deep":' + b"[" * DEEP + b"]" * DEEP + b",", 1)


#: Of several rules these come first, in this order, because they read what others spoil.
_READERS = ("unknown_type", "odd_usage", "contradict")
#: These come last, and only the first of them.
_CUTS = frozenset({"reset_midline", "close_midline", "truncate", "truncated_line"})
_GATHER_BYTES = 64 * 1024

LINES: dict[str, LineFault] = {
    "reset_midline": _cut(inside=True, ends=Break.RESET),
    "close_midline": _cut(inside=True, ends=Break.CLOSE),
    "truncate": _cut(inside=False, ends=None),
    "truncated_line": _cut(inside=True, ends=None),
    "drop": _each_hit(lambda _line: b""),
    "duplicate": _each_hit(lambda line: line + line),
    "contradict": _each_hit(_contradicted),
    "foreign": _foreign,
    "crlf": _every(lambda line: line[:-1] + b"\r\n"),
    "blank": _every(lambda line: line + b"\n"),
    "bom": _bom,
    "no_newline": _no_newline,
    "bad_json": _each_hit(lambda line: b'{"custom_id":,' + line[13:]),
    "bad_utf8": _each_hit(_bad_utf8),
    "deep": _each_hit(_deep),
    "unknown_type": _each_hit(_of_unknown_type),
    "odd_usage": _each_hit(_of_odd_usage),
}


def spoiled(
    chunks: Iterator[bytes], total: int, rules: Sequence[tuple[str, str | None]], random: Random
) -> Iterator[Piece]:
    """A results file of `total` lines with the faults of these names and arguments."""
    lines = _split(chunks)
    for name, argument in sorted(rules, key=_order):
        pieces = LINES[name](lines, total, argument, random)
        if name in _CUTS:
            return _gathered(pieces)
        lines = (line for line in pieces if isinstance(line, bytes))
    return _gathered(lines)


def _order(rule: tuple[str, str | None]) -> int:
    name, _ = rule
    if name in _READERS:
        return _READERS.index(name) - len(_READERS)
    return int(name in _CUTS)


def _split(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines with their ends, from chunks that end with a line."""
    for chunk in chunks:
        # not splitlines(keepends=True): that also takes a carriage return for an end
        yield from (line + b"\n" for line in chunk[:-1].split(b"\n"))


def _gathered(pieces: Iterable[Piece]) -> Iterator[Piece]:
    gathered = bytearray()
    for piece in pieces:
        if not isinstance(piece, bytes):
            yield bytes(gathered)
            gathered.clear()
            yield piece
            continue
        gathered += piece
        if len(gathered) >= _GATHER_BYTES:
            yield bytes(gathered)
            gathered.clear()
    yield bytes(gathered)
