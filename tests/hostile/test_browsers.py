"""What pages of other origins may do, and what browsers are told about every response."""

from collections.abc import Callable

import httpx
import pytest
import websockets

from app import browsers
from app.settings import Settings
from tests.client import Api, Client, serving

Quiet = Callable[[], None]

OURS, EVIL = "https://app.example", "https://evil.example"
VIEWER = {"query": "{ viewer { id } }"}
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


async def preflight(api: Api, origin: str) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        return await http.options(api.url, headers={"Origin": origin, **PREFLIGHT})


def allowed(response: httpx.Response) -> str | None:
    """The origin whose pages may read the response."""
    origin: str | None = response.headers.get("access-control-allow-origin")
    return origin


async def test_without_a_setting_no_other_page_may_ask(bystander: Client) -> None:
    asked = await preflight(bystander.api, OURS)
    answered = await bystander.http.post(bystander.api.url, json=VIEWER, headers={"Origin": OURS})

    assert allowed(asked) is None
    assert allowed(answered) is None
    assert not [name for name in (*asked.headers, *answered.headers) if name.startswith("access-control")]


async def test_pages_of_listed_origins_may_ask_without_cookies(quiet_log: Quiet, settings: Settings) -> None:
    listed = settings.model_copy(update={"cors_origins": (OURS,)})
    async with serving(listed) as api, api.client("alice") as alice:
        asked = {origin: await preflight(api, origin) for origin in (OURS, EVIL, "null")}
        answered = {
            origin: await alice.http.post(api.url, json=VIEWER, headers={"Origin": origin})
            for origin in (OURS, EVIL)
        }
        denied = await alice.http.post(api.url, content=b"", headers={"Origin": OURS})

    assert {origin: allowed(response) for origin, response in asked.items()} == {
        OURS: OURS,
        EVIL: None,
        "null": None,
    }
    assert asked[OURS].status_code == 200
    assert "Authorization" in asked[OURS].headers["access-control-allow-headers"]
    assert {origin: allowed(response) for origin, response in answered.items()} == {OURS: OURS, EVIL: None}
    assert allowed(denied) == OURS
    assert "Origin" in answered[OURS].headers["vary"]
    assert "access-control-allow-credentials" not in answered[OURS].headers


async def test_any_origin_may_ask_where_the_setting_says_so(quiet_log: Quiet, settings: Settings) -> None:
    async with serving(settings.model_copy(update={"cors_origins": ("*",)})) as api:
        response = await preflight(api, EVIL)

    assert allowed(response) == "*"
    assert "access-control-allow-credentials" not in response.headers


async def test_only_the_names_that_are_ours_are_answered_to(quiet_log: Quiet, settings: Settings) -> None:
    named = settings.model_copy(update={"allowed_hosts": ("127.0.0.1", "API.example")})
    rows = {
        "127.0.0.1": 200,
        "api.example:443": 200,
        "evil.example": 421,
        "[": 421,
        "127.0.0.1.evil.example": 421,
    }
    async with serving(named) as api, api.client("alice") as alice:
        answers = {host: await alice.http.post(api.url, json=VIEWER, headers={"Host": host}) for host in rows}
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(api.ws_url.replace("127.0.0.1", "localhost"))

    assert {host: answer.status_code for host, answer in answers.items()} == rows
    assert answers["evil.example"].json()["errors"][0]["extensions"] == {"code": "INVALID_INPUT"}
    assert refused.value.response.status_code == 403


async def test_every_response_has_the_headers(bystander: Client) -> None:
    url = bystander.api.url
    rows = {
        "an answer": await bystander.http.post(url, json=VIEWER),
        "a refusal": await bystander.http.post(url, content=b"x", headers={"Content-Type": "text/plain"}),
        "a stranger": await bystander.http.post(url, json=VIEWER, headers={"Authorization": ""}),
        "options": await bystander.http.options(url),
        "another path": await bystander.http.get(url.replace("/graphql", "/nothing")),
        "health": await bystander.http.get(url.replace("/graphql", "/health")),
        "the page": await bystander.http.get(url, headers={"Accept": "text/html"}),
        "an asset": await bystander.http.get(f"{url}/assets/LICENSES.txt"),
    }

    for name, response in rows.items():
        missing = [header for header in browsers.HEADERS if header not in response.headers]
        assert missing == [], name
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "server" not in response.headers
    assert rows["an answer"].headers["cache-control"] == "no-store"
    assert "immutable" in rows["an asset"].headers["cache-control"]
    for name in ("an answer", "another path", "an asset"):
        assert rows[name].headers["content-security-policy"].startswith("default-src 'none'; base-uri 'none'")


async def test_the_page_runs_only_what_is_ours(bystander: Client) -> None:
    response = await bystander.http.get(bystander.api.url, headers={"Accept": "text/html"})

    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert not {"unsafe-eval", "unsafe-inline", "http:", "https:", "*"} & set(policy["script-src"].split())


async def test_the_page_can_be_taken_away(quiet_log: Quiet, settings: Settings) -> None:
    async with serving(settings.model_copy(update={"playground": False})) as api, httpx.AsyncClient() as http:
        page = await http.get(api.url, headers={"Accept": "text/html"})
        asset = await http.get(f"{api.url}/assets/LICENSES.txt")

    assert page.status_code in (401, 406)
    assert "<html" not in page.text
    assert asset.status_code == 404


@pytest.mark.parametrize(
    "text",
    [
        "app.example",
        "https://app.example/",
        "https://app.example/path",
        "ftp://app.example",
        "https://",
        "https://A.b",
    ],
)
def test_an_origin_that_is_none_is_refused_at_start(text: str) -> None:
    with pytest.raises(ValueError, match="cors_origins"):
        Settings(
            database_url="postgresql://x",
            redis_url="redis://x",
            jwt_secret="x" * 32,
            cors_origins=text,
        )


def test_origins_are_read_from_a_comma_separated_list(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DATABASE_URL": "postgresql://x",
        "REDIS_URL": "redis://x",
        "JWT_SECRET": "x" * 32,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CORS_ORIGINS", " https://a.example, http://localhost:3000 ,")

    assert Settings().cors_origins == ("https://a.example", "http://localhost:3000")
