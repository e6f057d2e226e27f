"""One family of expected failures: each has a stable code and the data that helps its reader out."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from app.mendable import Mendable
from app.records import ExecutionRecord
from app.tables import ExecutionAction, ExecutionStatus

# What is more than this was multiplied by fragments within fragments, and says nothing.
MAX_COUNTED = 1_000_000
MAX_ISSUES = 50


class ErrorCode(StrEnum):
    """The kinds of failures; stable."""

    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    INVALID_INPUT = "INVALID_INPUT"
    INVALID_TRANSITION = "INVALID_TRANSITION"
    VERSION_CONFLICT = "VERSION_CONFLICT"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    NOT_SUPPORTED = "NOT_SUPPORTED"
    RATE_LIMITED = "RATE_LIMITED"
    QUERY_TOO_COMPLEX = "QUERY_TOO_COMPLEX"
    CURSOR_EXPIRED = "CURSOR_EXPIRED"
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
    PERSISTED_QUERY_NOT_SUPPORTED = "PERSISTED_QUERY_NOT_SUPPORTED"
    DOCUMENT_NOT_TRUSTED = "DOCUMENT_NOT_TRUSTED"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


class DomainError(Exception):
    """An expected failure: `code` is stable, the message is for people and safe to show."""

    code: ErrorCode = ErrorCode.INTERNAL

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unauthenticated(DomainError, Mendable):
    """The token is missing, malformed, expired or not ours."""

    code = ErrorCode.UNAUTHENTICATED


class Forbidden(DomainError):
    """The caller is known but may not do this: another user's object, or a missing scope."""

    code = ErrorCode.FORBIDDEN

    def __init__(self, message: str, required_scope: str | None = None) -> None:
        super().__init__(message)
        self.required_scope = required_scope


class NotFound(DomainError):
    """Nothing has that id."""

    code = ErrorCode.NOT_FOUND

    def __init__(self, kind: str, id: UUID | str) -> None:
        given = repr(str(id)[:64])
        super().__init__(f"There is no {kind} with the id {given}: look it up in a list.")
        self.id = str(id)[:64]


@dataclass(frozen=True)
class Issue:
    """One thing wrong with an input; `path` is a JSON Pointer (RFC 6901) into it."""

    path: str
    message: str


class InvalidInput(DomainError):
    """The input breaks a rule; every violation is listed, up to a bound."""

    code = ErrorCode.INVALID_INPUT

    def __init__(self, issues: Sequence[Issue]) -> None:
        super().__init__("; ".join(f"{issue.path or '/'}: {issue.message}" for issue in issues[:5]))
        self.issues = tuple(issues[:MAX_ISSUES])


class InvalidTransition(DomainError):
    """The execution's present status does not allow this."""

    code = ErrorCode.INVALID_TRANSITION

    def __init__(
        self,
        current: ExecutionStatus,
        target: ExecutionStatus,
        allowed: Sequence[ExecutionAction],
        change: str | None = None,
    ) -> None:
        actions = ", ".join(allowed) or "nothing, it has ended"
        change = change or f"become {target}"
        super().__init__(f"An execution that is {current} cannot {change}; allowed now: {actions}.")
        self.current, self.target, self.allowed = current, target, tuple(allowed)


class VersionConflict(DomainError):
    """The execution has moved on since the version that the caller saw."""

    code = ErrorCode.VERSION_CONFLICT

    def __init__(self, execution: ExecutionRecord, expected: int) -> None:
        super().__init__(
            f"Expected version {expected}, but the execution is at version {execution.version}. "
            "Look at it again, and send its present version if you still want this."
        )
        self.execution = execution


class IdempotencyConflict(DomainError):
    """The idempotency key was used before, for another request."""

    code = ErrorCode.IDEMPOTENCY_CONFLICT

    def __init__(self, execution: ExecutionRecord) -> None:
        super().__init__(
            "This idempotencyKey was used for another request. Use a new key for a new request, "
            "or repeat the earlier one exactly."
        )
        self.execution = execution


class TooComplex(DomainError):
    """The operation has more `what` than the limit allows; `found` is None where counting was given up."""

    code = ErrorCode.QUERY_TOO_COMPLEX

    def __init__(self, limit: str, what: str, most: int, found: int | None = None) -> None:
        has = f"more than {most:,}" if found is None or found > MAX_COUNTED else f"{found:,}"
        super().__init__(
            f"The operation has {has} {what}: {most:,} are the most. Ask for less, or in several operations."
        )
        self.limit, self.most = limit, most


class CursorExpired(DomainError):
    """The events behind a cursor are pruned; `head` is the feed's present position."""

    code = ErrorCode.CURSOR_EXPIRED

    def __init__(self, head: int) -> None:
        super().__init__(
            "The events behind this cursor are no longer kept. Read the lists anew and go on from the cursor "
            "in `extensions.cursor`."
        )
        self.head = head


class NotSupported(DomainError):
    """The Temporal server behind us does not offer this."""

    code = ErrorCode.NOT_SUPPORTED


class Unavailable(DomainError, Mendable):
    """A server behind us does not answer; `retry_after_seconds` says when to try again."""

    code = ErrorCode.UNAVAILABLE

    def __init__(self, message: str, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class StartRejected(DomainError):
    """Temporal refuses this start for good: retrying it would not help."""

    code = ErrorCode.INVALID_INPUT


class PersistedQueryNotFound(DomainError):
    """No document is known by that hash or id: the client sends the whole text then."""

    code = ErrorCode.PERSISTED_QUERY_NOT_FOUND

    def __init__(self) -> None:
        # Apollo's words, for clients that go by them.
        super().__init__("PersistedQueryNotFound")


class PersistedQueryNotSupported(DomainError):
    """Documents are not kept by their hash here: the client always sends the whole text then."""

    code = ErrorCode.PERSISTED_QUERY_NOT_SUPPORTED

    def __init__(self) -> None:
        super().__init__("PersistedQueryNotSupported")


class DocumentNotTrusted(DomainError):
    """Only the documents of the server's manifest are executed, and this is none of them."""

    code = ErrorCode.DOCUMENT_NOT_TRUSTED

    def __init__(self) -> None:
        super().__init__(
            "This server executes the documents of its manifest only, and this is none of them. "
            "Have it added, or send one of those by its `documentId`, its hash or its exact text."
        )


class RateLimited(DomainError):
    """The user asks for more in a minute than anyone may; nothing was done."""

    code = ErrorCode.RATE_LIMITED

    def __init__(self, what: str, retry_after_seconds: int) -> None:
        super().__init__(f"{what} in a minute are the most for one user: wait {retry_after_seconds} s.")
        self.retry_after_seconds = retry_after_seconds
