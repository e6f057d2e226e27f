"""What is installed is pinned by its hash, and no lock says where from: that is the installer's business."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
NODE = ["playground", "tests/clients", "benchmarks/rivals/node"]
PYTHON = [
    "requirements.txt",
    "requirements-dev.txt",
    "tests/clients/ariadne/requirements.txt",
    "tests/scanners/graphqler.txt",
    "tests/scanners/requirements.txt",
    "benchmarks/rivals/rest/requirements.txt",
]


@pytest.mark.parametrize("directory", NODE)
def test_npm_packages_have_hashes_and_no_address(directory: str) -> None:
    lock = json.loads((ROOT / directory / "package-lock.json").read_text())
    packages = [package for path, package in lock["packages"].items() if path]

    assert packages
    assert [package for package in packages if "integrity" not in package or "resolved" in package] == []


@pytest.mark.parametrize("file", PYTHON)
def test_python_packages_have_hashes_and_no_address(file: str) -> None:
    text = (ROOT / file).read_text()
    pins = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]

    assert pins
    assert [pin for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []
    assert "://" not in text
    assert "--index" not in text


def test_the_bill_of_materials_is_that_of_the_lock() -> None:
    """`make sbom` writes it anew."""
    components = json.loads((ROOT / "sbom.cdx.json").read_text())["components"]
    pins = re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    hashes = re.findall(r"sha256:(\w+)", (ROOT / "requirements.txt").read_text())

    assert [(each["name"], each["version"]) for each in components] == pins
    files = [file["content"] for each in components for file in each["externalReferences"][0]["hashes"]]
    assert files == hashes
