"""The environment is read once, and what is wrong with it is named."""

import pytest
from pydantic import ValidationError

from app.settings import InvalidSettings, Settings, load

SECRET = "0123456789abcdef0123456789abcdef"
NEEDED = {"DATABASE_URL": "postgresql://db/x", "REDIS_URL": "redis://r", "JWT_SECRET": SECRET}
KEYS_MISSING = "JWT_JWKS_URL: set this or JWT_SECRET, exactly one of the two"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with the needed variables and no other of ours."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def complaint() -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        load()
    return str(caught.value).splitlines()


def test_the_needed_variables_suffice(environment: pytest.MonkeyPatch) -> None:
    settings = load()

    assert (settings.database_url, settings.redis_url) == ("postgresql://db/x", "redis://r")
    assert settings.jwt_secret
    assert settings.jwt_secret.get_secret_value() == SECRET
    assert (settings.host, settings.port, settings.log_format) == ("127.0.0.1", 8000, "json")
    assert settings.temporal_address is None


def test_a_field_is_read_from_the_variable_of_its_name(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HUB_BACKSTOP_SECONDS", "0.5")
    environment.setenv("TEMPORAL_ADDRESS", "temporal:7233")
    environment.setenv("PLAYGROUND", "false")

    settings = load()

    assert (settings.hub_backstop_seconds, settings.temporal_address) == (0.5, "temporal:7233")
    assert settings.playground is False


MISSING = {
    "DATABASE_URL": "DATABASE_URL: is not set",
    "REDIS_URL": "REDIS_URL: is not set",
    "JWT_SECRET": KEYS_MISSING,
}


@pytest.mark.parametrize(("name", "line"), MISSING.items())
def test_a_missing_variable_is_named(environment: pytest.MonkeyPatch, name: str, line: str) -> None:
    environment.delenv(name)

    assert complaint() == [line]


def test_all_missing_variables_are_named_at_once(environment: pytest.MonkeyPatch) -> None:
    for name in NEEDED:
        environment.delenv(name)

    assert sorted(complaint()) == sorted(MISSING.values())


@pytest.mark.parametrize("secret", ["", "short", SECRET[1:]])
def test_a_short_secret_names_its_variable_and_not_itself(
    environment: pytest.MonkeyPatch, secret: str
) -> None:
    environment.setenv("JWT_SECRET", secret)

    assert complaint() == ["JWT_SECRET: must have 32 bytes at least"]


def test_a_secret_is_measured_in_bytes(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("JWT_SECRET", "é" * 16)

    secret = load().jwt_secret
    assert secret
    assert secret.get_secret_value() == "é" * 16


JWKS = "https://id.example/jwks.json"


def test_keys_at_an_address_take_the_place_of_the_secret(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("JWT_SECRET")
    environment.setenv("JWT_JWKS_URL", JWKS)

    settings = load()

    assert (settings.jwt_secret, settings.jwt_jwks_url) == (None, JWKS)


def test_a_secret_beside_keys_at_an_address_is_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("JWT_JWKS_URL", JWKS)

    assert complaint() == [KEYS_MISSING]


@pytest.mark.parametrize("url", ["", "id.example/jwks.json", "https://", "file:///etc/passwd", "https://a:b"])
def test_the_address_of_the_keys_is_one(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.delenv("JWT_SECRET")
    environment.setenv("JWT_JWKS_URL", url)

    assert complaint() == ["JWT_JWKS_URL: is not an address like https://host:port"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        (" , ", ()),
        ("https://a.example", ("https://a.example",)),
        ("https://a.example https://b.example/", ("https://a.example", "https://b.example/")),
        (" a,b ,\tc\n", ("a", "b", "c")),
        ('["a"]', ('["a"]',)),
    ],
)
@pytest.mark.parametrize("name", ["JWT_ISSUER", "JWT_AUDIENCE", "JWT_REQUIRED_CLAIMS"])
def test_several_words_have_blanks_or_commas_between_them(
    environment: pytest.MonkeyPatch, name: str, text: str, words: tuple[str, ...]
) -> None:
    environment.setenv(name, text)

    assert getattr(load(), name.lower()) == words


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "xml"),
        ("PLAYGROUND", "perhaps"),
        ("DATABASE_POOL_SIZE", "0"),
        ("STATEMENT_TIMEOUT_SECONDS", "0"),
        ("STATEMENT_TIMEOUT_SECONDS", "nan"),
        ("TEMPORAL_TIMEOUT_SECONDS", "inf"),
        ("JWT_LEEWAY_SECONDS", "301"),
        ("JWT_LEEWAY_SECONDS", "nan"),
        ("JWT_OWNER_CLAIM", ""),
        ("JWT_JWKS_TTL_SECONDS", "0"),
        ("JWT_JWKS_GRACE_SECONDS", "-1"),
        ("JWT_JWKS_REFRESH_SECONDS", "nan"),
        ("JWT_JWKS_TIMEOUT_SECONDS", "inf"),
    ],
)
def test_a_wrong_value_names_its_variable(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)

    (line,) = complaint()
    assert line.startswith((f"{name}: Input should ", f"{name}: String should "))


def test_settings_stay_as_they_were_read(environment: pytest.MonkeyPatch) -> None:
    settings = load()

    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]  # that it is read-only is what is tested


def test_secrets_are_not_shown(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PLAYGROUND_TOKEN", "a-token-of-the-playground")

    shown = repr(load())

    assert SECRET not in shown
    assert "a-token-of-the-playground" not in shown


def test_every_setting_of_time_and_size_has_its_unit_in_its_name() -> None:
    floats = [name for name, field in Settings.model_fields.items() if field.annotation is float]

    assert [name for name in floats if not name.endswith("_seconds")] == []
