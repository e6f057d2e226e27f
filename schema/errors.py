"""Failures as data: domain exceptions become members of result unions, or errors with a code."""

import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import strawberry
from graphql import GraphQLError
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import SchemaExtension
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionContext, Info
from strawberry.types.field import StrawberryField
from strawberry.types.graphql import OperationType

from app import errors, logs
from app.errors import DomainError, ErrorCode
from app.paging import feed_cursor
from app.tables import ExecutionAction, ExecutionStatus
from schema.types import Execution

log = logging.getLogger(__name__)

MAX_MESSAGE_CHARACTERS = 500
MAX_NAME_CHARACTERS = 64
# After which to ask again for what took too long.
RETRY_SECONDS = 5


@strawberry.interface(
    description="Every expected failure of a mutation implements this: a stable `code` and a `message`."
)
class Error:
    code: ErrorCode = strawberry.field(description="The kind of failure; stable.")
    message: str = strawberry.field(description="What is wrong and the way out, for people.")


@strawberry.type(description="Nothing has that id.")
class NotFoundError(Error):
    id: strawberry.ID = strawberry.field(description="The id that was asked for.")


@strawberry.type(description="The object is another user's, or the token lacks a scope.")
class ForbiddenError(Error):
    required_scope: str | None = strawberry.field(
        description="The scope that the token lacks; null where the object is another user's."
    )


@strawberry.type(description="One thing that is wrong with an input.")
class InputIssue:
    path: str = strawberry.field(
        description="JSON Pointer (RFC 6901) into the mutation's input; empty for the whole of it."
    )
    message: str = strawberry.field(description="What is wrong there.")


@strawberry.type(description="The input breaks a rule; nothing was done.")
class InvalidInputError(Error):
    issues: list[InputIssue] = strawberry.field(
        description=(
            "Every violation, 50 at most; the first alone where an `inputSchema` makes it slow to list them."
        )
    )


@strawberry.type(description="The execution's present status does not allow this.")
class InvalidTransitionError(Error):
    from_: ExecutionStatus = strawberry.field(name="from", description="The status it has.")
    to: ExecutionStatus = strawberry.field(
        description="The status that was asked for: the one it has where a signal or labels asked for none."
    )
    allowed_actions: list[ExecutionAction] = strawberry.field(description="What may be asked of it now.")


@strawberry.type(description="The execution has moved on since the version that was expected.")
class VersionConflictError(Error):
    execution: Execution = strawberry.field(
        description="The execution as it is now; it needs no scope of its own."
    )


@strawberry.type(description="The idempotency key was used before, for another request.")
class IdempotencyConflictError(Error):
    execution: Execution = strawberry.field(
        description="The execution that the earlier request started; it needs no scope of its own."
    )


@strawberry.type(description="The Temporal server behind the API does not offer this, or not now.")
class NotSupportedError(Error):
    pass


@strawberry.type(
    description=(
        "A server behind the API does not answer. Nothing was recorded here; what Temporal was asked "
        "it may have taken, and the execution will show it."
    )
)
class UnavailableError(Error):
    retry_after: int | None = strawberry.field(
        description="Seconds after which to try again; null if unknown."
    )


@strawberry.type(description="Too many requests; nothing was changed.")
class RateLimitedError(Error):
    retry_after: int = strawberry.field(description="Seconds after which to try again.")


class NotFoundHandler(strawberry.ExceptionHandler[errors.NotFound, NotFoundError]):
    def handle(self, exception: errors.NotFound, *, field: StrawberryField, info: Info) -> NotFoundError:
        return NotFoundError(code=exception.code, message=exception.message, id=strawberry.ID(exception.id))


class ForbiddenHandler(strawberry.ExceptionHandler[errors.Forbidden, ForbiddenError]):
    def handle(self, exception: errors.Forbidden, *, field: StrawberryField, info: Info) -> ForbiddenError:
        return ForbiddenError(
            code=exception.code, message=exception.message, required_scope=exception.required_scope
        )


