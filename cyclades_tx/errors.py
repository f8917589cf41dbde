"""The things that can go wrong, in the user's words, each with a code of its own.

A flow raises one of these; each dialect (``api/errors.py``) knows how to say it on its
wire. The message is shown to the user as it stands: a sentence that tells what to do.
Nothing here imports anything of ours, so that every room may raise these.
"""

from __future__ import annotations

from typing import Any


class CycladesError(Exception):
    """Something that a user or an operator should be told, with a code and a sentence.

    :param message: one sentence for the person who asked; never holds a secret.
    :param details: facts for programs (ids, limits, counts), shown where a dialect has room.
    """

    code = "error"
    #: What only those who run the cloud are told: figures and names of its machines.
    inside = ""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    @property
    def whole(self) -> str:
        """The message as those who run the cloud read it."""
        return f"{self.message} {self.inside}" if self.inside else self.message


class BadRequest(CycladesError):
    """The request cannot be understood or asks for something impossible."""

    code = "bad_request"


class Unauthorized(CycladesError):
    """No valid token or credentials were given."""

    code = "unauthorized"


class Forbidden(CycladesError):
    """The caller is known but may not do this."""

    code = "forbidden"


class NotFound(CycladesError):
    """There is no such thing, or the caller may not know that there is.

    :param kind: the noun (``server``, ``network`` …); dialects make their own words of it.
    """

    code = "not_found"

    def __init__(self, message: str, kind: str = "", **details: Any) -> None:
        super().__init__(message, kind=kind, **details)
        self.kind = kind


class Conflict(CycladesError):
    """The thing is in a state in which this cannot be done now.

    :param reason: a word for programs, such as ``in_use`` or ``address_in_use``.
    """

    code = "conflict"

    def __init__(self, message: str, reason: str = "", **details: Any) -> None:
        super().__init__(message, reason=reason, **details)
        self.reason = reason


class Gone(CycladesError):
    """It was there when the request began, and is no more."""

    code = "gone"


class OverQuota(CycladesError):
    """The project's limit of a resource would be passed.

    :param shortages: for each resource its name, limit, use and the amount asked for.
    """

    code = "over_quota"

    def __init__(self, message: str, shortages: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.shortages = shortages


class NoCapacity(CycladesError):
    """No cluster can take the server, or its own has no room for more.

    :param kinds: why, without figures; nothing: users cannot know, or need not.
    :param inside: the clusters with their figures.
    """

    code = "no_capacity"

    def __init__(self, *kinds: str, inside: str = "") -> None:
        why = f" ({'; '.join(kinds)})" if kinds else ""
        super().__init__(f"No valid host was found{why}.")
        self.inside = inside


class TooLarge(CycladesError):
    """The body is larger than the service takes."""

    code = "too_large"


class TooSlow(CycladesError):
    """What is sent comes too slowly to be waited for."""

    code = "too_slow"


class TooManyRequests(CycladesError):
    """The caller must wait.

    :param retry_after_seconds: whole seconds until the next try makes sense.
    """

    code = "too_many_requests"

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds


class NotSupported(CycladesError):
    """The dialect knows this request, a Ganeti cloud cannot do it."""

    code = "not_supported"


class Unavailable(CycladesError):
    """Something that the service depends on does not answer now; trying later helps.

    :param retry_after_seconds: whole seconds after which a new try makes sense.
    """

    code = "unavailable"

    def __init__(self, message: str, retry_after_seconds: int = 5) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds


class ConfigError(CycladesError):
    """The configuration is wrong: the message names file, key and what is allowed."""

    code = "config"


class SchemaError(CycladesError):
    """The database's schema is not the one that this release needs."""

    code = "schema"


class LostLease(CycladesError):
    """Another process drives this cluster now; the work at hand must be dropped."""

    code = "lost_lease"
