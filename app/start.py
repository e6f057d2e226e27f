"""Where the program begins: nothing that a command loads is garbage, and looking for some takes its time."""

import gc

gc.disable()

from app.cli import run  # noqa: E402 - what comes before is the point

if __name__ == "__main__":
    run()
