"""Identical subscriptions of one owner: an event is executed, and written as JSON, once for all of them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import orjson
from graphql import (
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    Node,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    visit,
)
from graphql.execution import Executor
from graphql.pyutils import AwaitableOrValue

from schema.types import Execution, ExecutionEvent

# A result tells of the present: whoever comes later is told anew.
SHARED_SECONDS = 0.5
KEPT_RESULTS = 64
KEPT_OPERATIONS = 1_000


Result = AwaitableOrValue[ExecutionResult]


class SharedData(dict[str, Any]):
    """The data of a result that several subscribers get."""

    @cached_property
    def json(self) -> str:
        return orjson.dumps(self).decode()


class Group:
    """Those who have subscribed to the same; what their events of this moment came to."""

    def __init__(self, operation: OperationDefinitionNode) -> None:
        # Kept, so that no other operation gets its id.
        self.operation = operation
        self.members = 0
        self._results: dict[Hashable, tuple[float, Result]] = {}

    def result(self, event: Hashable, execute: Callable[[], AwaitableOrValue[ExecutionResult]]) -> Result:
        """What the event comes to now: executed by the first who asks, where there are others."""
        if self.members == 1:
            self._results.clear()
            return execute()
        now = time.monotonic()
        since, found = self._results.get(event, (0.0, None))
        if found is None or now - since > SHARED_SECONDS:
            self._forget(now)
            found = _shared(execute())
            self._results[event] = now, found
        return asyncio.shield(found) if isinstance(found, asyncio.Future) else found

    def _forget(self, now: float) -> None:
        """Let the oldest results go: those of a moment ago, and more than are kept."""
        while self._results:
            event, (since, _) = next(iter(self._results.items()))
            if now - since <= SHARED_SECONDS and len(self._results) < KEPT_RESULTS:
                break
            del self._results[event]


class Groups:
    """The groups there are; one ends with its last member."""

    def __init__(self) -> None:
        self._groups: WeakValueDictionary[Hashable, Group] = WeakValueDictionary()
        self._free_variables: dict[int, tuple[OperationDefinitionNode, frozenset[str]]] = {}

    @contextmanager
    def joined(self, executor: Executor[Any]) -> Iterator[Group]:
        """Be one of a group: of the same operation, for the same eyes, with the same results."""
        operation, caller = executor.operation, executor.context_value.caller
        given = executor.variable_values.coerced
        inside = {name: given[name] for name in self._inside(executor) if name in given}
        key = (id(operation), caller.owner, caller.scopes, repr(sorted(inside.items())))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(operation)
        group.members += 1
        try:
            yield group
        finally:
            group.members -= 1

    def _inside(self, executor: Executor[Any]) -> frozenset[str]:
        """The variables that an event's result depends on: not those of the subscription field itself."""
        operation = executor.operation
        found = self._free_variables.get(id(operation))
        if found is None:
            if len(self._free_variables) >= KEPT_OPERATIONS:
                self._free_variables.clear()
            names = frozenset(_variables(operation, executor.fragment_definitions.values()))
            found = self._free_variables[id(operation)] = (operation, names)
        return found[1]


def identity(payload: object) -> Hashable:
    """What tells a subscription's payload from all others; None for one that is made anew each time."""
    match payload:
        case ExecutionEvent():
            return payload.record.execution_id, payload.record.version
        case Execution():
            return payload.record.id, payload.record.version
    return None


def _shared(result: AwaitableOrValue[ExecutionResult]) -> Result:
    if isinstance(result, ExecutionResult):
        return _writable(result)
    # A task of its own: the end of whoever asked first must not be everybody's.
    return asyncio.ensure_future(_awaited(result))


def text(message: Mapping[str, Any]) -> str:
    """A frame of the protocol; the data of a shared result are not written again."""
    match message:
        case {"type": "next", "id": id, "payload": {"data": SharedData() as data, **rest}} if not rest:
            return f'{{"id":{orjson.dumps(id).decode()},"type":"next","payload":{{"data":{data.json}}}}}'
    return orjson.dumps(message).decode()


async def _awaited(result: Awaitable[ExecutionResult]) -> ExecutionResult:
    return _writable(await result)


def _writable(result: ExecutionResult) -> ExecutionResult:
    if result.data is not None:
        result.data = SharedData(result.data)
    return result


def _variables(
    operation: OperationDefinitionNode, fragments: Iterable[FragmentDefinitionNode]
) -> Iterator[str]:
    for fragment in fragments:
        yield from _within(fragment)
    for selection in operation.selection_set.selections:
        if isinstance(selection, FieldNode) and selection.selection_set is not None:
            yield from _within(selection.selection_set)
        else:
            yield from _within(selection)


def _within(node: Node) -> list[str]:
    finder = _Finder()
    visit(node, finder)
    return finder.names


class _Finder(Visitor):
    """Finds the variables within a node."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        self.names.append(node.name.value)
