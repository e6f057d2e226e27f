"""One operation on its way: what is known of it before it is executed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from strawberry.extensions import SchemaExtension
from strawberry.types import ExecutionContext


@dataclass
class Operation(ExecutionContext):
    """Strawberry's context of an execution, with the operation's cost, once that has been counted."""

    cost: int | None = None

    @property
    def asks_for_cost(self) -> bool:
        """Whether the request came with the extension `{"cost": true}`."""
        return bool((self.operation_extensions or {}).get("cost"))


class TellCost(SchemaExtension):
    """Tells those who ask what their operation costs, with its first result."""

    execution_context: Operation

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._told = False

    def on_stream_result(self, _: Any) -> Iterator[None]:
        self._told = True
        yield

    def get_results(self) -> dict[str, Any]:
        operation = self.execution_context
        if self._told or operation.cost is None or not operation.asks_for_cost:
            return {}
        return {"cost": {"requested": operation.cost, "limit": self._most}}
