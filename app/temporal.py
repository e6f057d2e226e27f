"""The only calls to Temporal: each with a timeout, its failures translated."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

from google.protobuf.descriptor import Descriptor
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import TaskQueueType, WorkflowExecutionStatus, WorkflowIdReusePolicy
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryRequest,
    ListWorkflowExecutionsRequest,
    PauseWorkflowExecutionRequest,
    QueryWorkflowRequest,
    RequestCancelWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
    UnpauseWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError, RPCStatusCode

from app import activities, payloads
from app.codec import decode, decode_events
from app.errors import NotSupported, StartRejected, Unavailable
from app.history import ACTOR_PREFIX, by_hand
from app.inputs import MAX_REASON_CHARACTERS
from app.records import PendingActivityRecord
from app.store.tracking import StartRequest
from app.tables import ExecutionStatus
from app.time_limits import TimeLimit

# Every workflow id of ours begins with it: visibility can tell them from others'.
WORKFLOW_ID_PREFIX = "temporal-graphql-"
PAGE = 1_000
# What a tracker is given of a history at once, and writes in one transaction.
HISTORY_PAGE = 500
# The server counts batches, and a batch has from one event to some thousands: the first page tells.
FIRST_PAGE_BATCHES = 10
LONG_POLL = timedelta(seconds=70)
DIAL_SECONDS = 1.0
# Of a list that asks about each of its executions.
ASKED_AT_ONCE = 20
# Temporal's own limit on what one call brings, where nobody has changed it.
MAX_PAYLOAD_BYTES = 2_000_000
PAUSED = "This execution is paused, and Temporal asks no paused workflow: resume it first."
# How a call fails; the lazy client's first dial does with a bare RuntimeError.
_FAILURES = (RPCError, TimeoutError, RuntimeError)
NO_ANSWER = "Temporal does not answer: try again in 2 s."
NOT_YET = "The workflow has not taken its first step yet: it cannot answer. Ask again in a moment."
PAUSE_IS_OFF = (
    "This Temporal server cannot pause workflows. It needs version 1.30 or newer with the dynamic "
    "configuration value frontend.WorkflowPauseEnabled set to true for the namespace."
)


class NotRunning(Exception):
    """Temporal has no such run, or no open one, or no such namespace."""


class NoNamespace(NotRunning):
    """Temporal has no such namespace: that says nothing about its runs."""


class Refused(Exception):
    """Temporal will not do this, however often asked."""


class Unimplemented(Refused):
    """Temporal does not know this call, or has it turned off."""


class AlreadyStarted(Refused):
    """Temporal has started a workflow of this id before."""


class TooLarge(Refused):
    """What the call brings exceeds Temporal's limit; nothing was sent."""


@dataclass(frozen=True)
class Reset:
    """The run that replaces another, and its first event that is not a copy."""

    run_id: str
    first_new_event: int


@dataclass(frozen=True)
class Closed:
    """A workflow that has closed."""

    workflow_id: str
    closed_at: datetime


async def connect(
    address: str | None = None,
    namespace: str | None = None,
    *,
    codec: PayloadCodec | None = None,
    lazy: bool = True,
) -> Client:
    """A client that dials on its first call, or at once unless `lazy`; raises Unavailable then.

    What is not given comes from Temporal's environment configuration (TEMPORAL_ADDRESS,
    TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS_*, profiles), its defaults last.
    """
    config: dict[str, Any] = dict(ClientConfig.load_client_connect_config())
    if address is not None:
        config["target_host"] = address
    if namespace is not None:
        config["namespace"] = namespace
    config.setdefault("target_host", "localhost:7233")
    converter = replace(DataConverter.default, payload_codec=codec)
    # By default the client's runtime has a thread for each core, which wake one another for each call: a
    # single call takes nearly twice the CPU then. What answers it holds Python's lock, which is one.
    os.environ.setdefault("TOKIO_WORKER_THREADS", "1")
    try:
        return await Client.connect(**config, data_converter=converter, lazy=lazy)
    except _FAILURES as error:
        raise _translation(error) from error