class InvalidInputHandler(strawberry.ExceptionHandler[errors.InvalidInput, InvalidInputError]):
    def handle(
        self, exception: errors.InvalidInput, *, field: StrawberryField, info: Info
    ) -> InvalidInputError:
        issues = [InputIssue(path=issue.path, message=issue.message) for issue in exception.issues]
        return InvalidInputError(code=exception.code, message=exception.message, issues=issues)


class InvalidTransitionHandler(strawberry.ExceptionHandler[errors.InvalidTransition, InvalidTransitionError]):
    def handle(
        self, exception: errors.InvalidTransition, *, field: StrawberryField, info: Info
    ) -> InvalidTransitionError:
        return InvalidTransitionError(
            code=exception.code,
            message=exception.message,
            from_=exception.current,
            to=exception.target,
            allowed_actions=list(exception.allowed),
        )


class VersionConflictHandler(strawberry.ExceptionHandler[errors.VersionConflict, VersionConflictError]):
    def handle(
        self, exception: errors.VersionConflict, *, field: StrawberryField, info: Info
    ) -> VersionConflictError:
        return VersionConflictError(
            code=exception.code, message=exception.message, execution=Execution.of(exception.execution)
        )


class IdempotencyConflictHandler(
    strawberry.ExceptionHandler[errors.IdempotencyConflict, IdempotencyConflictError]
):
    def handle(
        self, exception: errors.IdempotencyConflict, *, field: StrawberryField, info: Info
    ) -> IdempotencyConflictError:
        return IdempotencyConflictError(
            code=exception.code, message=exception.message, execution=Execution.of(exception.execution)
        )


class UnavailableHandler(strawberry.ExceptionHandler[errors.Unavailable, UnavailableError]):
    def handle(
        self, exception: errors.Unavailable, *, field: StrawberryField, info: Info
    ) -> UnavailableError:
        return UnavailableError(
            code=exception.code, message=exception.message, retry_after=exception.retry_after_seconds
        )


class NotSupportedHandler(strawberry.ExceptionHandler[errors.NotSupported, NotSupportedError]):
    def handle(
        self, exception: errors.NotSupported, *, field: StrawberryField, info: Info
    ) -> NotSupportedError:
        return NotSupportedError(code=exception.code, message=exception.message)


class RateLimitedHandler(strawberry.ExceptionHandler[errors.RateLimited, RateLimitedError]):
    def handle(
        self, exception: errors.RateLimited, *, field: StrawberryField, info: Info
    ) -> RateLimitedError:
        return RateLimitedError(
            code=exception.code, message=exception.message, retry_after=exception.retry_after_seconds
        )


HANDLERS: list[strawberry.ExceptionHandler[Any, Any]] = [
    NotFoundHandler(),
    ForbiddenHandler(),
    InvalidInputHandler(),
    InvalidTransitionHandler(),
    VersionConflictHandler(),
    IdempotencyConflictHandler(),
    NotSupportedHandler(),
    UnavailableHandler(),
    RateLimitedHandler(),
]


def present(error: GraphQLError) -> GraphQLError:
    """The error as a client may see it: ours and GraphQL's own with a code, any other masked by an id."""
    cause = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    match cause:
        case DomainError():
            return _coded(error, cause.message, cause.code, _extensions(cause))
        case None | GraphQLError():
            return _coded(error, _bounded(error.message), ErrorCode.INVALID_INPUT, {})
        case RecursionError():
            return _coded(error, "The document is nested too deeply.", ErrorCode.INVALID_INPUT, {})
        case MissingQueryError() | CannotGetOperationTypeError() | InvalidOperationTypeError():
            return _coded(error, _bounded(error.message), ErrorCode.INVALID_INPUT, {})
        case _:
            return _masked(error, cause)


def _extensions(cause: DomainError) -> dict[str, Any]:
    match cause:
        case errors.Forbidden(required_scope=str() as scope):
            return {"requiredScope": scope}
        case errors.InvalidInput():
            return {"issues": [{"path": issue.path, "message": issue.message} for issue in cause.issues]}
        case errors.TooComplex(limit=limit, most=most):
            return {"limit": limit, "max": most}
        case errors.CursorExpired(head=head):
            return {"cursor": feed_cursor(head)}
        case errors.RateLimited() | errors.Unavailable() if cause.retry_after_seconds is not None:
            return {"retryAfter": cause.retry_after_seconds}
        case _:
            return {}


