"""How operations are executed where graphql-core's own way does not do."""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Hashable
from contextlib import aclosing
from functools import partial
from typing import Any, Self, cast

from graphql import GraphQLObjectType, OperationType
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList
from graphql.pyutils import AwaitableOrValue, Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from schema.info import Info
from schema.plans import DEFINITION, Call, Plans
from schema.shared import Group, Groups, identity
from schema.silence import nameless


class OperationExecutor(StrawberryGraphQLCoreExecutionContext):
    """Reads what it can by plans; executes an event once for all who subscribed to the same."""

    plans = Plans()
    subscriptions = Groups()

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._infos: dict[Call, Info] = {}
        self._group: Group | None = None
        self._event: Hashable | None = None

    def info(self, call: Call) -> Info:
        """The `info` for a resolver that a plan calls: one for all of its objects, without their paths."""
        found = self._infos.get(call)
        if found is None:
            nodes = [each.node for each in call.details]
            path = Path(None, nodes[0].name.value, call.parent_type.name)
            raw = self.build_resolve_info(call.definition, nodes, call.parent_type, path)
            found = self._infos[call] = Info(_raw_info=raw, _field=call.definition.extensions[DEFINITION])
        return found

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

    def execute_operation(self, serially: bool | None = None) -> Any:
        """The result; that of a subscription's event is shared by all who subscribed to the same."""
        execute: Callable[[], Any] = partial(super().execute_operation, serially)
        if self._group is None or self._event is None:
            return execute()
        return self._group.result(self._event, execute)

    def cancellable_iterable(self, iterable: AsyncIterable[Any]) -> AsyncIterable[Any]:
        """The payloads, while this subscription counts as one of its group."""
        payloads = super().cancellable_iterable(iterable)
        return self._shared(payloads) if self.operation.operation is OperationType.SUBSCRIPTION else payloads

    async def _shared(self, payloads: AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
        with self.subscriptions.joined(self) as self._group:
            async with aclosing(cast("AsyncGenerator[Any, None]", payloads)):
                async for payload in payloads:
                    yield payload

    def build_per_event_executor(self, payload: Any) -> Executor[Any]:
        executor = cast("Self", super().build_per_event_executor(payload))
        # graphql-core 3.3.2 shares this cache among a subscription's events, and each adds keys that no
        # other ever meets: about 1 KB of every event would stay for as long as the subscription lives.
        executor._relevant_sub_fields = {}  # noqa: SLF001
        executor._infos = {}  # noqa: SLF001
        executor._event = identity(payload)  # noqa: SLF001
        return executor


async def _completed(answer: dict[str, Any], rest: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    return {**answer, **await rest}


class SilentExecutor(OperationExecutor):
    """Says of a wrong value in the variables that it is wrong, not which ones would be right."""

    @classmethod
    def build(cls, *given: Any, **named: Any) -> Any:
        built = super().build(*given, **named)
        return nameless(built) if isinstance(built, list) else built
