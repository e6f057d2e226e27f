"""The GraphQL face: the only use of strawberry."""

from collections.abc import Iterable, Iterator
from typing import Any, cast

import strawberry
from graphql import GraphQLError
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import SchemaExtension
from strawberry.extensions.runner import SchemaExtensionsRunner
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.schema.schema import _coerce_error
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from app.errors import DomainError
from app.time_limits import TimeLimit
from resolvers.context import Context, context
from schema import enums as enums
from schema.documents import Document, Reader
from schema.errors import HANDLERS, Presenter, PresentErrors, described, overdue
from schema.executor import OperationExecutor, SilentExecutor
from schema.info import Info
from schema.limits import Limits as Limits
from schema.limits import too_complex
from schema.mutation import Mutation
from schema.named import Asked, Documents
from schema.operation import Operation, TellCost
from schema.query import Query
from schema.rates import charge
from schema.reading import read_at_once
from schema.scalars import SCALARS
from schema.session import Session
from schema.subscription import Subscription
from schema.types import ExecutionEvent
from schema.variables import too_many


class OwnContext(SchemaExtension):
    """Gives every operation a context of its own, out of its transport's session."""

    def on_operation(self) -> Iterator[None]:
        session: Session = self.execution_context.context
        self.execution_context.context = context(session.services, session.authenticated)
        yield
        session.refusal = self.execution_context.context.refusal


class NeedsStream(InvalidOperationTypeError):
    """A subscription was sent where one result is all that can be returned."""

    def as_http_error_reason(self, method: str) -> str:
        return (
            "A subscription needs a stream: accept text/event-stream or "
            "multipart/mixed;subscriptionSpec=1.0, or use a WebSocket."
        )


KINDS = frozenset(OperationType)
STREAMED = frozenset({OperationType.SUBSCRIPTION})
_NO_OPERATION = (MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError)


