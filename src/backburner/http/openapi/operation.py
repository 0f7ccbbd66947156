"""What there is to say about a route besides its code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from backburner.http.query import Parameter

JSON = "application/json"


@attrs.frozen(kw_only=True)
class Answer:
    """One answer that is no error. Without a `type` it has no body."""

    about: str
    type: Any = None  #: a type that msgspec knows; for another media type than JSON a schema
    media: str = JSON
    example: Any = None  #: None: that of its type
    headers: Mapping[str, str] = attrs.field(factory=dict)  #: beside `request-id`; what each means


@attrs.frozen(kw_only=True)
class Body:
    """One form in which a request's body may come."""

    type: Any
    media: str = JSON
    example: Any = None
    required: bool = True


@attrs.frozen(kw_only=True)
class Operation:
    """A route's documentation. Errors that every route of its kind can answer need not be said."""

    tag: str
    summary: str
    answers: Mapping[int, Answer]
    about: str = ""
    query: Mapping[str, Parameter] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)  #: request headers and what each means
    bodies: Sequence[Body] = ()
    errors: Mapping[int, str] = attrs.field(factory=dict)  #: what they mean here
    deprecated: bool = False


#: Of each handler.
Operations = Mapping[Callable[..., Any], Operation]


@attrs.frozen
class Route:
    """One route as it is served, and who answers it."""

    method: str
    path: str  #: with its variable parts as `<name>`
    scope: str | None  #: what a key needs; None: no key is needed
    handler: Callable[..., Any]
    action: str | None = None  #: what the audit log says of it; None: it changes nothing
