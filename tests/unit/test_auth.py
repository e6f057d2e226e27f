"""Tokens in, callers out; whatever else is sent is refused, never a failure of another kind."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.auth import (
    ADMIN,
    MAX_CHECKED_TOKENS,
    MAX_SUBJECT_CHARACTERS,
    MAX_TOKEN_CHARACTERS,
    READ_EXECUTIONS,
    USER_SCOPES,
    WRITE_EXECUTIONS,
    Caller,
    SharedSecret,
    Verifier,
    bearer,
    mint,
)
from app.errors import ErrorCode, Forbidden, Unauthenticated
from tests.client import SECRET

INVALID = "The token is not valid: it must be a JWT signed for this server, with `sub` and `exp`."
NAMELESS = "The token does not name its owner: 1 to 255 printable characters, most often in `sub`."
WORDLESS = "The token's `scope` must be words with blanks between them, or a list of words."

HEADER = {"alg": "HS256", "typ": "JWT"}
EXPIRY = datetime(2100, 1, 1, tzinfo=UTC)
KEY = SharedSecret(SECRET)
VERIFIER = Verifier(KEY)

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def signed(header: Any, claims: Any, secret: str = SECRET) -> str:
    """A token of any content, its signature right; not even PyJWT would write most of them."""
    message = ".".join(segment(json.dumps(part).encode()) for part in (header, claims))
    return f"{message}.{segment(hmac.digest(secret.encode(), message.encode(), hashlib.sha256))}"


def segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(**claims: Any) -> str:
    """A good token of alice's, but for the claims given; None leaves a claim out."""
    all_claims = {"sub": "alice", "exp": EXPIRY.timestamp(), **claims}
    return signed(HEADER, {name: value for name, value in all_claims.items() if value is not None})


def admitted(token: str, verifier: Verifier = VERIFIER) -> Caller:
    """The caller; a secret is at hand, so that nothing has to be waited for."""
    with pytest.raises(StopIteration) as ended:
        verifier.caller(token).send(None)
    assert isinstance(ended.value.value, Caller)
    return ended.value.value


def refusal(token: str, verifier: Verifier = VERIFIER) -> str:
    with pytest.raises(Unauthenticated) as caught:
        admitted(token, verifier)
    assert caught.value.code is ErrorCode.UNAUTHENTICATED
    return caught.value.message


def test_a_token_names_its_caller() -> None:
    found = admitted(token(scope=READ_EXECUTIONS))

    assert found == Caller("alice", "alice", frozenset({READ_EXECUTIONS}), EXPIRY)


def test_a_token_without_the_scope_claim_carries_the_user_scopes_and_never_admin() -> None:
    found = admitted(token())

    assert found.scopes == {"executions:read", "executions:write", "workflows:read", "workflows:write"}
    assert not found.is_admin


@pytest.mark.parametrize(
    ("claim", "scopes"),
    [
        ("", set()),
        ([], set()),
        ("executions:read", {"executions:read"}),
        ("  executions:read   other\tadmin ", {"executions:read", "other", "admin"}),
        (["executions:read", "admin"], {"executions:read", "admin"}),
    ],
)
def test_scopes_are_one_text_or_a_list(claim: object, scopes: set[str]) -> None:
    assert admitted(token(scope=claim)).scopes == scopes


@pytest.mark.parametrize("claim", [0, True, {}, {"executions:read": 1}, [1], ["admin", None], [["admin"]]])
def test_scopes_of_another_shape_are_refused(claim: object) -> None:
    assert refusal(token(scope=claim)) == WORDLESS


def test_a_null_scope_is_not_an_absent_one() -> None:
    written = signed(HEADER, {"sub": "alice", "exp": EXPIRY.timestamp(), "scope": None})

    assert refusal(written) == WORDLESS


def test_the_scopes_are_in_the_claim_that_was_configured() -> None:
    verifier = Verifier(KEY, scope_claim="scp")

    assert admitted(token(scp=["executions:read"], scope="admin"), verifier).scopes == {"executions:read"}
    assert admitted(token(scope="admin"), verifier).scopes == set(USER_SCOPES)
    assert refusal(token(scp=7), verifier) == WORDLESS


def test_a_minted_token_is_accepted() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    found = admitted(mint(SECRET, "alice", (READ_EXECUTIONS, ADMIN), hours=2))
    after = datetime.now(UTC)

    assert (found.subject, found.owner) == ("alice", "alice")
    assert found.scopes == {READ_EXECUTIONS, ADMIN}
    assert before + timedelta(hours=2) <= found.expires_at <= after + timedelta(hours=2)


def test_a_minted_token_carries_the_user_scopes_by_default() -> None:
    assert admitted(mint(SECRET, "alice")).scopes == set(USER_SCOPES)


def test_an_expired_token_is_told_so() -> None:
    assert refusal(mint(SECRET, "alice", hours=-1)) == "The token has expired: get a new one."


