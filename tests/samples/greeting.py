"""A program in the manner of Temporal's samples, knowing nothing of this project, with its own worker."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

TASK_QUEUE = "greeting-task-queue"


@dataclass
class ComposeGreetingInput:
    greeting: str
    name: str


@activity.defn
async def compose_greeting(input: ComposeGreetingInput) -> str:  # as the samples name it
    return f"{input.greeting}, {input.name}!"


@activity.defn(name="say-goodbye")
async def say_goodbye(name: str) -> str:
    return f"Goodbye, {name}!"


@workflow.defn
class ComposeGreetingWorkflow:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(
            compose_greeting,
            ComposeGreetingInput("Hello", name),
            start_to_close_timeout=timedelta(seconds=10),
        )


@workflow.defn
class GreetingWorkflow:
    def __init__(self) -> None:
        self._approved = False

    @workflow.run
    async def run(self, name: str) -> list[str]:
        await workflow.wait_condition(lambda: self._approved)
        greeting = await workflow.execute_child_workflow(
            ComposeGreetingWorkflow.run, name, id=f"{workflow.info().workflow_id}-compose"
        )
        goodbye = await workflow.execute_activity(
            say_goodbye, name, start_to_close_timeout=timedelta(seconds=10)
        )
        return [greeting, goodbye]

    @workflow.signal
    def approve(self) -> None:
        self._approved = True


async def main() -> None:
    client = await Client.connect("localhost:7233")
    await Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[GreetingWorkflow, ComposeGreetingWorkflow],
        activities=[compose_greeting, say_goodbye],
    ).run()


if __name__ == "__main__":
    asyncio.run(main())
