"""Holds inputs against input schemas, whatever the schemas are: nobody else waits for it."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from functools import lru_cache
from math import inf
from typing import Any

import orjson

from app import json_schema
from app.errors import Issue, Unavailable
from app.json_schema import MAX_SCHEMA_BYTES, READY, Finding, Survey

PROCESSES = 2
SPAWN_SECONDS = 20.0
WAIT_SECONDS = 5.0
# The most that is done in this process, in steps of the schema times bytes of the input: some milliseconds.
MAX_STEPS_HERE = 1_000_000.0
# To list violations takes the library a hundred times as long as to see that there are some.
MAX_STEPS_TO_TELL_HERE = 50_000.0
MAX_ANSWER_BYTES = 1_000_000
# Of a schema that is not recursive: what every input would be held against.
MAX_STEPS = 1_000_000.0


class _TooSlow(Exception):
    """The process died of the question or did not answer it in time."""


class Judge:
    """Owns the processes in which schemas are checked that may take long; they start when first needed."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._free: asyncio.LifoQueue[Process | None] = asyncio.LifoQueue()
        for _ in range(PROCESSES):
            self._free.put_nowait(None)

    async def schema_issues(self, path: str, schema: Any) -> list[Issue]:
        """What is wrong with an input schema; `path` is where the caller gave it."""
        text = orjson.dumps(schema).decode()
        if len(text) > MAX_SCHEMA_BYTES:
            return [Issue(path, f"must have {MAX_SCHEMA_BYTES} bytes at most, not {len(text)}")]
        survey = Survey(schema)
        if MAX_STEPS < survey.weight < inf:
            return [Issue(path, "unfolds to too many steps, by references that multiply: simplify it")]
        try:
            return _issues(path, survey.findings or await self._ask([text, {}]))
        except _TooSlow:
            return [Issue(path, f"takes longer than {self._timeout_seconds:g} s to read: simplify it")]

    async def input_issues(self, path: str, schema: Any, value: Any) -> list[Issue]:
        """What is wrong with an input by its schema; a schema that is None accepts anything."""
        if schema is None:
            return []
        text = orjson.dumps(schema).decode()
        steps = _weight(text) * len(orjson.dumps(value))
        try:
            if steps <= MAX_STEPS_HERE and json_schema.accepts(text, value):
                return []
            if steps <= MAX_STEPS_TO_TELL_HERE:
                return _issues(path, json_schema.findings(text, value))
            return _issues(path, await self._findings(text, value))
        except _TooSlow:
            message = f"takes longer than {self._timeout_seconds:g} s to check: simplify the inputSchema"
        except ValueError:
            message = "cannot be checked: the workflow's inputSchema is not usable; update the workflow"
        return [Issue(path, message)]

    async def close(self) -> None:
        """End the processes; questions still open fail."""
        for _ in range(self._free.qsize()):
            await _end(self._free.get_nowait())

    async def _findings(self, schema: str, value: Any) -> list[Finding]:
        """What is wrong with a value; the first thing alone where it would take long to list them all."""
        first = await self._ask([schema, {"value": value, "every": False}])
        if not first:
            return []
        try:
            return await self._ask([schema, {"value": value, "every": True}])
        except (_TooSlow, Unavailable):
            return first

    async def _ask(self, question: list[Any]) -> list[Finding]:
        """The findings of one process; raises ValueError for a bad schema, Unavailable when all are busy."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                process = await self._free.get()
        except TimeoutError as error:
            raise Unavailable("Too many input schemas are being checked.", 1) from error
        try:
            if process is None or process.returncode is not None:
                process = await _spawn(self._timeout_seconds)
            answer = await self._answer(process, question)
        except BaseException:
            # What it still has to say is nobody's answer.
            await _end(process)
            process = None
            raise
        finally:
            self._free.put_nowait(process)
        if isinstance(answer, str):
            raise ValueError(answer)
        return [(path, message) for path, message in answer]

    async def _answer(self, process: Process, question: list[Any]) -> Any:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            # It ends by itself in time; this is for one that hangs otherwise.
            async with asyncio.timeout(2 * self._timeout_seconds + 1):
                process.stdin.write(orjson.dumps(question) + b"\n")
                await process.stdin.drain()
                answer = await process.stdout.readline()
        except (OSError, TimeoutError) as error:
            raise _TooSlow from error
        if not answer.endswith(b"\n"):
            raise _TooSlow
        return orjson.loads(answer)


@lru_cache(maxsize=256)
def _weight(schema: str) -> float:
    return Survey(orjson.loads(schema)).weight


def _issues(path: str, found: Sequence[Finding]) -> list[Issue]:
    return [Issue(path + place, message) for place, message in found]


async def _spawn(timeout_seconds: float) -> Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", json_schema.__name__, str(timeout_seconds)),
        stdin=PIPE,
        stdout=PIPE,
        limit=MAX_ANSWER_BYTES,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SPAWN_SECONDS):
            ready = await process.stdout.readline()
    except TimeoutError:
        ready = b""
    if ready != READY:
        await _end(process)
        raise Unavailable("Input schemas cannot be checked now.", 1)
    return process


async def _end(process: Process | None) -> None:
    if process is not None and process.returncode is None:
        process.kill()
        await process.wait()
