"""How operations are executed where graphql-core's own way does not do."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar, cast

from graphql import (
    ExecutionResult,
    GraphQLError,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    GraphQLSchema,
    default_field_resolver,
    default_type_resolver,
    get_nullable_type,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList, collect_fields
from graphql.execution.values import get_variable_values
from graphql.pyutils import AwaitableOrValue, Path, UndefinedType
from graphql.type.definition import GraphQLResolveInfoHelpers
from strawberry.execution.is_awaitable import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from app.rendering import Rendered
from resolvers.context import Context
from schema.announced import Announced
from schema.documents import Known
from schema.info import Info
from schema.plans import Call, Direct, Directs, Plan, Plans, Read
from schema.recurring import Recurring
from schema.silence import nameless
from schema.variables import values

# Of values in the variables: more are not told.
MAX_WRONG = 50

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Root:
    """The field of a subscription: the key of its value, what is selected of it, and its type of object."""

    key: str
    details: FieldDetailsList
    object_type: GraphQLObjectType | None

    @classmethod
    def of(cls, executor: Executor[Any]) -> Self:
        """That of a valid operation."""
        root = executor.schema.subscription_type
        assert root is not None
        ((key, details),) = collect_fields(
            executor.schema, executor.fragments, executor.variable_values, root, executor.operation
        ).grouped_field_set.items()
        field = root.fields.get(details[0].node.name.value)
        kind = None if field is None else get_nullable_type(field.type)
        return cls(key, details, kind if isinstance(kind, GraphQLObjectType) else None)


async def _gathered(awaitables: Sequence[Awaitable[Any]]) -> list[Any]:
    return await asyncio.gather(*awaitables)


# For types that have to wait to know their objects, which none of ours has.
HELPERS = GraphQLResolveInfoHelpers(_gathered, lambda _: None)


class OperationExecutor(StrawberryGraphQLCoreExecutionContext):
    """Reads what it can by plans."""

    plans = Plans()
    directs = Directs()
    announcements = Announced()
    _known: Known | None = None

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        # Its own would refer to it: the executor would stay until the collector of garbage comes round.
        self.async_helpers = HELPERS
        self._infos: dict[Call, Info] = {}
        self._root: Root | None = None
        self._reads_announced: Read | None = None

    @classmethod
    def begun(
        cls, schema: GraphQLSchema, known: Known, context: Context, given: dict[str, Any]
    ) -> "list[GraphQLError] | OperationExecutor":
        """The executor of an operation with the given variables, or what is wrong with those."""
        variables = values(known.variables, given) or get_variable_values(
            schema, known.node.variable_definitions or (), given, MAX_WRONG
        )
        if isinstance(variables, list):
            return variables
        executor = cls(
            schema,
            known.fragments,
            known.details,
            None,
            context,
            known.node,
            variables,
            default_field_resolver,
            default_type_resolver,
            default_field_resolver,
            is_awaitable=optimized_is_awaitable,
        )
        executor._known = known
        return executor

    def execute_operation(self, serially: bool | None = None) -> AwaitableOrValue[Any]:
        """The result of an operation: at once where its one field is resolved so."""
        alone = None if self._known is None else self._known.alone
        direct = None if alone is None else self.directs.made(alone.root, alone.details)
        if alone is None or direct is None:
            return super().execute_operation(serially)
        return self._alone(alone.key, direct)

    async def _alone(self, key: str, direct: Direct) -> ExecutionResult:
        try:
            path = Path(None, key, direct.call.parent_type.name)
            data = {key: await self._directly(direct, self.root_value, path, None)}
        except GraphQLError as error:
            self.collected_errors.add(error, None)
            return ExecutionResult(None, self.collected_errors.errors)
        return ExecutionResult(data, self.collected_errors.errors or None)

    def info(self, call: Call) -> Info:
        """The `info` for a resolver that a plan calls: one for all of its objects, without their paths."""
        found = self._infos.get(call)
        if found is None:
            path = Path(None, call.details[0].node.name.value, call.parent_type.name)
            found = self._infos[call] = Info(self._raw_info(call, path), call.field, call.rendered(self))
        return found

    def _raw_info(self, call: Call, path: Path) -> GraphQLResolveInfo[Any]:
        nodes = [each.node for each in call.details]
        return self.build_resolve_info(call.definition, nodes, call.parent_type, path)

    def execute_field(
        self,
        parent_type: GraphQLObjectType,
        source: Any,
        field_details_list: FieldDetailsList,
        path: Path,
        position_context: Any,
    ) -> AwaitableOrValue[Any] | UndefinedType:
        """A field's part of the answer: by its resolver alone where nothing stands around that."""
        direct = self.directs.of(self, parent_type, field_details_list)
        if direct is None:
            return super().execute_field(parent_type, source, field_details_list, path, position_context)
        return self._directly(direct, source, path, position_context)

    async def _directly(self, direct: Direct, source: Any, path: Path, position_context: Any) -> Any:
        call = direct.call
        raw = self._raw_info(call, path)
        try:
            value = await direct.value(source, Info(raw, call.field, call.rendered(self)), self)
            if direct.complete is not None:
                # Whatever is wrong, graphql-core meets it again and says where.
                with suppress(Exception):
                    return direct.complete(value, self)
            completed = self.complete_value(
                call.definition.type, call.details, raw, path, value, position_context
            )
            return await completed if self.is_awaitable(completed) else completed
        except Exception as error:  # noqa: BLE001 - as graphql-core has it
            self.handle_field_error(error, call.definition.type, call.details, path)
            return None

    def complete_object_value(  # noqa: PLR0917 - as graphql-core has it
        self,
        return_type: GraphQLObjectType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,
        position_context: Any,
    ) -> AwaitableOrValue[Any]:
        """The answer of an object, which Postgres may have rendered."""
        if result.__class__ is Rendered:
            return result.json
        return super().complete_object_value(
            return_type, field_details_list, info, path, result, position_context
        )

    def collect_and_execute_subfields(
        self,
        return_type: GraphQLObjectType,
        field_details_list: FieldDetailsList,
        path: Path,
        result: Any,
        position_context: Any,
    ) -> AwaitableOrValue[dict[str, Any]]:
        """The answer of an object: what is plain by its plan, the rest by graphql-core."""
        plan = self.plans.of(self, return_type, field_details_list)
        if plan is not None:
            try:
                answer = plan.read(result, self)
            except Exception:  # noqa: BLE001 - whatever is wrong, graphql-core meets it again and says where
                plan = None
        if plan is None:
            return super().collect_and_execute_subfields(
                return_type, field_details_list, path, result, position_context
            )
        if not plan.rest:
            return answer
        rest = self.execute_fields(return_type, result, path, plan.rest, None)
        if isinstance(rest, dict):
            return {**answer, **rest}
        return _completed(answer, rest)

    def complete_iterable_value(  # noqa: PLR0917 - as graphql-core has it
        self,
        item_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        items: Iterable[Any],
        position_context: Any,
    ) -> AwaitableOrValue[list[Any]]:
        """The answers of a list's items: of objects what has batches together, else one after the other."""
        stock = partial(
            super().complete_iterable_value,
            item_type,
            field_details_list,
            info,
            path,
            items,
            position_context,
        )
        kind = get_nullable_type(item_type)
        if isinstance(kind, GraphQLObjectType) and isinstance(items, list) and len(items) > 1:
            plan = self.plans.made(kind, field_details_list)
            if plan is not None and plan.batches and plan.batches.keys() == plan.rest.keys():
                return self._together(plan, items, stock)
        return stock()

    async def _together(
        self, plan: Plan, items: Sequence[Any], stock: Callable[[], AwaitableOrValue[list[Any]]]
    ) -> list[Any]:
        """The answers of objects whose fields are all read by the plan, or by its batches."""
        try:
            answers = [plan.read(item, self) for item in items]
            for key, batch in plan.batches.items():
                for answer, value in zip(answers, await batch.answers(items, self), strict=True):
                    answer[key] = value
        except Exception:  # noqa: BLE001 - whatever is wrong, graphql-core meets it again and says where
            found: Any = stock()
            return cast("list[Any]", await found if self.is_awaitable(found) else found)
        return answers

    def event(self, payload: Any) -> AwaitableOrValue[ExecutionResult]:
        """The result for one payload of a subscription."""
        plan = self._of_events(self.plans)
        if plan is not None and not plan.rest and (result := self._told(plan.read, payload)) is not None:
            return result
        executor = self.build_per_event_executor(payload)
        return cast("AwaitableOrValue[ExecutionResult]", executor.execute_operation(serially=False))

    def announced(self, values: Sequence[Any]) -> ExecutionResult | None:
        """The result for an event as it was announced; None where its records are to be read."""
        if self._reads_announced is None:
            self._reads_announced = self._of_events(self.announcements)
        return None if self._reads_announced is None else self._told(self._reads_announced, values)

    def _of_events(self, recurring: Recurring[T]) -> T | None:
        """What there is for what a subscription selects of its events."""
        if self._root is None:
            self._root = Root.of(self)
        kind = self._root.object_type
        return None if kind is None else recurring.of(self, kind, self._root.details)

    def _told(self, read: Read, source: Any) -> ExecutionResult | None:
        """The result of a subscription that is read at once."""
        assert self._root is not None
        try:
            return ExecutionResult({self._root.key: read(source, self)}, None)
        except Exception:  # noqa: BLE001 - whatever is wrong, graphql-core meets it again and says where
            return None

    def build_per_event_executor(self, payload: Any) -> Executor[Any]:
        executor = cast("Self", super().build_per_event_executor(payload))
        # graphql-core 3.3.2 shares this cache among a subscription's events, and each adds keys that no
        # other ever meets: about 1 KB of every event would stay for as long as the subscription lives.
        executor._relevant_sub_fields = {}  # noqa: SLF001
        executor._infos = {}  # noqa: SLF001
        return executor


async def _completed(answer: dict[str, Any], rest: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    return {**answer, **await rest}


class SilentExecutor(OperationExecutor):
    """Says of a wrong value in the variables that it is wrong, not which ones would be right."""

    @classmethod
    def begun(
        cls, schema: GraphQLSchema, known: Known, context: Context, given: dict[str, Any]
    ) -> list[GraphQLError] | OperationExecutor:
        begun = super().begun(schema, known, context, given)
        return nameless(begun) if isinstance(begun, list) else begun
