"""Every door to an owner's rows is found by itself, so that a new one cannot be forgotten."""

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any


def doors(module: ModuleType, *, writers: frozenset[str]) -> dict[str, Callable[..., Any]]:
    """The module's public functions that reach the database, less those that only write."""
    return {
        name: function
        for name, function in inspect.getmembers(module, inspect.iscoroutinefunction)
        if function.__module__ == module.__name__ and not name.startswith("_") and name not in writers
    }


def without_caller(found: dict[str, Callable[..., Any]]) -> list[str]:
    """The functions that do not ask whose call it is."""
    return [
        name for name, function in found.items() if "caller" not in inspect.signature(function).parameters
    ]
