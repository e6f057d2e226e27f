"""Who may do what: every root field, asked by everybody; whoever is refused has changed nothing."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx
import pytest
import temporalio.client
from graphql import build_schema

from app import auth
from app.auth import ADMIN, READ_EXECUTIONS, READ_WORKFLOWS, USER_SCOPES, WRITE_EXECUTIONS, WRITE_WORKFLOWS
from resolvers.context import Services
from schema import sdl
from tests import factories
from tests.client import SECRET, Api, Client

ACCEPTS = {"Accept": "application/graphql-response+json, text/event-stream"}
DETAILS = """{
    execution(id: $execution) { version status labels { key value } }
    workflow(id: $workflow) { updatedAt archivedAt name }
}"""


@dataclass(frozen=True)
class Row:
    """One root field: how it is asked for, the scope that it needs, and of what another user is kept out.

    What is `owned` is refused to others; of anything else each user has their own. `shown` is what the answer
    has of the owner's object, where that is not its id.
    """

    operation: str
    scope: str | None = None
    owned: bool = True
    shown: str | None = None
    # Lists and counts show an admin everybody's, feeds their own.
    admin_sees: bool = True
    # Whether it waits for something to happen.
    awaits: bool = False
    # What those who may ask are told instead of an answer.
    failure: tuple[str, None] | None = None


def mutation(name: str, input: str, scope: str, *, owned: bool = True) -> Row:
    denied = "{ __typename ... on ForbiddenError { code requiredScope } }"
    return Row(f"mutation {{ {name}({input}) {denied} }}", scope, owned)


def query(selection: str, scope: str | None, **more: Any) -> Row:
    return Row(f"query {{ {selection} }}", scope, **more)


def subscription(selection: str, **more: Any) -> Row:
    return Row(f"subscription {{ {selection} }}", READ_EXECUTIONS, **more)


ROWS: dict[str, Row] = {
    "Query.viewer": query("viewer { id }", None, owned=False, shown='"alice"', admin_sees=False),
    "Query.node": query("node(id: $execution) { id }", READ_EXECUTIONS),
    "Query.workflow": query("workflow(id: $workflow) { id }", READ_WORKFLOWS),
    "Query.workflows": query("workflows { nodes { id } }", READ_WORKFLOWS, owned=False),
    "Query.execution": query("execution(id: $execution) { id }", READ_EXECUTIONS),
    "Query.executions": query("executions { nodes { id } }", READ_EXECUTIONS, owned=False),
    "Query.executionFeed": query(
        "executionFeed { nodes { execution { id } } }", READ_EXECUTIONS, owned=False, admin_sees=False
    ),
    "Query.executionStats": query(
        "executionStats { total }", READ_EXECUTIONS, owned=False, shown='"total": 1'
    ),
    "Query.queryExecution": query(
        'queryExecution(id: $execution, query: "q")',
        READ_EXECUTIONS,
        shown="No worker polls the task queue 'nobody-",
        failure=("UNAVAILABLE", None),
    ),
    "Mutation.createWorkflow": mutation(
        "createWorkflow",
        'input: {name: "n", workflowType: "t", taskQueue: "q"}',
        WRITE_WORKFLOWS,
        owned=False,
    ),
    "Mutation.updateWorkflow": mutation(
        "updateWorkflow", 'input: {id: $workflow, name: "changed"}', WRITE_WORKFLOWS
    ),
    "Mutation.archiveWorkflow": mutation("archiveWorkflow", "id: $workflow", WRITE_WORKFLOWS),
    "Mutation.startExecution": mutation("startExecution", "input: {workflowId: $workflow}", WRITE_EXECUTIONS),
    "Mutation.updateExecution": mutation(
        "updateExecution", "input: {id: $execution, status: COMPLETED}", WRITE_EXECUTIONS
    ),
    "Mutation.cancelExecution": mutation("cancelExecution", "input: {id: $execution}", WRITE_EXECUTIONS),
    "Mutation.terminateExecution": mutation(
        "terminateExecution", "input: {id: $execution}", WRITE_EXECUTIONS
    ),
    "Mutation.signalExecution": mutation(
        "signalExecution", 'input: {id: $execution, signal: "s"}', WRITE_EXECUTIONS
    ),
    "Mutation.rerunExecution": mutation("rerunExecution", "input: {id: $execution}", WRITE_EXECUTIONS),
    "Subscription.executionEvents": subscription(
        "executionEvents(executionId: $execution) { execution { id } }"
    ),
    "Subscription.executionFeed": subscription(
        "executionFeed { execution { id } }", owned=False, admin_sees=False, awaits=True
    ),
    "Subscription.executionUpdated": subscription(
        "executionUpdated { id }", owned=False, admin_sees=False, awaits=True
    ),
    "Subscription.executionStats": subscription("executionStats { total }", owned=False, shown='"total": 1'),
}


def root_fields() -> list[str]:
    """Every root field of the printed schema."""
    printed = build_schema(sdl())
    roots = (printed.query_type, printed.mutation_type, printed.subscription_type)
    return [f"{root.name}.{name}" for root in roots if root is not None for name in root.fields]


class Subject(NamedTuple):
    """What is asked about: an execution of alice's that runs, and its workflow."""

    execution: str
    workflow: str
    temporal_workflow_id: str

    def named_in(self, operation: str) -> str:
        """The operation with these ids in it."""
        named = operation.replace("$execution", json.dumps(self.execution))
        return named.replace("$workflow", json.dumps(self.workflow))


