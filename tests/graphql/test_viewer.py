"""viewer: who is asking, as the token says."""

from datetime import UTC, datetime, timedelta

import jwt

from app.settings import Settings
from tests import factories
from tests.client import SECRET, Client, serving

VIEWER = "{ viewer { id scopes tokenExpiresAt } }"
EXPIRY = datetime(2100, 1, 8, 12, 30, tzinfo=UTC)


def token(**claims: object) -> str:
    return jwt.encode({"sub": "alice", "exp": EXPIRY, **claims}, SECRET, algorithm="HS256")


async def test_the_viewer_is_the_owner_with_scopes_and_an_expiry(alice: Client) -> None:
    async with alice.api.bearing(token(scope="workflows:read executions:read")) as client:
        answer = await client.data(VIEWER)

    assert answer["viewer"] == {
        "id": "alice",
        "scopes": ["executions:read", "workflows:read"],
        "tokenExpiresAt": "2100-01-08T12:30:00.000Z",
    }


async def test_a_token_without_scope_may_all_but_administer(alice: Client) -> None:
    async with alice.api.bearing(token()) as client:
        answer = await client.data(VIEWER)

    scopes = ["executions:read", "executions:write", "workflows:read", "workflows:write"]
    assert answer["viewer"]["scopes"] == scopes


async def test_scopes_may_come_as_a_list(alice: Client) -> None:
    async with alice.api.bearing(token(scope=["admin"])) as client:
        answer = await client.data(VIEWER)

    assert answer["viewer"]["scopes"] == ["admin"]


async def test_an_empty_scope_allows_nothing(alice: Client) -> None:
    async with alice.api.bearing(token(scope="")) as client:
        answer = await client.data(VIEWER)
        error = await client.error("{ executions { totalCount } }")

    assert answer["viewer"]["scopes"] == []
    assert error["extensions"]["requiredScope"] == "executions:read"


async def test_each_user_is_their_own_viewer(alice: Client, bob: Client) -> None:
    ids = [(await user.data("{ viewer { id } }"))["viewer"]["id"] for user in (alice, bob)]

    assert ids == ["alice", "bob"]


async def test_the_owner_may_be_a_team(settings: Settings) -> None:
    teams = settings.model_copy(update={"jwt_owner_claim": "team"})

    async with (
        serving(teams) as api,
        api.bearing(token(team="crew")) as alice,
        api.bearing(token(sub="bob", team="crew")) as bob,
        api.bearing(token(sub="carol", team="others")) as carol,
        api.bearing(token(sub="dave")) as dave,
    ):
        workflow_id = await factories.workflow(alice, "nobody")
        await factories.start(bob, workflow_id)
        seen = "{ viewer { id } executions { nodes { startedBy } } }"

        assert await alice.data(seen) == {
            "viewer": {"id": "crew"},
            "executions": {"nodes": [{"startedBy": "bob"}]},
        }
        assert await carol.data(seen) == {"viewer": {"id": "others"}, "executions": {"nodes": []}}
        assert (await dave.error(seen))["extensions"]["code"] == "UNAUTHENTICATED"


async def test_a_leeway_lets_late_tokens_pass(settings: Settings) -> None:
    late = token(exp=datetime.now(UTC) - timedelta(seconds=20))
    lenient = settings.model_copy(update={"jwt_leeway_seconds": 60.0})

    async with serving(settings) as api, api.bearing(late) as client:
        refused = await client.post(VIEWER)
    async with serving(lenient) as api, api.bearing(late) as client:
        accepted = await client.data(VIEWER)

    assert refused.status_code == 401
    assert accepted["viewer"]["id"] == "alice"
