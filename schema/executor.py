"""How operations are executed where graphql-core's own way does not do."""

from typing import Any

from graphql.execution import Executor
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext


class OperationExecutor(StrawberryGraphQLCoreExecutionContext):
    """Keeps nothing of a subscription's event once that is delivered."""

    def build_per_event_executor(self, payload: Any) -> Executor[Any]:
        # graphql-core 3.3.2 shares this cache among a subscription's events, and each adds keys that no
        # other ever meets: about 1 KB of every event would stay for as long as the subscription lives.
        executor = super().build_per_event_executor(payload)
        executor._relevant_sub_fields = {}  # noqa: SLF001
        return executor