class Schema(strawberry.Schema):
    """Executes what `documents` lets, within the limits.

    The logging of errors is left to Presenter: users' mistakes are no errors of the server.
    """

    def __init__(self, limits: Limits, **given: Any) -> None:
        super().__init__(**given)
        read_at_once(self._schema)
        self.limits = limits
        self._time = TimeLimit(limits.seconds)
        self.documents = Documents()
        self._reader = Reader(self._schema, limits)
        self._executors = OperationExecutor if limits.introspection else SilentExecutor

    async def execute(  # noqa: PLR0917 - as strawberry has it
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any = None,
        root_value: Any = None,
        operation_name: str | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
        operation_extensions: dict[str, Any] | None = None,
    ) -> ExecutionResult:
        """The one result of a query or mutation of a session; raises NeedsStream for a subscription."""
        session: Session = context_value
        own = context(session.services, session.authenticated)
        operation = self.operation(query, variable_values, operation_name, own)
        operation.allowed_operations = frozenset(allowed_operation_types or KINDS) - STREAMED
        try:
            result = await self._result(operation)
        except InvalidOperationTypeError as error:
            if error.operation_type is OperationType.SUBSCRIPTION:
                raise NeedsStream(error.operation_type) from None
            raise
        session.refusal = operation.context.refusal
        if result.errors:
            result.errors = Presenter(self.limits.errors, described(operation)).present(result.errors)
        result.extensions = operation.told_cost(self.limits.cost)
        return result

    async def begin(self, operation: Operation) -> PreExecutionError | ExecutionResult | OperationExecutor:
        """What an operation comes to at once: an error, its one result, or the executor of a subscription."""
        try:
            refused = await self._prepare_operation_async(operation)
        except _NO_OPERATION as error:
            refused = PreExecutionError(data=None, errors=[_coerce_error(error)])
        if refused is not None:
            return refused
        if operation.operation_type is OperationType.SUBSCRIPTION:
            return self._executor(operation)
        return await self._executed(operation)

    def operation(
        self, asked: str | None, variables: dict[str, Any] | None, name: str | None, context: Context
    ) -> Operation:
        """An operation that has not begun."""
        return self._create_execution_context(asked, KINDS, variables, context, operation_name=name)

    async def _result(self, operation: Operation) -> ExecutionResult:
        """What a query or mutation comes to; raises what strawberry's views expect where there is none."""
        try:
            return await self._prepare_operation_async(operation) or await self._executed(operation)
        except _NO_OPERATION:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this operation's
            return PreExecutionError(data=None, errors=[_coerce_error(error)])

    async def _executed(self, operation: Operation) -> ExecutionResult:
        """The result of a query or mutation, which is cancelled at its deadline with all it waits for."""
        executor = self._executor(operation)
        if isinstance(executor, PreExecutionError):
            return ExecutionResult(data=None, errors=executor.errors)
        try:
            with self._time.applied() as applied:
                found: Any = executor.execute_operation()
                result = await found if executor.is_awaitable(found) else found
        except TimeoutError:
            if not applied.expired:
                raise
            return ExecutionResult(None, [overdue(operation.operation_type, self.limits.seconds)])
        finally:
            operation.context.loaders.stop()
        return ExecutionResult(result.data, result.errors)

    def _executor(self, operation: Operation) -> PreExecutionError | OperationExecutor:
        assert operation.known is not None
        begun = self._executors.begun(
            self._schema, operation.known, operation.context, operation.variables or {}
        )
        return PreExecutionError(data=None, errors=begun) if isinstance(begun, list) else begun

    def check(self, text: str) -> list[GraphQLError]:
        """What keeps a document from being executed, with whatever variables."""
        try:
            return self._reader.read(text).problems
        except GraphQLError as error:
            return [error]

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        pass

    def _create_execution_context(  # noqa: PLR0917 - as strawberry has it
        self,
        query: str | None,
        allowed_operation_types: Iterable[OperationType],
        variable_values: dict[str, Any] | None = None,
        context_value: Any = None,
        root_value: Any = None,
        operation_name: str | None = None,
        operation_extensions: dict[str, Any] | None = None,
    ) -> Operation:
        return Operation(
            query=query,
            schema=self,
            allowed_operations=allowed_operation_types,
            context=context_value,
            root_value=root_value,
            variables=variable_values,
            provided_operation_name=operation_name,
            operation_extensions=operation_extensions,
        )

    async def _prepare_operation_async(
        self, context: ExecutionContext, extensions_runner: SchemaExtensionsRunner | None = None
    ) -> PreExecutionError | None:
        """Find the document and check it; keep it, and charge for it, if it can be executed.

        Every transport comes through here.
        """
        operation: Any = context
        asked = context.query if isinstance(context.query, Asked) else Asked.of({"query": context.query})
        known, user = context.context.services.persisted, context.context.caller.subject
        try:
            operation.query = await self.documents.text(asked, known)
        except (GraphQLError, DomainError) as error:
            return PreExecutionError(data=None, errors=[_coerce_error(error)])
        operation.operation_extensions = dict(asked.extensions)
        if errors := self._check(operation):
            return PreExecutionError(data=None, errors=errors)
        await self.documents.keep(asked, known, user)
        return await charge(operation)

    def _check(self, operation: Operation) -> list[GraphQLError] | None:
        """Read, check and count an operation, once for each document: what keeps it from being executed."""
        if not operation.query:
            raise MissingQueryError
        try:
            document = self._reader.read(operation.query)
        except GraphQLError as error:
            return [error]
        operation.graphql_document = document.node
        operation.known = document.operation(operation._provided_operation_name)  # noqa: SLF001
        _check_type(operation)
        return self._problems(operation, document)

    def _problems(self, operation: Operation, document: Document) -> list[GraphQLError] | None:
        if document.problems:
            return document.problems
        known = operation.known
        if known is None:
            return [GraphQLError("The document has several operations: send the `operationName` of one.")]
        if too_many(operation.variables or {}, known.types, self.limits.values):
            return [too_complex("values", "values in its variables", self.limits.values)]
        operation.cost = known.price.of(operation.variables)
        if operation.cost > self.limits.cost:
            return [too_complex("cost", "points of cost", self.limits.cost, operation.cost)]
        return None

    async def _execute_operation(self, execution_context: ExecutionContext, *_: Any, **__: Any) -> Any:
        """The result, for the streams of strawberry."""
        execution_context.result = await self._executed(cast("Operation", execution_context))
        return execution_context.result


def _check_type(operation: Operation) -> None:
    """Raise what strawberry's transports expect where an operation is missing or not allowed here."""
    try:
        type = operation.operation_type
    except RuntimeError as error:
        raise CannotGetOperationTypeError(operation.operation_name) from error
    if type not in operation.allowed_operations:
        raise InvalidOperationTypeError(type)


def build(limits: Limits, *, in_order: bool = False) -> Schema:
    """The schema with its limits, sorted for printing or as it can be executed."""
    return Schema(
        limits,
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=[ExecutionEvent],
        extensions=[
            lambda: PresentErrors(limits.errors),
            OwnContext,
            lambda: TellCost(limits.cost),
        ],
        exception_handlers=HANDLERS,
        config=StrawberryConfig(scalar_map=SCALARS, sort_schema=in_order, info_class=Info),
    )


def sdl() -> str:
    """The schema as text, in an order that no refactoring changes."""
    # A sorted schema cannot execute: strawberry 0.341 compares union members with the types before sorting.
    return build(Limits(), in_order=True).as_str() + "\n"
