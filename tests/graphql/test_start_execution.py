"""startExecution, from the mutation to the workflow's result."""

from tests import factories
from tests.client import Client


async def test_an_order_runs_to_its_end_and_tells_all_of_it(
    alice: Client, worker: str, tracker: None
) -> None:
    order = await factories.workflow(alice, worker)

    started = await factories.start(alice, order, {"step_seconds": 0.01, "grace_seconds": 0.01})
    seen = await factories.events(alice, started["id"])

    assert [event["type"] for event in seen] == [
        "EXECUTION_CREATED",
        "EXECUTION_STARTED",
        *["ACTIVITY_SCHEDULED", "ACTIVITY_STARTED", "ACTIVITY_COMPLETED"] * 2,
        "TIMER_STARTED",
        "TIMER_FIRED",
        *["ACTIVITY_SCHEDULED", "ACTIVITY_STARTED", "ACTIVITY_COMPLETED"] * 2,
        "EXECUTION_COMPLETED",
    ]
    assert [event["version"] for event in seen] == list(range(1, len(seen) + 1))
    answer = await alice.data(
        "query ($id: ID!) { execution(id: $id) { status output history(first: 100) { nodes { id } } } }",
        id=started["id"],
    )
    assert answer["execution"]["status"] == "COMPLETED"
    assert answer["execution"]["output"]["tracking_number"].startswith("TRACK-")
    assert [node["id"] for node in answer["execution"]["history"]["nodes"]] == [event["id"] for event in seen]
