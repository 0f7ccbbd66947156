"""Server-Sent Events, read from bytes as they come."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from backburner.streams import LineSplitter


@attrs.frozen
class Message:
    """One event of a stream."""

    event: str
    data: str
    id: str  #: the last one said, also if it was said before


@attrs.define
class Reader:
    """Keeps what is incomplete, and the last id, which a new connection sends as `Last-Event-ID`."""

    last_id: str = ""
    _fields: dict[str, list[str]] = attrs.field(factory=dict)
    _splitter: LineSplitter = attrs.field(factory=lambda: LineSplitter(keeps_blank=True))

    def feed(self, data: bytes) -> Iterator[Message]:
        """The events that these bytes complete."""
        for _, line in self._splitter.feed(data):
            if message := self._take((line or b"").decode("utf-8", "replace")):
                yield message

    def reconnected(self) -> None:
        """What was incomplete when the connection broke will come again."""
        self._fields.clear()
        self._splitter = LineSplitter(keeps_blank=True)

    def _take(self, line: str) -> Message | None:
        if line:
            name, _, value = line.partition(":")
            self._fields.setdefault(name, []).append(value.removeprefix(" "))
            return None
        fields, self._fields = self._fields, {}
        self.last_id = fields.get("id", [self.last_id])[-1]
        if "data" not in fields:
            return None
        return Message(fields.get("event", ["message"])[-1], "\n".join(fields["data"]), self.last_id)
