"""Entry of ``python -m forecaster``."""

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit(f"forecaster runs on Python 3.11 to 3.13; this is {sys.version.split()[0]}")

try:
    from forecaster.cli import main
except ModuleNotFoundError as missing:
    sys.exit(f"error: this Python lacks {missing.name}; run make run once, then use .venv/bin/python")


def leave(code: int) -> NoReturn:
    """Exit at once after the usual clean-up.

    Threads of native libraries can abort the interpreter while it takes itself down, after all
    work is done: one run in twenty ended with 134 instead of 0.
    """
    # In the interpreter's own order: pools of processes end with the threads.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


try:
    main()
except SystemExit as leaving:
    leave(leaving.code if isinstance(leaving.code, int) else 0)
