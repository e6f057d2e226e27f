"""docs/first-run.md is true: its blocks are pasted into a shell, and print what it says they print."""

import asyncio
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.processes.commands import ROOT
from tests.processes.stack import Stack
from tests.processes.world import ORDER

PAGE = ROOT / "docs" / "first-run.md"
SECONDS = 180
SEPARATOR = "\x1e"
ELLIPSIS = "…"

# What differs from run to run.
VARYING = [
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "TIME"),
    (r"127\.0\.0\.1:\d+", "HOST"),
    (r"TRACK-[0-9A-F]{8}", "TRACK"),
    (r"(?<=\"duration\": )[\d.]+", "SECONDS"),
    (r" +$", ""),
]


@dataclass(frozen=True)
class Block:
    """Commands to paste, under a heading, and what the page says they print, if it does."""

    heading: str
    commands: str
    shown: str | None


def blocks() -> list[Block]:
    found, heading = list[Block](), ""
    for title, language, text in re.findall(
        r"^## ([^\n]*)$|^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.M | re.S
    ):
        if title:
            heading = title
        elif language == "sh":
            found.append(Block(heading, text, None))
        else:
            found[-1] = Block(heading, found[-1].commands, text)
    return found


async def pasted(commands: list[str], home: Path) -> list[str]:
    """What each of the commands prints, run one after the other by one shell."""
    script = "\n".join(f"printf '\\036'\n{text}" for text in commands)
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-e", "-o", "pipefail", "-c", script),
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(shell.communicate(), SECONDS)
    finally:
        if shell.returncode is None:
            shell.kill()
    # As a terminal shows it, to which the line ends of server-sent events make no difference.
    text = output.decode().replace("\r\n", "\n")
    assert shell.returncode == 0, text
    return text.split(SEPARATOR)[1:]


def uniform(text: str) -> str:
    for pattern, word in VARYING:
        text = re.sub(pattern, word, text, flags=re.M)
    return text


def check_shown(shown: str, printed: str) -> None:
    """Each piece of what is shown was printed, in that order; between the pieces it is shortened."""
    rest = uniform(printed)
    pieces = [piece.strip("\n") for piece in uniform(shown).split(ELLIPSIS)]
    for piece in filter(None, pieces):
        before, found, rest = rest.partition(piece)
        assert found, f"{piece} is not in {before}"


def streamed(printed: str) -> list[Any]:
    """The events of a stream of server-sent events that was completed."""
    *events, last = printed.strip().split("\n\n")
    assert last.split() == ["event:", "complete", "data:"]
    return [json.loads(event.partition("data: ")[2])["data"]["executionEvents"] for event in events]


@pytest.fixture
def checkout(tmp_path: Path, dev: Stack) -> Path:
    """A directory that looks to the page like the one in which `make dev` runs."""
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tmp_path / ".data").symlink_to(dev.data)
    return tmp_path


async def test_its_blocks_print_what_it_says(checkout: Path) -> None:
    page = blocks()

    outputs = await pasted([block.commands for block in page], checkout)

    for block, printed in zip(page, outputs, strict=True):
        if block.shown is not None:
            check_shown(block.shown, printed)
    printed_under = {block.heading: printed for block, printed in zip(page, outputs, strict=True)}
    *watched, end = printed_under["Watch it over a WebSocket"].splitlines()
    assert [line.split()[:2] for line in watched] == [[str(n), type] for n, type in enumerate(ORDER, 1)]
    assert end.strip() == "complete"
    assert [event["type"] for event in streamed(printed_under["The same with curl"])] == ORDER
    execution = json.loads(printed_under["Read its result and its history"])["data"]["execution"]
    assert [event["type"] for event in execution["history"]["nodes"]] == ORDER
    assert execution["output"]["customer"] == execution["input"]["customer"] == "Grace Hopper"
    report = streamed(printed_under["Cancel a report"])
    assert (report[-1]["type"], report[-1]["status"]) == ("EXECUTION_CANCELLED", "CANCELLED")