class Temporal:
    """The calls that the API and the tracker make; each raises Unavailable when Temporal does not answer."""

    def __init__(self, client: Client, timeout_seconds: float) -> None:
        self._client = client
        self._timeout = timedelta(seconds=timeout_seconds)
        # Beside the calls' own timeouts, since the client's first dial knows none.
        self._limit = TimeLimit(timeout_seconds + DIAL_SECONDS)
        self._poll_limit = TimeLimit(LONG_POLL.total_seconds() + DIAL_SECONDS)
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)

    @property
    def longest_call(self) -> timedelta:
        """After that a call is given up; Temporal may do it still."""
        return timedelta(seconds=self._limit.seconds)

    async def start(self, request: StartRequest) -> str:
        """Start a workflow once, however often asked, and return its run id; raises StartRejected."""
        workflow_id, timeout = request.execution.temporal_workflow_id, request.execution_timeout_seconds
        asked = StartWorkflowExecutionRequest(
            namespace=self._client.namespace,
            workflow_id=workflow_id,
            workflow_type=WorkflowType(name=request.workflow_type),
            task_queue=TaskQueue(name=request.task_queue),
            identity=self._client.identity,
            # By this Temporal knows a start that it has made before.
            request_id=workflow_id,
            workflow_id_reuse_policy=WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
        )
        if timeout is not None:
            asked.workflow_execution_timeout.FromSeconds(timeout)
        if (delay := request.delay(datetime.now(UTC))) is not None:
            asked.workflow_start_delay.FromTimedelta(delay)
        try:
            if request.input is not None:
                asked.input.payloads.extend(await self._encoded([request.input]))
            with _Call(self._limit):
                started = await self._client.workflow_service.start_workflow_execution(
                    asked, retry=True, timeout=self._timeout
                )
        except AlreadyStarted:
            return await self._first_run_id(workflow_id)
        except Unimplemented as error:
            # No Temporal server says so of a start: something else answers in its place.
            raise Unavailable(NO_ANSWER, retry_after_seconds=2) from error
        except (NotRunning, Refused) as error:
            raise StartRejected(str(error)) from error
        return started.first_execution_run_id or started.run_id

    async def cancel(self, workflow_id: str, actor: str, reason: str | None) -> None:
        """Ask the workflow to cancel itself; raises NotRunning where it has ended."""
        request = RequestCancelWorkflowExecutionRequest(
            namespace=self._client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            identity=ACTOR_PREFIX + actor,
            request_id=str(uuid.uuid4()),
            reason=(reason or "")[:MAX_REASON_CHARACTERS],
        )
        with _Call(self._limit):
            await self._client.workflow_service.request_cancel_workflow_execution(
                request, timeout=self._timeout
            )

    async def terminate(self, workflow_id: str, actor: str, reason: str) -> None:
        """End the workflow at once; raises NotRunning where it has ended or never was."""
        await self._terminate(workflow_id, actor, reason, [])

    async def finish(
        self, workflow_id: str, actor: str, status: ExecutionStatus, message: str | None, output: Any
    ) -> None:
        """End the workflow at once as COMPLETED or FAILED: its history then tells so, with what is given.

        Raises NotRunning where it has ended or never was, and TooLarge.
        """
        details = [by_hand(status), *await self._encoded([message, output])]
        await self._terminate(workflow_id, actor, f"{status.capitalize()} by hand", details)

    async def signal(self, workflow_id: str, actor: str, name: str, arguments: Sequence[Any]) -> None:
        """Send the workflow a signal; raises NotRunning where it has ended or never was, and TooLarge."""
        request = SignalWorkflowExecutionRequest(
            namespace=self._client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            identity=ACTOR_PREFIX + actor,
            request_id=str(uuid.uuid4()),
            signal_name=name,
            input=Payloads(payloads=await self._encoded(arguments)),
        )
        with _Call(self._limit):
            await self._client.workflow_service.signal_workflow_execution(request, timeout=self._timeout)

    async def pause(self, workflow_id: str, actor: str, reason: str) -> None:
        """Hold the workflow back; raises NotRunning, Refused where it is paused already, and NotSupported."""
        request = PauseWorkflowExecutionRequest(
            namespace=self._client.namespace,
            workflow_id=workflow_id,
            identity=ACTOR_PREFIX + actor,
            request_id=str(uuid.uuid4()),
            reason=reason[:MAX_REASON_CHARACTERS],
        )
        with _if_it_can_pause(), _Call(self._limit):
            await self._client.workflow_service.pause_workflow_execution(request, timeout=self._timeout)

    async def unpause(self, workflow_id: str, actor: str, reason: str) -> None:
        """Let the workflow go on; raises NotRunning, Refused where it is not paused, and NotSupported."""
        request = UnpauseWorkflowExecutionRequest(
            namespace=self._client.namespace,
            workflow_id=workflow_id,
            identity=ACTOR_PREFIX + actor,
            request_id=str(uuid.uuid4()),
            reason=reason[:MAX_REASON_CHARACTERS],
        )
        with _if_it_can_pause(), _Call(self._limit):
            await self._client.workflow_service.unpause_workflow_execution(request, timeout=self._timeout)

    async def history_length(self, workflow_id: str, run_id: str) -> int:
        """How many events one run has; raises NotRunning where Temporal does not have it."""
        answer = await self._describe(workflow_id, run_id)
        return answer.workflow_execution_info.history_length

    async def present_run(self, workflow_id: str) -> str:
        """The id of the last run of the workflow; raises NotRunning where Temporal has none."""
        return (await self._describe(workflow_id, "")).workflow_execution_info.execution.run_id

    async def pending_activities(self, workflow_id: str) -> list[PendingActivityRecord]:
        """The activities of the workflow's present run that have not ended; raises NotRunning."""
        # The wait for others is part of the time that the call may take.
        with _Call(self._limit):
            async with self._asking:
                pending = (await self._describe(workflow_id, "")).pending_activities
        if codec := self._client.data_converter.payload_codec:
            heartbeats = [payload for each in pending for payload in each.heartbeat_details.payloads]
            await decode(codec, heartbeats, [each.last_failure for each in pending])
        now = datetime.now(UTC)
        return [activities.read(each, now) for each in pending]

    async def query(self, workflow_id: str, query: str, arguments: Sequence[Any]) -> Any:
        """What the workflow answers to a Temporal Query.

        Raises Refused where its code has no such query or the handler fails, TooLarge, NotRunning where
        Temporal does not have it, NotSupported while it is paused, and Unavailable before its first step,
        where no worker answers, and where its code fails at its present step.
        """
        queue, is_failing = await self._expect_answer(workflow_id)
        asked = WorkflowQuery(query_type=query, query_args=Payloads(payloads=await self._encoded(arguments)))
        request = QueryWorkflowRequest(
            namespace=self._client.namespace,
            execution=WorkflowExecution(workflow_id=workflow_id),
            query=asked,
        )
        with _Call(self._limit), _answered_by_worker(queue, is_failing, self._timeout):
            answer = await self._client.workflow_service.query_workflow(request, timeout=self._timeout)
        if answer.HasField("query_rejected"):
            raise NotSupported(PAUSED)
        result = answer.query_result.payloads
        if codec := self._client.data_converter.payload_codec:
            await decode(codec, result)
        return payloads.single(result)

    async def reset_of(self, workflow_id: str, run_id: str) -> Reset | None:
        """The run that a reset put in this one's place, if one did; raises NotRunning."""
        answer = await self._describe(workflow_id, run_id)
        new_run_id = answer.workflow_extended_info.reset_run_id
        if not new_run_id and not (new_run_id := await self._successor(answer.workflow_execution_info)):
            return None
        # The new run's history begins with a copy of another's, up to a failed task that names the new one.
        async for page in self.history(workflow_id, new_run_id, wait=False):
            for event in page:
                if event.workflow_task_failed_event_attributes.new_run_id == new_run_id:
                    return Reset(new_run_id, event.event_id + 1)
        return Reset(new_run_id, 1)

    async def _successor(self, ended: WorkflowExecutionInfo) -> str:
        """The chain's present run: the reset of an earlier run is not noted in the one that it ends."""
        present = (await self._describe(ended.execution.workflow_id, "")).workflow_execution_info
        same_chain = present.first_run_id == ended.first_run_id != ""
        other = present.execution.run_id != ended.execution.run_id
        return present.execution.run_id if same_chain and other else ""

    async def closed_since(self, prefix: str, since: datetime) -> AsyncIterator[list[Closed]]:
        """Pages of the workflows that closed after an instant, as visibility knows it: with some delay."""
        query = f'WorkflowId STARTS_WITH "{prefix}" AND CloseTime > "{since.isoformat()}"'
        async for page in self._list(query):
            yield [
                Closed(each.execution.workflow_id, each.close_time.ToDatetime(tzinfo=UTC)) for each in page
            ]

    async def paused(self, prefix: str) -> set[str]:
        """The ids of the workflows that are paused, as visibility knows it: with some delay."""
        query = f'WorkflowId STARTS_WITH "{prefix}" AND ExecutionStatus = "Paused"'
        return {each.execution.workflow_id async for page in self._list(query) for each in page}

    async def history(
        self, workflow_id: str, run_id: str, *, wait: bool
    ) -> AsyncIterator[Sequence[HistoryEvent]]:
        """The pages of one run's history, first to last; with `wait` for more to come until the run ends.

        Waiting ends early while the run is paused. Raises NotRunning where Temporal does not have the run.
        """
        token, batches, asked, given = b"", FIRST_PAGE_BATCHES, 0, 0
        while True:
            request = GetWorkflowExecutionHistoryRequest(
                namespace=self._client.namespace,
                execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
                next_page_token=token,
                maximum_page_size=batches,
                wait_new_event=wait,
            )
            with _Call(self._poll_limit):
                page = await self._client.workflow_service.get_workflow_execution_history(
                    request, timeout=LONG_POLL
                )
            if page.history.events:
                if codec := self._client.data_converter.payload_codec:
                    await decode_events(codec, page.history.events)
                asked, given = asked + batches, given + len(page.history.events)
                batches = min(max(HISTORY_PAGE * asked // given, 1), HISTORY_PAGE)
                for start in range(0, len(page.history.events), HISTORY_PAGE):
                    yield page.history.events[start : start + HISTORY_PAGE]
            if not page.next_page_token:
                return
            token = page.next_page_token

    async def _terminate(self, workflow_id: str, actor: str, reason: str, details: Sequence[Payload]) -> None:
        request = TerminateWorkflowExecutionRequest(
            namespace=self._client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            identity=ACTOR_PREFIX + actor,
            reason=reason[:MAX_REASON_CHARACTERS],
            details=Payloads(payloads=details) if details else None,
        )
        with _Call(self._limit):
            await self._client.workflow_service.terminate_workflow_execution(request, timeout=self._timeout)

    async def _encoded(self, values: Sequence[Any]) -> list[Payload]:
        """The values as the workers' codec wants them."""
        encoded = [payloads.encoded(value) for value in values]
        if codec := self._client.data_converter.payload_codec:
            encoded = await codec.encode(encoded)
        size = sum(payload.ByteSize() for payload in encoded)
        if size > MAX_PAYLOAD_BYTES:
            raise TooLarge(f"has {size} bytes for Temporal, which takes {MAX_PAYLOAD_BYTES} at most")
        return encoded

    async def _expect_answer(self, workflow_id: str) -> tuple[str, bool]:
        """The task queue whose workers may answer for the workflow, and whether its present step has failed.

        Raises NotSupported while it is paused, and Unavailable where no worker polls the queue.
        """
        answer = await self._describe(workflow_id, "")
        if answer.workflow_execution_info.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED:
            raise NotSupported(PAUSED)
        queue = answer.execution_config.task_queue.name
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace,
            task_queue=TaskQueue(name=queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        with _Call(self._limit):
            described = await self._client.workflow_service.describe_task_queue(
                request, timeout=self._timeout
            )
        if not described.pollers:
            raise Unavailable(f"No worker polls the task queue {queue!r}: start one, then ask again.")
        return queue, answer.pending_workflow_task.attempt > 1

    async def _describe(self, workflow_id: str, run_id: str) -> DescribeWorkflowExecutionResponse:
        # Raw: the SDK's own describe fails on a paused run, whose status it does not know.
        request = DescribeWorkflowExecutionRequest(
            namespace=self._client.namespace,
            execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
        )
        try:
            with _Call(self._limit):
                return await self._client.workflow_service.describe_workflow_execution(
                    request, timeout=self._timeout
                )
        except NoNamespace as error:
            raise Unavailable(str(error)) from error

    async def _list(self, query: str) -> AsyncIterator[Sequence[WorkflowExecutionInfo]]:
        token = b""
        while True:
            request = ListWorkflowExecutionsRequest(
                namespace=self._client.namespace, query=query, page_size=PAGE, next_page_token=token
            )
            with _Call(self._limit):
                page = await self._client.workflow_service.list_workflow_executions(
                    request, timeout=self._timeout
                )
            if page.executions:
                yield page.executions
            if not page.next_page_token:
                return
            token = page.next_page_token

    async def _first_run_id(self, workflow_id: str) -> str:
        """The run that a start made, however many have carried it on since."""
        async for page in self.history(workflow_id, "", wait=False):
            return page[0].workflow_execution_started_event_attributes.first_execution_run_id
        raise Unavailable("Temporal gave no history.")


class _Call:
    """One call within its time, with its failures translated. No generator: to enter one takes longer."""

    def __init__(self, limit: TimeLimit) -> None:
        self._applied = limit.applied()

    def __enter__(self) -> None:
        self._applied.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._applied.__exit__(kind, error, trace)
        except TimeoutError as late:
            raise _translation(late) from late
        if isinstance(error, _FAILURES):
            raise _translation(error) from error


@contextmanager
def _if_it_can_pause() -> Iterator[None]:
    try:
        yield
    except Unimplemented as error:
        raise NotSupported(PAUSE_IS_OFF) from error


@contextmanager
def _answered_by_worker(queue: str, is_failing: bool, limit: timedelta) -> Iterator[None]:
    """Tell apart what Temporal answers for the workers, who answer queries in its place."""
    look = f"The workflow cannot answer now, look at the worker of task queue {queue!r}"
    try:
        yield
    except RPCError as error:
        match error.status:
            case RPCStatusCode.DEADLINE_EXCEEDED | RPCStatusCode.CANCELLED if is_failing:
                raise Unavailable(f"{look}: its present step has failed.", 2) from error
            case RPCStatusCode.DEADLINE_EXCEEDED | RPCStatusCode.CANCELLED:
                asked = f"No worker answered within {limit.total_seconds():g} s"
                raise Unavailable(f"{asked}: is one running on task queue {queue!r}?", 2) from error
            case RPCStatusCode.FAILED_PRECONDITION if "not scheduled yet" in error.message:
                raise Unavailable(NOT_YET, 1) from error
            case RPCStatusCode.FAILED_PRECONDITION:
                reason = error.message[:MAX_REASON_CHARACTERS].rstrip(".")
                raise Unavailable(f"{look}: {reason}.", 2) from error
        raise


def _translation(error: Exception) -> Exception:
    """What a failed call raises: NotRunning and Refused are final; what may pass by itself is Unavailable."""
    if not isinstance(error, RPCError):
        unreached = "Temporal cannot be reached: try again in 2 s."
        return Unavailable(NO_ANSWER if isinstance(error, TimeoutError) else unreached, retry_after_seconds=2)
    match error.status:
        case RPCStatusCode.NOT_FOUND:
            no_namespace = _has(error, NamespaceNotFoundFailure.DESCRIPTOR)
            return NoNamespace(error.message) if no_namespace else NotRunning(error.message)
        case RPCStatusCode.INVALID_ARGUMENT | RPCStatusCode.FAILED_PRECONDITION:
            return Refused(error.message)
        case RPCStatusCode.ALREADY_EXISTS:
            return AlreadyStarted(error.message)
        case RPCStatusCode.UNIMPLEMENTED:
            return Unimplemented(error.message)
        case _:
            return Unavailable(NO_ANSWER, retry_after_seconds=2)


def _has(error: RPCError, detail: Descriptor) -> bool:
    return any(each.Is(detail) for each in error.grpc_status.details)
