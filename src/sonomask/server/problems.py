"""All errors of requests, each with its HTTP status.

    Problem
    ├── InvalidError        422  an option or a body is not as it must be; `field` names which
    ├── RefusedError        403  the host, the origin or the sandbox does not allow it
    ├── UnknownError        404  there is no such upload, job or file, or no longer
    ├── NotReadyError       409  not in this state
    ├── TooLargeError       413  larger than a limit
    └── BusyError           503  no place or no room now; try again later

Knows nothing of web frameworks. Source: RFC 9457, the form of `as_json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from sonomask.errors import SonomaskError
from sonomask.schemas import schema

__all__ = ["MEDIA_TYPE", "BusyError", "InvalidError", "NotReadyError", "Problem", "RefusedError", "TooLargeError",
           "UnknownError", "as_json"]  # fmt: skip

MEDIA_TYPE = "application/problem+json"
TITLES = {
    400: "Bad request", 401: "Token needed", 403: "Refused", 404: "Not found", 405: "Method not allowed", 408: "Too slow",
    409: "Not now", 411: "Length needed", 413: "Too large", 415: "Wrong kind of body", 422: "Invalid",
    429: "Too many requests", 500: "Server error", 503: "Busy", 507: "Disk full",
}  # fmt: skip


class Problem(SonomaskError):  # noqa: N818 - the name that RFC 9457 gives it
    """A request that can't be met.

    Args:
        detail: One or two sentences: what was expected, what was found, and what to do.
        field: The option that it is about, if one.
    """

    status: ClassVar[int] = 400
    retry: ClassVar[int | None] = None  # seconds

    def __init__(self, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.field = field


class InvalidError(Problem):
    """An option is out of range, unknown or missing."""

    status = 422


class RefusedError(Problem):
    """The request is not allowed."""

    status = 403


class UnknownError(Problem):
    """There is no such thing, or no longer."""

    status = 404


class NotReadyError(Problem):
    """The resource is in the wrong state."""

    status = 409


class TooLargeError(Problem):
    """Larger than a limit."""

    status = 413


class BusyError(Problem):
    """No place or no room now."""

    status = 503
    retry = 30


def as_json(status: int, detail: str, errors: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """The body of all error answers.

    Args:
        status: Status code of HTTP.
        detail: One line for people.
        errors: (field, what is wrong with it) of each wrong option.
    """
    return {
        "schema": schema("problem"),
        "type": "about:blank",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": " ".join(detail.split()),
        "errors": [{"field": field, "detail": text} for field, text in errors],
    }
