"""docs/clients.md is true: its blocks are parts of the files under test, and its shell commands work."""

import asyncio
import os
import re
import signal
from pathlib import Path
from textwrap import dedent

import pytest

from app import auth
from tests import factories
from tests.client import SECRET, Api, Client
from tests.clients.programs import ROOT, output

HERE = Path(__file__).parent
PAGE = ROOT / "docs" / "clients.md"
BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(PAGE.read_text())
EXCERPTS = [(file, text) for _, file, text in BLOCKS if file]
COMMANDS = [text for language, file, text in BLOCKS if (language, file) == ("sh", "")]
BY_HASH = next(text for text in COMMANDS if "persistedQuery" in text)
SECONDS = 30


def has(whole: str, part: str) -> bool:
    """Whether a file has the text of a block, however deep it is indented there."""
    return part.strip() in whole or dedent(part).strip() in dedent(whole)


async def printed(shell: asyncio.subprocess.Process, end: str) -> str:
    """What the shell prints until a word has come."""
    assert shell.stdout
    text = ""
    async with asyncio.timeout(SECONDS):
        while end not in text:
            chunk = await shell.stdout.read(65_536)
            assert chunk, f"the shell ended with {text!r}"
            text += chunk.decode()
    return text


@pytest.mark.parametrize(("file", "text"), EXCERPTS, ids=[file for file, _ in EXCERPTS])
def test_a_block_is_part_of_the_file_that_it_names(file: str, text: str) -> None:
    assert has((HERE / file).read_text(), text)


def test_every_block_names_its_file_or_is_run() -> None:
    assert len(EXCERPTS) + len(COMMANDS) == len(BLOCKS)
    assert len(COMMANDS) == 3


async def test_the_commands_read_a_list_and_follow_the_feed_from_there(
    api: Api, alice: Client, tracker: None, worker: str, tmp_path: Path
) -> None:
    waiting = await factories.waiting(alice, worker)
    environment = {"PATH": os.environ["PATH"], "URL": api.url, "TOKEN": auth.mint(SECRET, "alice")}
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-e", "-c", "\n".join(each for each in COMMANDS if each != BY_HASH)),
        cwd=tmp_path,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        await printed(shell, waiting["id"])
        paid = await factories.paid(alice, worker)
        followed = await printed(shell, "EXECUTION_COMPLETED")
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        await shell.wait()

    assert "EXECUTION_CREATED" in followed
    assert paid["id"] in followed
    assert waiting["id"] not in followed


async def test_a_document_is_sent_and_then_named(api: Api) -> None:
    environment = {"URL": api.url, "TOKEN": auth.mint(SECRET, "alice")}

    said = await asyncio.to_thread(lambda: output("bash", "-e", "-c", BY_HASH, environment=environment))

    assert said == '{"data":{"viewer":{"id":"alice"}}}' * 3
