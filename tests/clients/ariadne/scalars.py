"""How the client writes the API's scalars."""

from datetime import datetime


def rfc3339(moment: datetime) -> str:
    """An aware datetime as the API takes it."""
    return moment.isoformat()