def test_leeway_is_granted_to_expiry() -> None:
    just_expired = token(exp=datetime.now(UTC).timestamp() - 60)

    assert refusal(just_expired) == "The token has expired: get a new one."
    assert refusal(just_expired, Verifier(KEY, leeway_seconds=30)) == "The token has expired: get a new one."
    found = admitted(just_expired, Verifier(KEY, leeway_seconds=120))
    assert found.subject == "alice"
    # It is taken for as long as that: a socket that closes sooner would be opened again and again.
    assert timedelta(seconds=50) < found.expires_at - datetime.now(UTC) <= timedelta(seconds=60)


def test_the_owner_is_in_the_claim_that_was_configured() -> None:
    verifier = Verifier(KEY, owner_claim="tenant")

    found = admitted(token(tenant="acme"), verifier)

    assert (found.subject, found.owner) == ("alice", "acme")
    assert refusal(token(), verifier) == NAMELESS


@pytest.mark.parametrize(
    "name", ["", "a" * (MAX_SUBJECT_CHARACTERS + 1), "a\nb", "a\x00b", "\ud800", "\u2028"]
)
def test_a_name_that_cannot_be_kept_is_refused(name: str) -> None:
    assert refusal(token(sub=name)) == NAMELESS


@pytest.mark.parametrize("name", [1, True, ["alice"], {"name": "alice"}])
def test_an_owner_that_is_no_text_is_refused(name: object) -> None:
    assert refusal(token(tenant=name), Verifier(KEY, "tenant")) == NAMELESS


def test_the_longest_name_is_accepted() -> None:
    name = "ü" * MAX_SUBJECT_CHARACTERS

    assert admitted(token(sub=name)).owner == name


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(signed(HEADER, {"sub": "alice", "exp": 4e9}, "x" * 32), id="another secret"),
        pytest.param(signed({"alg": "none"}, {"sub": "alice", "exp": 4e9}), id="alg none"),
        pytest.param(jwt.encode({"sub": "alice", "exp": 4e9}, "", algorithm="none"), id="unsigned"),
        pytest.param(
            jwt.encode({"sub": "alice", "exp": 4e9}, SECRET * 2, algorithm="HS512"), id="another algorithm"
        ),
        pytest.param(signed({"alg": "HS512"}, {"sub": "alice", "exp": 4e9}), id="algorithm renamed"),
        pytest.param(token()[:-1], id="signature cut"),
    ],
)
def test_a_forged_token_is_refused(forged: str) -> None:
    assert refusal(forged) == INVALID


def test_a_changed_claim_breaks_the_signature() -> None:
    header, _, signature = token().split(".")
    claims = segment(json.dumps({"sub": "bob", "exp": EXPIRY.timestamp()}).encode())

    assert refusal(f"{header}.{claims}.{signature}") == INVALID


@pytest.mark.parametrize("claim", ["sub", "exp"])
def test_a_required_claim_is_required(claim: str) -> None:
    assert refusal(token(**{claim: None})) == f"The token lacks the claim `{claim}`."


def test_more_claims_may_be_required() -> None:
    demanding = Verifier(KEY, required_claims=("jti", "tenant"))

    assert admitted(token(jti="1", tenant="acme"), demanding).subject == "alice"
    assert refusal(token(jti="1"), demanding) == "The token lacks the claim `tenant`."


def test_a_token_of_the_future_is_refused() -> None:
    assert refusal(token(nbf=EXPIRY.timestamp() - 1)) == "The token is not valid yet."


def test_issuer_and_audience_are_nobodys_business_unless_configured() -> None:
    assert admitted(token(aud="somebody else", iss="anybody")).subject == "alice"


STRICT = Verifier(KEY, issuers=("https://a.example", "https://b.example"), audiences=("x", "y"))


@pytest.mark.parametrize(
    ("issuer", "audience"),
    [("https://a.example", "x"), ("https://b.example", "y"), ("https://a.example", ["z", "y"])],
)
def test_any_of_the_trusted_issuers_and_audiences_will_do(issuer: str, audience: object) -> None:
    assert admitted(token(iss=issuer, aud=audience), STRICT).subject == "alice"


@pytest.mark.parametrize("issuer", ["", "https://a.example/", "https://a.exampl", "HTTPS://A.EXAMPLE", [], 7])
def test_another_issuer_is_refused(issuer: object) -> None:
    assert refusal(token(iss=issuer, aud="x"), STRICT) == (
        "The token is from another issuer (`iss`) than this server trusts."
    )


@pytest.mark.parametrize("audience", ["z", "xy", ["z"], ["x", 7], {"x": 1}, 7, True])
def test_another_audience_is_refused(audience: object) -> None:
    assert refusal(token(iss="https://a.example", aud=audience), STRICT) == (
        "The token is for another audience (`aud`) than this server."
    )


@pytest.mark.parametrize("audience", [None, "", []])
def test_no_audience_is_refused(audience: object) -> None:
    assert refusal(token(iss="https://a.example", aud=audience), STRICT) == "The token lacks the claim `aud`."


def test_no_issuer_is_refused() -> None:
    assert refusal(token(aud="x"), STRICT) == "The token lacks the claim `iss`."


def test_an_expiry_written_as_text_is_refused() -> None:
    assert refusal(token(exp=str(int(EXPIRY.timestamp())))) == INVALID


@pytest.mark.parametrize("expiry", [10**30, 10**17, 10**11 * 3, float("inf"), 1e300])
def test_an_expiry_that_no_calendar_has_is_refused(expiry: float) -> None:
    assert refusal(token(exp=expiry)) == INVALID


def test_a_token_that_is_too_long_is_not_even_read() -> None:
    fitting = token(sub="alice", more="")
    padding = "a" * ((MAX_TOKEN_CHARACTERS - len(fitting)) * 3 // 4 - 4)

    assert admitted(token(more=padding)).subject == "alice"
    assert refusal("a" * MAX_TOKEN_CHARACTERS) == INVALID
    assert (
        refusal("a" * (MAX_TOKEN_CHARACTERS + 1)) == "The token is too long: 8,192 characters are the most."
    )


def test_nesting_does_not_exhaust_the_stack() -> None:
    header = segment(b'{"alg":' + b"[" * 5_000)

    assert refusal(f"{header}.e30.e30") == INVALID


def test_a_good_token_is_taken_apart_once() -> None:
    verifier = Verifier(KEY)

    assert admitted(token(), verifier) is admitted(token(), verifier)
    assert admitted(token(sub="bob"), verifier).subject == "bob"


def test_a_token_whose_time_is_up_is_taken_apart_again() -> None:
    verifier, moment = Verifier(KEY), datetime.now(UTC).timestamp()
    brief = token(exp=int(moment) + 2)
    assert admitted(brief, verifier).subject == "alice"
    (digest,) = verifier.checked
    expired = replace(verifier.checked[digest].caller, expires_at=datetime.now(UTC))
    verifier.checked[digest] = replace(verifier.checked[digest], caller=expired)

    # Its own time has not come yet: that was only believed.
    assert admitted(brief, verifier).expires_at > expired.expires_at


def test_a_token_that_was_good_is_refused_with_another_key() -> None:
    verifier = Verifier(KEY)
    admitted(token(), verifier)

    changed = replace(verifier, keys=SharedSecret("another secret that has 32 bytes too"))

    assert changed.checked is verifier.checked
    assert refusal(token(), changed) == INVALID


def test_only_so_many_tokens_are_remembered_and_no_bad_one() -> None:
    verifier = Verifier(KEY)
    refusal(token(exp=1), verifier)
    assert verifier.checked == {}

    for number in range(MAX_CHECKED_TOKENS + 10):
        admitted(token(sub=f"user-{number}"), verifier)

    assert len(verifier.checked) == MAX_CHECKED_TOKENS
    assert admitted(token(sub="user-0"), verifier).subject == "user-0"


@given(st.text(st.characters(), max_size=200) | st.from_regex(r"[\w-]+\.[\w-]*\.[\w-]*", fullmatch=True))
def test_any_other_text_is_refused(text: str) -> None:
    assert refusal(text) == INVALID


@given(
    st.dictionaries(st.sampled_from(["kid", "typ", "crit", "b64", "jwk", "cty"]), JSON),
    st.dictionaries(st.sampled_from(["sub", "exp", "iat", "nbf", "aud", "iss", "jti", "scope"]), JSON),
)
def test_whatever_is_signed_names_a_caller_or_is_refused(header: Any, claims: Any) -> None:
    written = signed({**header, **HEADER}, {"sub": "alice", "exp": EXPIRY.timestamp(), **claims})

    try:
        found = admitted(written)
    except Unauthenticated:
        return

    assert found.owner == claims.get("sub", "alice")
    assert found.expires_at > datetime.now(UTC)
    assert found.scopes <= set(USER_SCOPES) or "scope" in claims


@pytest.mark.parametrize(
    "header", ["Bearer abc", "bearer abc", "BEARER   abc  ", "  Bearer abc", "Bearer abc\t"]
)
def test_the_bearer_token_is_taken_out_of_its_header(header: str) -> None:
    assert bearer(header) == "abc"


@pytest.mark.parametrize(
    "header", ["", " ", "abc", "Bearer", "Bearer ", "Basic abc", "Bearerabc", "Token: Bearer abc"]
)
def test_a_header_without_a_bearer_token_is_refused(header: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        bearer(header)

    assert caught.value.message == "Send the header 'Authorization: Bearer <token>'."


def caller(*scopes: str) -> Caller:
    return Caller("alice", "acme", frozenset(scopes), EXPIRY)


def test_a_scope_is_required_by_name() -> None:
    caller(READ_EXECUTIONS).require(READ_EXECUTIONS)
    caller(ADMIN).require(WRITE_EXECUTIONS)
    with pytest.raises(Forbidden) as caught:
        caller(READ_EXECUTIONS).require(WRITE_EXECUTIONS)

    assert caught.value.required_scope == WRITE_EXECUTIONS
    assert caught.value.message == "Your token lacks the scope 'executions:write': ask for one that has it."


def test_a_caller_sees_their_own_and_an_admin_all() -> None:
    seen = [
        [who.may_see(owner) for owner in ("acme", "alice", "bob")]
        for who in (caller(*USER_SCOPES), caller(ADMIN))
    ]

    assert seen == [[True, False, False], [True, True, True]]
