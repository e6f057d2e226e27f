"""docs/security.md names what there is: settings, files and versions."""

import re
from pathlib import Path

from app.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
LOCKS = ("requirements-dev.txt", "tests/scanners/requirements.txt", "tests/scanners/graphqler.txt")


def test_its_settings_exist() -> None:
    named = set(re.findall(r"`([A-Z][A-Z_]*_[A-Z_]+|INTROSPECTION|PLAYGROUND|METRICS)`", PAGE))
    named |= set(re.findall(r"^([A-Z_]+)=", PAGE, re.MULTILINE))

    assert len(named) > 30
    assert {name.lower() for name in named} - Settings.model_fields.keys() == set()


def test_its_links_lead_somewhere() -> None:
    files = re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE)

    assert len(files) > 20
    assert [file for file in files if not (ROOT / "docs" / file).exists()] == []


def test_its_scanners_are_those_of_the_locks() -> None:
    pins = "\n".join((ROOT / lock).read_text() for lock in LOCKS)
    named = re.findall(r"^\| ([a-z-]+) (\d[\d.]*\d)", PAGE, re.MULTILINE)

    assert {name for name, _ in named} == {
        "bandit",
        "clairvoyance",
        "graphqler",
        "hypothesis-graphql",
        "schemathesis",
    }
    assert [f"{name} {version}" for name, version in named if f"\n{name}=={version} " not in pins] == []
