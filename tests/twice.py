"""Plans checked against graphql-core's own execution, object by object, wherever the tests use them."""

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from graphql import GraphQLObjectType
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList, GroupedFieldSet
from graphql.pyutils import Path
from orjson import Fragment

from app.deliveries import Delivery
from app.records import value
from schema.announced import Announced
from schema.plans import Batch, Call, Complete, Direct, Directs, Plan, Plans, Read
from schema.types import Execution, ExecutionEvent

PAYLOADS = {"ExecutionEvent": ExecutionEvent.of, "Execution": Execution.delivered}


class CheckedPlans(Plans):
    """Reads each object twice; `read` counts the objects that were read by a plan."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    def of(
        self, executor: Executor[Any], object_type: GraphQLObjectType, details: FieldDetailsList
    ) -> Plan | None:
        return self._checked(super().of(executor, object_type, details), object_type, details)

    def made(self, object_type: GraphQLObjectType, details: FieldDetailsList) -> Plan | None:
        return self._checked(super().made(object_type, details), object_type, details)

    def _checked(
        self, plan: Plan | None, object_type: GraphQLObjectType, details: FieldDetailsList
    ) -> Plan | None:
        if plan is None:
            return None
        batches = {key: CheckedBatch(each.call, each.complete) for key, each in plan.batches.items()}
        return Plan(partial(self._read_twice, object_type, details, plan), plan.rest, batches)

    def _read_twice(
        self,
        object_type: GraphQLObjectType,
        details: FieldDetailsList,
        plan: Plan,
        source: Any,
        executor: Executor[Any],
    ) -> dict[str, Any]:
        answer = plan.read(source, executor)
        self.read += 1
        fields = executor.collect_subfields(object_type, details).grouped_field_set
        plain = GroupedFieldSet({key: chosen for key, chosen in fields.items() if key not in plan.rest})
        expected = _executed(executor, object_type, source, plain)
        assert list(answer) == list(fields), (list(answer), list(fields))
        told = {key: value for key, value in answer.items() if key not in plan.rest}
        _agree("A plan", told, expected)
        return answer


class CheckedAnnounced(Announced):
    """Reads each announcement twice; `read` counts those that were read by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    def of(
        self, executor: Executor[Any], object_type: GraphQLObjectType, details: FieldDetailsList
    ) -> Read | None:
        found = super().of(executor, object_type, details)
        return None if found is None else partial(self._read_twice, object_type, details, found)

    def _read_twice(
        self,
        object_type: GraphQLObjectType,
        details: FieldDetailsList,
        read: Read,
        values: list[Any],
        executor: Executor[Any],
    ) -> dict[str, Any]:
        answer = read(values, executor)
        self.read += 1
        source = PAYLOADS[object_type.name](Delivery.of(values))
        fields = executor.collect_subfields(object_type, details).grouped_field_set
        expected = _executed(executor, object_type, source, fields)
        _agree("An announcement", answer, expected)
        return answer


class CheckedDirects(Directs):
    """Completes each value twice that a plan completes; `completed` counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.completed = 0

    def of(
        self, executor: Executor[Any], object_type: GraphQLObjectType, details: FieldDetailsList
    ) -> Direct | None:
        return self._checked(super().of(executor, object_type, details))

    def made(self, object_type: GraphQLObjectType, details: FieldDetailsList) -> Direct | None:
        return self._checked(super().made(object_type, details))

    def _checked(self, direct: Direct | None) -> Direct | None:
        if direct is None or direct.complete is None:
            return direct
        return replace(direct, complete=partial(self._complete_twice, direct.call, direct.complete))

    def _complete_twice(self, call: Call, complete: Complete, value: Any, executor: Any) -> Any:
        answer = complete(value, executor)
        self.completed += 1
        path = Path(None, "twice", call.parent_type.name)
        raw = executor.build_resolve_info(
            call.definition, [each.node for each in call.details], call.parent_type, path
        )
        found = executor.complete_value(call.definition.type, call.details, raw, path, value, None)
        expected = _at_once(found) if executor.is_awaitable(found) else found
        _agree("A plan", answer, expected)
        return answer


class Undirected(Directs):
    """Leaves every field to graphql-core, whose resolvers then have nothing rendered."""

    def of(self, *_: Any) -> None:
        return None

    def made(self, *_: Any) -> None:
        return None


class CheckedBatch(Batch):
    """Resolves several objects together, and one by one."""

    async def answers(self, sources: Sequence[Any], executor: Any) -> list[Any]:
        answers = await super().answers(sources, executor)
        kind, path = self.call.parent_type, Path(None, "twice", self.call.parent_type.name)
        for source, told in zip(sources, answers, strict=True):
            alone = GroupedFieldSet({"alone": self.call.details})
            expected = await executor.execute_fields(kind, source, path, alone, None)
            _agree("A batch", told, expected["alone"])
        return answers


def _agree(who: str, told: Any, expected: Any) -> None:
    """End the run where an answer is not graphql-core's."""
    # An assertion would be taken for a value that a plan cannot read.
    if not alike(told, expected):
        raise SystemExit(f"{who} tells {told}, graphql-core {expected}")


def _executed(
    executor: Executor[Any], object_type: GraphQLObjectType, source: Any, fields: GroupedFieldSet
) -> dict[str, Any]:
    """What graphql-core answers, field by field: none of those that a plan reads has to wait."""
    expected: dict[str, Any] = {}
    path = Path(None, "twice", object_type.name)
    for key, chosen in fields.items():
        result = executor.execute_fields(object_type, source, path, GroupedFieldSet({key: chosen}), None)
        expected |= result if isinstance(result, dict) else _at_once(result)
    return expected


def _at_once(awaitable: Awaitable[Any]) -> Any:
    try:
        awaitable.__await__().send(None)
    except StopIteration as done:
        return done.value
    raise SystemExit("A plan reads what has to be waited for")


def alike(told: Any, expected: Any) -> bool:
    """Whether two answers are equal, but for the time between them in what counts it."""
    told, expected = _said(told), _said(expected)
    if isinstance(told, dict) and isinstance(expected, dict):
        return list(told) == list(expected) and all(alike(told[key], expected[key]) for key in told)
    if isinstance(told, list) and isinstance(expected, list):
        return len(told) == len(expected) and all(map(alike, told, expected))
    if isinstance(told, float) and isinstance(expected, float) and min(told, expected) > 0:
        return expected == pytest.approx(told, abs=1.0)
    return type(told) is type(expected) and bool(told == expected)


def _said(answer: Any) -> Any:
    """What is said by JSON that Postgres has made."""
    return value(answer) if isinstance(answer, Fragment) else answer
