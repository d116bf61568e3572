"""How long work reports on itself: a bar on a terminal, plain lines elsewhere, or nothing."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

Advance = Callable[[str], None]
"""Counts one step as done; takes a few words on its result."""

Progress = Callable[[str, int], AbstractContextManager[Advance]]
"""Opens a task by name and number of steps, for a ``with`` statement."""

SECONDS_BETWEEN_LINES = 5.0


class Pace:
    """How long the rest of a task takes, judged by its steps after the first.

    The first step is left out, as it also starts what the others find running: a training library, a
    compiled network, a connection.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self._first = 0.0

    def step(self) -> float | None:
        """Count a step as done; return the seconds left, or None where they cannot be told yet."""
        self.done += 1
        moment = time.monotonic()
        if self.done == 1:
            self._first = moment
            return None
        return (moment - self._first) / (self.done - 1) * max(self.total - self.done, 0)


@contextmanager
def silent(name: str, total: int) -> Iterator[Advance]:
    """Report nothing."""
    yield lambda note: None


def lines(say: Callable[[str], None]) -> Progress:
    """Report in plain lines, one every few seconds."""

    @contextmanager
    def opened(name: str, total: int) -> Iterator[Advance]:
        started = shown = time.monotonic()
        pace = Pace(total)
        say(f"{name} ...")

        def advance(note: str) -> None:
            nonlocal shown
            left = pace.step()
            if time.monotonic() - shown >= SECONDS_BETWEEN_LINES and pace.done < total:
                shown = time.monotonic()
                ahead = "" if left is None else f"{span(left)} left, "
                say(f"{name}: {pace.done}/{total}, {ahead}{note}")

        yield advance
        say(f"{name}: done in {time.monotonic() - started:.0f} s")

    return opened


def together(*ways: Progress) -> Progress:
    """Report in several ways at once."""

    @contextmanager
    def opened(name: str, total: int) -> Iterator[Advance]:
        with ExitStack() as stack:
            steps = [stack.enter_context(way(name, total)) for way in ways]

            def advance(note: str) -> None:
                for step in steps:
                    step(note)

            yield advance

    return opened


def span(seconds: float) -> str:
    """Write a duration as roughly as it is known."""
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"


@contextmanager
def _bar(name: str, total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<34}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:>4.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(name, total=total, note="")

        def advance(note: str) -> None:
            bars.update(task, advance=1, note=note)

        yield advance
        bars.update(task, completed=total)


def for_terminal() -> Progress:
    """Choose bars where standard error is a terminal, plain lines elsewhere."""
    return _bar if sys.stderr.isatty() else lines(partial(print, file=sys.stderr, flush=True))
