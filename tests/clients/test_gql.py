"""gql, the GraphQL client for Python: a query over HTTP, a subscription over a WebSocket."""

from gql import Client as Gql
from gql import GraphQLRequest
from gql.transport.httpx import HTTPXAsyncTransport

from app import auth
from tests import factories
from tests.client import SECRET, Api, Client
from tests.clients.watching import VERSIONS, gql_told

EXECUTIONS = "query ($first: Int) { executions(first: $first) { nodes { id status } } }"


def bearer() -> dict[str, str]:
    """What Alice shows."""
    return {"Authorization": f"Bearer {auth.mint(SECRET, 'alice')}"}


async def test_a_query_goes_over_http(api: Api, alice: Client) -> None:
    execution = await factories.stuck(alice)
    transport = HTTPXAsyncTransport(url=api.url, headers=bearer())

    async with Gql(transport=transport) as session:
        found = await session.execute(GraphQLRequest(EXECUTIONS, variable_values={"first": 5}))

    assert [node["id"] for node in found["executions"]["nodes"]] == [execution["id"]]


async def test_the_schema_is_fetched_and_operations_are_checked_against_it(api: Api) -> None:
    transport = HTTPXAsyncTransport(url=api.url, headers=bearer())

    async with Gql(transport=transport, fetch_schema_from_transport=True) as session:
        assert session.client.schema
        assert session.client.schema.subscription_type


async def test_a_subscription_follows_an_execution_to_its_end(
    api: Api, alice: Client, tracker: None, worker: str
) -> None:
    execution = await factories.paid(alice, worker)

    assert await gql_told(api, alice.token, execution["id"]) == VERSIONS
