"""The documentation itself."""

from __future__ import annotations

from backburner.http.openapi.operation import Answer, Operation, Operations
from backburner.http.openapi.pages import Pages

OPERATIONS: Operations = {
    Pages.openapi_document: Operation(
        tag="Health", summary="This document", answers={200: Answer(about="OpenAPI 3.1.", type={"type": "object"})}
    ),
    Pages.documentation_page: Operation(
        tag="Health",
        summary="This document as a page",
        about="It loads nothing from elsewhere and runs no scripts.",
        answers={200: Answer(about="HTML.", type={"type": "string"}, media="text/html")},
    ),
    Pages.documentation_style: Operation(
        tag="Health",
        summary="The page's style sheet",
        answers={200: Answer(about="CSS.", type={"type": "string"}, media="text/css")},
    ),
}
