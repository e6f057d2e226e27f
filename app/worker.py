"""Runs the workflows and activities of modules that know nothing of this program."""

import importlib
import inspect
import logging
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker

from app.mendable import Mendable

logger = logging.getLogger(__name__)

CONCURRENT_ACTIVITIES = 100
GRACEFUL_SHUTDOWN = timedelta(seconds=5)
# A cancellation comes with the answer to a heartbeat, and the SDK holds heartbeats back for up to a minute.
HEARTBEAT_THROTTLE = timedelta(seconds=1)

# The SDK marks decorated classes and functions with these attributes and has no public way to ask for them.
WORKFLOW_MARK = "__temporal_workflow_definition"
ACTIVITY_MARK = "__temporal_activity_definition"


class WorkerError(Mendable):
    """A module cannot be run; the message names it and says why."""


@dataclass(frozen=True)
class Definitions:
    """Workflow classes and activity functions, each once, in the order in which they were found."""

    workflows: tuple[type, ...]
    activities: tuple[Callable[..., Any], ...]


async def run(client: Client, modules: Sequence[str], task_queue: str) -> None:
    """Runs what the modules define on one task queue until cancelled; activities then get 5 seconds to end.

    Raises WorkerError for a module that is missing or has nothing to run, and for names defined twice.
    """
    definitions = _union(discover(module) for module in modules)
    with ThreadPoolExecutor(CONCURRENT_ACTIVITIES, thread_name_prefix="activity") as executor:
        worker = _worker(client, definitions, task_queue, executor)
        logger.info("running %s on task queue %s", ", ".join(_names(definitions)), task_queue)
        await worker.run()


def discover(module: str) -> Definitions:
    """Finds the workflows and activities that a module, or any module of a package, defines or imports.

    Those of a module it imported as a whole count too (`import activities`). Raises WorkerError for a module
    that cannot be imported or has none.
    """
    _import_from_here()
    values = [value for part in _walk(module) for value in _contents(part)]
    workflows = dict.fromkeys(value for value in values if _is_workflow(value))
    activities = dict.fromkeys(value for value in values if _is_activity(value))
    if not workflows and not activities:
        raise WorkerError(
            f"module {module} has no @workflow.defn class and no @activity.defn function"
            " (an activity that is a method is found if bound at module level: charge = Payments().charge)"
        )
    return Definitions(tuple(workflows), tuple(activities))


def _union(found: Iterable[Definitions]) -> Definitions:
    parts = list(found)
    workflows = dict.fromkeys(workflow for part in parts for workflow in part.workflows)
    activities = dict.fromkeys(activity for part in parts for activity in part.activities)
    return Definitions(tuple(workflows), tuple(activities))


def _worker(
    client: Client, definitions: Definitions, task_queue: str, executor: ThreadPoolExecutor
) -> Worker:
    try:
        return Worker(
            client,
            task_queue=task_queue,
            workflows=definitions.workflows,
            activities=definitions.activities,
            activity_executor=executor,
            max_concurrent_activities=CONCURRENT_ACTIVITIES,
            graceful_shutdown_timeout=GRACEFUL_SHUTDOWN,
            max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        )
    except (TypeError, ValueError) as error:
        raise WorkerError(f"cannot run the modules together: {error}") from error


def _names(definitions: Definitions) -> list[str]:
    return [value.__name__ for value in definitions.workflows + definitions.activities]


def _import_from_here() -> None:
    """Makes the current directory importable, as `python -m` does, for us and for the SDK's sandbox."""
    here = str(Path.cwd())
    if "" not in sys.path and here not in sys.path:
        sys.path.insert(0, here)


def _walk(name: str) -> Iterator[ModuleType]:
    module = _import(name)
    yield module
    for part in pkgutil.iter_modules(getattr(module, "__path__", ()), f"{name}."):
        # Importing a package's __main__ would run a program.
        if not part.name.endswith(".__main__"):
            yield from _walk(part.name)


def _import(name: str) -> ModuleType:
    if not name or name.startswith("."):
        raise WorkerError(f"{name!r} is not the name of a module, such as shop.orders")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise WorkerError(f"cannot import module {name}: {error}") from error


def _contents(module: ModuleType) -> Iterator[Any]:
    for value in list(vars(module).values()):
        yield value
        if isinstance(value, ModuleType):
            yield from list(vars(value).values())


def _is_workflow(value: object) -> bool:
    """A subclass that is not decorated itself inherits the mark, so only the class's own counts."""
    return isinstance(value, type) and WORKFLOW_MARK in vars(value)


def _is_activity(value: object) -> bool:
    return inspect.isroutine(value) and hasattr(value, ACTIVITY_MARK)