@dataclass
class World:
    """Alice, to whom things belong, and what may be asked of them."""

    api: Api
    alice: Client
    services: Services
    temporal: temporalio.client.Client

    async def subject(self) -> Subject:
        started = await factories.stuck(self.alice)
        query = "query ($id: ID!) { execution(id: $id) { workflow { id } } }"
        found = await self.alice.data(query, id=started["id"])
        return Subject(started["id"], found["execution"]["workflow"]["id"], started["temporalWorkflowId"])

    async def state(self, subject: Subject) -> Any:
        """All that any mutation could have changed: here, and of the run on Temporal."""
        details = await self.alice.data(subject.named_in(DETAILS))
        run = await self.temporal.get_workflow_handle(subject.temporal_workflow_id).describe()
        return details, await factories.holdings(self.alice), run.history_length, run.status

    async def answer(self, who: Client, row: Row, subject: Subject) -> Any:
        """The answer to an operation; the first one, where it is a subscription."""
        if not row.operation.startswith("subscription"):
            return await who.answer(subject.named_in(row.operation))
        async with who.socket() as socket:
            await socket.subscribe("1", subject.named_in(row.operation))
            message = await socket.receive()
        payload = message["payload"]
        return {"errors": payload} if message["type"] == "error" else payload

    async def answer_to(self, user: str, who: Client, row: Row, subject: Subject) -> Any:
        """The answer to one who is not refused: what they watch happens, and to alice's it does too."""
        if not row.awaits:
            return await self.answer(who, row, subject)
        theirs = []
        if user != "alice":
            workflow = await factories.workflow(who, "nobody")
            theirs = await factories.recorded(self.services, user, workflow, 1)
        happening = asyncio.create_task(self._happen(subject.execution, *theirs))
        try:
            return await self.answer(who, row, subject)
        finally:
            happening.cancel()
            await asyncio.gather(happening, return_exceptions=True)

    async def _happen(self, *executions: str) -> None:
        while True:
            for execution in executions:
                await factories.note(self.services, execution)
            await asyncio.sleep(0.1)


def refusal(answer: Any) -> tuple[str, str | None] | None:
    """The code and the missing scope with which an answer refuses; None for any other answer."""
    (result,) = (answer.get("data") or {None: None}).values()
    if errors := answer.get("errors"):
        result = errors[0]["extensions"]
    elif not str(result.get("__typename", "")).endswith("Error"):
        return None
    return result["code"], result.get("requiredScope")


def shows(answer: Any, row: Row, subject: Subject) -> bool:
    """Whether something of alice's is in the answer."""
    text = json.dumps(answer)
    found = [row.shown] if row.shown is not None else [subject.execution, subject.workflow]
    return any(each in text for each in found)


def test_every_root_field_has_a_row() -> None:
    assert set(root_fields()) == set(ROWS), "say who may ask for it"


@pytest.fixture
def world(api: Api, alice: Client, services: Services, temporal_client: temporalio.client.Client) -> World:
    return World(api, alice, services, temporal_client)


