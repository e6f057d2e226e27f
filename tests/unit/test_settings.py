"""The environment is read once, and what is wrong with it is named."""

import pytest
from pydantic import ValidationError

from app.settings import InvalidSettings, Settings, load

SECRET = "0123456789abcdef0123456789abcdef"
NEEDED = {"DATABASE_URL": "postgresql://db/x", "REDIS_URL": "redis://r", "JWT_SECRET": SECRET}


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


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_a_missing_variable_is_named(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)

    assert complaint() == [f"{name}: is not set"]


def test_all_missing_variables_are_named_at_once(environment: pytest.MonkeyPatch) -> None:
    for name in NEEDED:
        environment.delenv(name)

    assert sorted(complaint()) == [f"{name}: is not set" for name in sorted(NEEDED)]


@pytest.mark.parametrize("secret", ["", "short", SECRET[1:]])
def test_a_short_secret_names_its_variable_and_not_itself(
    environment: pytest.MonkeyPatch, secret: str
) -> None:
    environment.setenv("JWT_SECRET", secret)

    assert complaint() == ["JWT_SECRET: must have 32 bytes at least"]


def test_a_secret_is_measured_in_bytes(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("JWT_SECRET", "é" * 16)

    assert load().jwt_secret.get_secret_value() == "é" * 16


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
