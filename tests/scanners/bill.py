"""The bill of materials in CycloneDX's form, out of the lock: `make sbom` writes sbom.cdx.json."""

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

_PIN = re.compile(
    r"^([\w.-]+)==([^\s;]+)(?: ; (.+?))? \\\n((?: +--hash=sha256:\w+(?: \\)?\n)+)", re.MULTILINE
)
_HASH = re.compile(r"sha256:(\w+)")


def bill(project: dict[str, Any], lock: str) -> dict[str, Any]:
    """The bill of a project: what the lock pins, with the hashes of all files that would do."""
    itself = {
        "type": "application",
        "bom-ref": "root",
        "name": project["name"],
        "version": project["version"],
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {**itself, "licenses": [{"license": {"id": project["license"]}}]}},
        "components": [_component(*pin) for pin in _PIN.findall(lock)],
    }


def printed(bill: dict[str, Any]) -> str:
    """The bill as text, a component each line: what changes in it is seen."""
    head = json.dumps({**bill, "components": []}).removesuffix("]}")
    return head + "\n" + ",\n".join(map(json.dumps, bill["components"])) + "\n]}\n"


def main() -> None:
    """Print the bill of this project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    sys.stdout.write(printed(bill(project, (ROOT / "requirements.txt").read_text())))


def _component(name: str, version: str, marker: str, hashes: str) -> dict[str, Any]:
    url = f"pkg:pypi/{name}@{version}"
    files = [{"alg": "SHA-256", "content": each} for each in _HASH.findall(hashes)]
    return {
        "type": "library",
        "bom-ref": url,
        "name": name,
        "version": version,
        "purl": url,
        "externalReferences": [{"type": "distribution", "url": url, "hashes": files}],
        "properties": [{"name": "marker", "value": marker}] if marker else [],
    }


if __name__ == "__main__":
    main()
