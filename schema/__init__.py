"""The GraphQL face: the only use of strawberry."""

from collections.abc import Iterator
from typing import Any

import strawberry
from graphql import GraphQLError, specified_rules
from strawberry.extensions import SchemaExtension, ValidationCache
from strawberry.extensions.runner import SchemaExtensionsRunner
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.schema.schema import _coerce_error, validate_document
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from app.errors import DomainError
from resolvers.context import context
from schema import enums as enums
from schema.documents import CACHED_DOCUMENTS, CachedParse, NamedOperation, parsed
from schema.errors import HANDLERS, PresentErrors
from schema.executor import OperationExecutor
from schema.mutation import Mutation
from schema.named import Asked, Documents
from schema.query import Query
from schema.scalars import SCALARS
from schema.session import Session
from schema.subscription import Subscription
from schema.types import ExecutionEvent


class OwnContext(SchemaExtension):
    """Gives every operation a context of its own, out of its transport's session."""

    def on_operation(self) -> Iterator[None]:
        session: Session = self.execution_context.context
        self.execution_context.context = context(session.services, session.authenticated)
        yield


class NeedsStream(InvalidOperationTypeError):
    """A subscription was sent where one result is all that can be returned."""

    def as_http_error_reason(self, method: str) -> str:
        return (
            "A subscription needs a stream: accept text/event-stream or "
            "multipart/mixed;subscriptionSpec=1.0, or use a WebSocket."
        )


class Schema(strawberry.Schema):
    """Executes what `documents` lets; the logging of errors, mostly of users, is left to PresentErrors."""

    documents = Documents()

    async def execute(self, *args: Any, **given: Any) -> ExecutionResult:
        """The one result of a query or mutation; raises NeedsStream for a subscription."""
        allowed = given.get("allowed_operation_types") or OperationType
        given["allowed_operation_types"] = set(allowed) - {OperationType.SUBSCRIPTION}
        try:
            return await super().execute(*args, **given)
        except InvalidOperationTypeError as error:
            if error.operation_type is OperationType.SUBSCRIPTION:
                raise NeedsStream(error.operation_type) from None
            raise

    def check(self, text: str) -> list[GraphQLError]:
        """What keeps a document from being executed with any variables."""
        try:
            return validate_document(self._schema, parsed(text), tuple(specified_rules))
        except GraphQLError as error:
            return [error]
        except RecursionError:
            return [GraphQLError("It is nested too deeply.")]

    async def _prepare_operation_async(
        self, context: ExecutionContext, extensions_runner: SchemaExtensionsRunner
    ) -> PreExecutionError | None:
        """Find the document before strawberry parses and validates it, and keep it where it is valid.

        Every transport comes through here, and no hook of strawberry's comes before it asks for a document.
        """
        asked = context.query if isinstance(context.query, Asked) else Asked.of({"query": context.query})
        known, user = context.context.services.persisted, context.context.caller.subject
        try:
            context.query = await self.documents.text(asked, known)
        except (GraphQLError, DomainError) as error:
            return PreExecutionError(data=None, errors=[_coerce_error(error)])
        refused: PreExecutionError | None = await super()._prepare_operation_async(context, extensions_runner)
        if refused is None:
            await self.documents.keep(asked, known, user)
        return refused

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        pass


def _build(*, in_order: bool) -> Schema:
    return Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=[ExecutionEvent],
        extensions=[
            PresentErrors,
            OwnContext,
            CachedParse,
            lambda: ValidationCache(maxsize=CACHED_DOCUMENTS),
            NamedOperation,
        ],
        exception_handlers=HANDLERS,
        execution_context_class=OperationExecutor,
        config=StrawberryConfig(scalar_map=SCALARS, sort_schema=in_order),
    )


def sdl() -> str:
    """The schema as text, in an order that no refactoring changes."""
    # A sorted schema cannot execute: strawberry 0.341 compares union members with the types before sorting.
    return _build(in_order=True).as_str() + "\n"


def build() -> Schema:
    """A schema that executes."""
    return _build(in_order=False)