@pytest.mark.parametrize("name", root_fields())
async def test_whoever_may_not_is_refused_and_nothing_happens(world: World, name: str) -> None:
    row, subject = ROWS[name], await world.subject()
    before = await world.state(subject)
    lacking = [scope for scope in USER_SCOPES if scope != row.scope]
    stale = auth.mint(SECRET, "alice", hours=-1.0)

    for headers in ({}, {"Authorization": f"Bearer {stale}"}):
        response = await unauthenticated(world.api, row, subject, headers)
        assert response.status_code == 401
        assert response.json()["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}
        assert await world.state(subject) == before
    if row.scope is not None:
        async with world.api.client("alice", *lacking) as who:
            assert refusal(await world.answer(who, row, subject)) == ("FORBIDDEN", row.scope)
        assert await world.state(subject) == before
    if row.owned:
        async with world.api.client("bob") as bob:
            assert refusal(await world.answer(bob, row, subject)) == ("FORBIDDEN", None)
        assert await world.state(subject) == before


async def unauthenticated(api: Api, row: Row, subject: Subject, headers: dict[str, str]) -> httpx.Response:
    """The response to an operation without a good token; a stream's is refused before it begins."""
    body = {"query": subject.named_in(row.operation)}
    async with httpx.AsyncClient(verify=False) as http:
        return await http.post(api.url, json=body, headers={**ACCEPTS, **headers})


@pytest.mark.parametrize("name", root_fields())
async def test_whoever_may_sees_what_is_theirs(world: World, name: str) -> None:
    row, subject = ROWS[name], await world.subject()
    changes = row.operation.startswith("mutation")

    if not row.owned:
        before = await world.state(subject)
        async with world.api.client("bob") as bob:
            answer = await world.answer_to("bob", bob, row, subject)
        assert refusal(answer) == row.failure
        assert not shows(answer, row, subject)
        assert changes is False or await world.state(subject) == before
    answer = await world.answer_to("alice", world.alice, row, subject)
    assert refusal(answer) == row.failure
    assert changes or shows(answer, row, subject)
    if changes:
        subject = await world.subject()
    async with world.api.client("root", ADMIN) as root:
        answer = await world.answer_to("root", root, row, subject)
    assert refusal(answer) == row.failure
    assert changes or shows(answer, row, subject) is row.admin_sees


class Below(NamedTuple):
    """Fields below a root field, the one scope that is asked with, and what of alice's is then shown.

    Where a scope is missing, nothing is.
    """

    operation: str
    scope: str
    shown: tuple[str, ...] = ()
    missing: str | None = None


WHOLE = "{ input output workflow { id } history { nodes { type } } pendingActivities { state } }"
# An execution shows its workflow, and all of itself to whoever may change it; a workflow shows no executions.
BELOW = {
    "Execution.workflow": Below(
        "query { execution(id: $execution) { workflow { id } } }", READ_EXECUTIONS, ("$workflow",)
    ),
    "ExecutionEvent.execution": Below(
        f"subscription {{ executionEvents(executionId: $execution) {{ execution {WHOLE} }} }}",
        READ_EXECUTIONS,
        ("$workflow", "EXECUTION_CREATED"),
    ),
    "UpdateExecutionSuccess.execution": Below(
        f"""mutation {{ updateExecution(input: {{id: $execution, message: "m"}}) {{
            ... on UpdateExecutionSuccess {{ execution {WHOLE} }} }} }}""",
        WRITE_EXECUTIONS,
        ("$workflow", "EXECUTION_CREATED"),
    ),
    "StartExecutionSuccess.execution": Below(
        f"""mutation {{ startExecution(input: {{workflowId: $workflow}}) {{
            ... on StartExecutionSuccess {{ execution {WHOLE} }} }} }}""",
        WRITE_EXECUTIONS,
        ("$workflow", "EXECUTION_CREATED"),
    ),
    "VersionConflictError.execution": Below(
        f"""mutation {{ cancelExecution(input: {{id: $execution, expectedVersion: 0}}) {{
            ... on VersionConflictError {{ execution {WHOLE} }} }} }}""",
        WRITE_EXECUTIONS,
        ("$workflow", "EXECUTION_CREATED"),
    ),
    "Workflow.executions": Below(
        "query { workflow(id: $workflow) { executions { nodes { id } } } }",
        READ_WORKFLOWS,
        missing=READ_EXECUTIONS,
    ),
    "Workflow.stats": Below(
        "query { workflow(id: $workflow) { stats { total } } }", READ_WORKFLOWS, missing=READ_EXECUTIONS
    ),
    "UpdateWorkflowSuccess.workflow": Below(
        """mutation { updateWorkflow(input: {id: $workflow, name: "n"}) {
            ... on UpdateWorkflowSuccess { workflow { executions { nodes { id } } } } } }""",
        WRITE_WORKFLOWS,
        missing=READ_EXECUTIONS,
    ),
}


async def test_what_is_below_a_root_field_is_shown_as_its_description_says(
    world: World, subtests: pytest.Subtests
) -> None:
    subject = await world.subject()
    for name, below in BELOW.items():
        with subtests.test(name):
            async with world.api.client("alice", below.scope) as who:
                answer = await world.answer(who, Row(below.operation), subject)

            expected = None if below.missing is None else ("FORBIDDEN", below.missing)
            assert refusal(answer) == expected
            text = json.dumps(answer)
            assert [each for each in below.shown if subject.named_in(each).strip('"') not in text] == []
            assert below.missing is None or subject.execution not in text
