"""What to do where prices lack: it depends on where a workspace has its prices from."""

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from forecaster.sources import SOURCES
from forecaster.sources.sample import SampleSource

SAMPLE: Final = "sample"
FILES: Final = "files"
"""Origins that bring nothing new by themselves."""

LIVE = "python -m forecaster quickstart --home mydata --source yahoo"
"""Begins a workspace of live prices beside one that keeps to the sample."""

GROUPS = ("watchlist", "quarantine", "events", "models", "jobs")
"""Commands of which the second word is part."""

_COMMAND = re.compile(rf"python -m forecaster (?:(?:{'|'.join(GROUPS)}) )?[a-z]+\b(?! --home)")


def origin(sources: Iterable[str]) -> str:
    """Return where a workspace's prices come from, given the sources of its updates.

    Returns
    -------
    str
        A name in `SOURCES`, that of the live one where there are several; or "files", if nothing else was
        ever taken. "yahoo" while there are none.
    """
    known = set(sources)
    if known == {FILES}:
        return FILES
    return next((name for name in SOURCES if name in known), "yahoo")


def to_bring(symbols: Sequence[str], source: str) -> str:
    """Say what brings the prices of symbols, or newer ones, in a workspace whose prices have an `origin`."""
    if source == FILES:
        return "bring prices in a file: python -m forecaster import FILE"
    if not can_bring(symbols, source):
        return f"the bundled sample has six stocks and no others; for live prices: {LIVE}"
    return f"bring prices: python -m forecaster update {' '.join(symbols)}"


def can_bring(symbols: Sequence[str], source: str) -> bool:
    """Whether an `origin` may ever bring the prices of symbols."""
    return source != SAMPLE or set(symbols) <= set(SampleSource().symbols())


def beyond(source: str) -> str:
    """Say why a workspace with an `origin` knows few symbols, and what has more; empty if it is live."""
    if source == SAMPLE:
        return f"This workspace has the six stocks of the bundled sample alone; for live prices: {LIVE}"
    if source == FILES:
        return "This workspace has what was imported alone; for more: python -m forecaster import FILE"
    return ""


def no_workspace(home: Path) -> str:
    """Say that a folder holds no workspace, and what makes one."""
    return f"There is no workspace at {home}; make one: python -m forecaster quickstart"


def located(text: str, home: Path) -> str:
    """Name the workspace in every command of a text that names none."""
    return _COMMAND.sub(lambda found: f"{found[0]} --home {shlex.quote(str(home))}", text)
