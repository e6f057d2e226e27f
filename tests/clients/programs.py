"""Programs that are not Python's, or not ours, run to their end."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

LIMIT_SECONDS = 180

ROOT = Path(__file__).parents[2]


def output(*command: str | Path, directory: Path = ROOT, environment: Mapping[str, str] | None = None) -> str:
    """What a program prints; fails the test with all that it said where it fails."""
    run = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **(environment or {})},
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout
