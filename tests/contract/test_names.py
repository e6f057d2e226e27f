"""A root field has one name all the way down: in the schema, on its class, in the resolvers."""

import ast
import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module

import pytest
from graphql import build_schema
from strawberry.utils.str_converters import to_snake_case

import resolvers
from schema import sdl
from schema.mutation import Mutation
from schema.query import Query
from schema.subscription import Subscription

# The resolver of a subscription watches what the query of the same name reads.
PREFIX: dict[type, str] = {Query: "", Mutation: "", Subscription: "watch_"}


def fields() -> Iterator[tuple[type, str]]:
    """The root fields as the schema prints them."""
    printed = build_schema(sdl())
    for root, type in zip(
        PREFIX, (printed.query_type, printed.mutation_type, printed.subscription_type), strict=True
    ):
        assert type is not None
        yield from ((root, name) for name in type.fields)


def resolver_modules() -> dict[str, object]:
    return {
        each.name: import_module(f"resolvers.{each.name}")
        for each in pkgutil.iter_modules(resolvers.__path__)
    }


def defined(name: str) -> list[str]:
    """The modules of the resolvers that define a function of that name."""
    return [
        module
        for module, members in resolver_modules().items()
        if inspect.isfunction(found := getattr(members, name, None))
        and found.__module__ == f"resolvers.{module}"
    ]


def calls(root: type, method: str) -> set[str]:
    """The functions, `module.name`, that a method of a root type calls."""
    (definition,) = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(root)))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == method
    ]
    return {
        f"{node.func.value.id}.{node.func.attr}"
        for node in ast.walk(definition)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
    }


@pytest.mark.parametrize(("root", "field"), list(fields()))
def test_a_root_field_calls_the_resolver_of_its_name(root: type, field: str) -> None:
    method = to_snake_case(field)
    resolver = PREFIX[root] + method

    modules = defined(resolver)

    assert len(modules) == 1, f"{root.__name__}.{field} needs one resolvers.*.{resolver}"
    assert f"{modules[0]}.{resolver}" in calls(root, method)


def test_every_kind_of_root_field_is_looked_at() -> None:
    found = set(fields())

    assert {(Query, "executions"), (Mutation, "startExecution"), (Subscription, "executionEvents")} <= found
    assert defined("no_such_resolver") == []
