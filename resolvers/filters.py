"""What callers narrow lists to, checked before anything is read."""

from collections.abc import Iterator

from app import inputs
from app.auth import Caller
from app.errors import Issue
from app.filters import ExecutionEventFilter, ExecutionFilter, StatsFilter

MAX_VALUES = 100
# Shorter ones have no trigram: no index finds them.
MIN_INDEXED_CHARACTERS = 3


def check_executions(caller: Caller, chosen: ExecutionFilter) -> None:
    """Raise InvalidInput for a filter that is too large, or that no execution could be kept with."""
    inputs.check(*_common(chosen), search("/filter/search", chosen.search), _indexed(caller, chosen.search))


def check_events(chosen: ExecutionEventFilter) -> None:
    """Raise InvalidInput for a filter that is too large, or that no event could be kept with."""
    inputs.check(*_common(chosen))


def check_stats(chosen: StatsFilter) -> None:
    """Raise InvalidInput for a filter that is too large."""
    inputs.check(inputs.few("/filter/workflowId", chosen.workflow_ids, MAX_VALUES))


def search(path: str, text: str | None) -> Iterator[Issue]:
    """Issues of the text that is searched for."""
    return inputs.name(path, text)


def _common(chosen: ExecutionFilter | ExecutionEventFilter) -> Iterator[Iterator[Issue]]:
    yield inputs.few("/filter/workflowId", chosen.workflow_ids, MAX_VALUES)
    yield inputs.few("/filter/labels", chosen.labels, MAX_VALUES)
    for label in chosen.labels:
        for text in label:
            yield inputs.text("/filter/labels", text, limit=inputs.MAX_NAME_CHARACTERS)


def _indexed(caller: Caller, text: str | None) -> Iterator[Issue]:
    """An owner's list may be read through for a short text; everybody's may not."""
    if text is not None and caller.is_admin and len(text) < MIN_INDEXED_CHARACTERS:
        reason = f"must have {MIN_INDEXED_CHARACTERS} characters at least in a list of all owners"
        yield Issue("/filter/search", reason)
