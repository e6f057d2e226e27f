"""One operation on its way: what is known of it before it is executed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from strawberry.extensions import SchemaExtension
from strawberry.types import ExecutionContext
from strawberry.types.graphql import OperationType

from schema.documents import Known


@dataclass
class Operation(ExecutionContext):
    """Strawberry's context of an execution, with what is known of the operation once it has been checked."""

    known: Known | None = None
    cost: int | None = None

    @property
    def operation_type(self) -> OperationType:
        """What the document says; raises RuntimeError where it has no such operation."""
        return super().operation_type if self.known is None else self.known.type

    @property
    def asks_for_cost(self) -> bool:
        """Whether the request came with the extension `{"cost": true}`."""
        return bool((self.operation_extensions or {}).get("cost"))

    def told_cost(self, most: int) -> dict[str, Any]:
        """What the extensions of the first result say to those who ask."""
        if self.cost is None or not self.asks_for_cost:
            return {}
        return {"cost": {"requested": self.cost, "limit": most}}


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
        return {} if self._told else self.execution_context.told_cost(self._most)