def _coded(error: GraphQLError, message: str, code: ErrorCode, extensions: dict[str, Any]) -> GraphQLError:
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions={**(error.extensions or {}), "code": code.value, **extensions},
    )


def _masked(error: GraphQLError, cause: Exception | None) -> GraphQLError:
    error_id = uuid.uuid4().hex
    field = getattr(getattr(error.nodes[0], "name", None), "value", "") if error.nodes else ""
    log.error("Internal error", exc_info=cause, extra=logs.fields(errorId=error_id, field=field))
    return _coded(error, "Internal error.", ErrorCode.INTERNAL, {"errorId": error_id})


def _bounded(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE_CHARACTERS else message[:MAX_MESSAGE_CHARACTERS] + "…"


def overdue(kind: OperationType, seconds: float) -> GraphQLError:
    """The error of an operation that was given up at its deadline."""
    if kind is OperationType.MUTATION:
        cause = errors.Unavailable(
            f"The mutation took longer than {seconds:g} s and was given up: it was done whole or not at all. "
            "Look before you send it again; a start may be repeated with its `idempotencyKey`."
        )
    else:
        cause = errors.Unavailable(
            f"The query took longer than {seconds:g} s and was given up. Ask for less, or again later.",
            retry_after_seconds=RETRY_SECONDS,
        )
    return GraphQLError(cause.message, original_error=cause)


class Presenter:
    """Presents the errors of one operation's results: the first few of each."""

    def __init__(self, most: int, described: Mapping[str, str]) -> None:
        self._most = most
        self._described = described
        self._noted: set[str] = set()

    def present(self, errors: Sequence[GraphQLError]) -> list[GraphQLError]:
        """The errors as a client may see them."""
        told = [present(error) for error in errors[: self._most]]
        if len(errors) > self._most:
            told[-1] = _last(told[-1])
        self._note(told)
        return told

    def _note(self, errors: Sequence[GraphQLError]) -> None:
        """One line for each kind of what went wrong, without the client's words: a stream may repeat itself.

        An internal error has a line of its own.
        """
        codes = {str((error.extensions or {})["code"]) for error in errors} - {ErrorCode.INTERNAL.value}
        codes -= self._noted
        self._noted |= codes
        if codes:
            fields = logs.fields(code=",".join(sorted(codes)), errors=len(errors), **self._described)
            level = logging.WARNING if ErrorCode.UNAVAILABLE.value in codes else logging.INFO
            log.log(level, "Refused an operation", extra=fields)


class PresentErrors(SchemaExtension):
    """Presents the errors of a result, and of each result of a stream."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._streamed = False
        self._presenter: Presenter | None = None

    def on_operation(self) -> Iterator[None]:
        yield
        if not self._streamed:
            self._present(self.execution_context.result)

    def on_stream_result(self, result: Any) -> Iterator[None]:
        self._streamed = True
        self._present(result)
        yield

    def _present(self, result: Any) -> None:
        if result is not None and result.errors:
            if self._presenter is None:
                self._presenter = Presenter(self._most, described(self.execution_context))
            result.errors = self._presenter.present(result.errors)


def described(context: ExecutionContext) -> dict[str, str]:
    """The kind and the name of the operation, as far as there is a document."""
    try:
        return named(context.operation_type, context.operation_name)
    except RuntimeError:
        return {}


def named(kind: OperationType, name: str | None) -> dict[str, str]:
    """What the log says of an operation."""
    return {"operationType": kind.value, "operationName": (name or "")[:MAX_NAME_CHARACTERS]}


def _last(error: GraphQLError) -> GraphQLError:
    """The last error that is told of, with a note that there are more."""
    error.message += " (There are more errors than are told of here.)"
    error.extensions = {**(error.extensions or {}), "truncated": True}
    return error
