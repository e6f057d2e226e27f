"""Where the program begins: nothing that it loads is garbage, and looking for some takes its time."""

import gc

gc.disable()

from app.cli import run  # noqa: E402 - what comes before is the point

gc.enable()

if __name__ == "__main__":
    run()
