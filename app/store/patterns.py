"""LIKE patterns."""

_ESCAPED = str.maketrans({mark: "\\" + mark for mark in "\\%_"})


def containing(text: str) -> str:
    """What matches everything that has exactly this text in it."""
    return f"%{text.translate(_ESCAPED)}%"
