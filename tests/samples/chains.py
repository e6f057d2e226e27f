"""Workflows that are more than one run, more than one page of history, or end with an odd result."""

import asyncio
import base64
from datetime import timedelta

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError


@workflow.defn
class CountdownWorkflow:
    @workflow.run
    async def run(self, left: int) -> str:
        """Continues as new until nothing is left."""
        if left > 0:
            workflow.continue_as_new(left - 1)
        return "lift-off"


@workflow.defn
class StumblingWorkflow:
    @workflow.run
    async def run(self, succeed_on_attempt: int) -> int:
        """Answers its attempt; needs a retry policy to come far."""
        attempt = workflow.info().attempt
        if attempt < succeed_on_attempt:
            raise ApplicationError(f"stumbled on attempt {attempt}", type="Stumbled")
        return attempt


@workflow.defn
class TickingWorkflow:
    @workflow.run
    async def run(self, timers: int) -> int:
        """Starts so many timers at once and waits for all of them."""
        await asyncio.gather(*(workflow.sleep(timedelta(milliseconds=10)) for _ in range(timers)))
        return timers


@workflow.defn
class OddResultWorkflow:
    @workflow.run
    async def run(self, encoding: str, data: str) -> RawValue:
        """Answers a payload of that encoding; its data are given in base64."""
        return RawValue(Payload(metadata={"encoding": encoding.encode()}, data=base64.b64decode(data)))
