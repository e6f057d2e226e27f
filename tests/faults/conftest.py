"""One stack for the whole folder, and the record of a full run."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio

from tests.faults.record import Record
from tests.faults.sizes import FULL, SMALL, Size
from tests.faults.stack import Stack, stacked
from tests.processes.conftest import reachable

FOLDER = "tests/faults"
SHOWN = pytest.StashKey[Record]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", choices=["small", "full"], default="small", help="the size of the matrix")
    parser.addoption(
        "--patience", type=float, default=1.0, help="times the published bounds, where others use the machine"
    )


@pytest.fixture(scope="session")
def size(request: pytest.FixtureRequest) -> Size:
    if request.config.getoption("--faults", "small") == "small":
        return SMALL
    return FULL.within(request.config.getoption("--patience"))


@pytest.fixture(scope="session")
def record(size: Size, pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Iterator[Record]:
    """What the run shows; a full one of the whole folder in which all held writes it down."""
    kept = Record()
    yield kept
    if size.full:
        pytestconfig.stash[SHOWN] = kept
    whole = pytestconfig.args == [FOLDER] and not pytestconfig.option.keyword
    if size.full and whole and not request.session.testsfailed:
        kept.write()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what a full run showed, whether it is written down or not."""
    if SHOWN in config.stash:
        terminalreporter.write(f"\n{config.stash[SHOWN]}\n")


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def stack(
    tmp_path_factory: pytest.TempPathFactory, made_once: Callable[[str], None]
) -> AsyncIterator[Stack]:
    made_once("a stack to be broken")
    with reachable() as data:
        async with stacked(tmp_path_factory.mktemp("faults"), data) as whole:
            yield whole
