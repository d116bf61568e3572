"""Every error that forecaster raises on purpose.

::

    ForecasterError              exit code 1
    ├── UsageError               exit code 2   an option, name or setting is wrong
    ├── DataError                              rows that cannot be accepted
    │   ├── FileFormatError                    ... in a file: names file, row, column
    │   ├── UnknownSymbol                      the store has no such symbol
    │   └── TooLittleHistory                   too few sessions to read one window
    ├── SourceError                            a price source did not deliver
    │   ├── RateLimited          exit code 75  ... and asked to be left alone for a while
    │   └── NotYet               exit code 75  ... the bars that are due, and will later
    ├── Locked                   exit code 75  another process does the same work
    ├── Denied                                 whoever asks may not change anything
    ├── StoreError                             the data folder cannot be read or written
    ├── LeakFound                              something known later reached an earlier cutoff
    └── ModelError                             no model, or a model that does not fit
        ├── NotEarned                          a promotion that the evidence does not allow
        └── Expired                            data or model too old to forecast from

A message says what was expected, what came and what to do.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_WORDS = (
    (r"Input should be (?=greater|less)", "expected a number "),
    (r"Input should be ", "expected "),
    (r"Value error, ", ""),
    (r"Field required", "missing"),
    (r"Extra inputs are not permitted", "not a known name"),
)


class ForecasterError(Exception):
    """Base of the tree; the command line prints its message as one line."""

    exit_code = 1


class UsageError(ForecasterError):
    """An option, a name or a setting is wrong."""

    exit_code = 2


class DataError(ForecasterError):
    """Rows that cannot be accepted."""


class FileFormatError(DataError):
    """A file that is neither a price history nor one of events; names file, row and column."""


class UnknownSymbol(DataError):
    """A symbol that the store does not hold."""


class TooLittleHistory(DataError):
    """Too few sessions for a window, its indicators and a label."""


class SourceError(ForecasterError):
    """A price source did not deliver."""


class RateLimited(SourceError):
    """A price source asked to be left alone for a while."""

    exit_code = 75


class NotYet(SourceError):
    """The bars of a complete session have not arrived yet."""

    exit_code = 75


class Locked(ForecasterError):
    """Another process does the same work in this workspace."""

    exit_code = 75


class Denied(ForecasterError):
    """A change that whoever asks may not make."""


class StoreError(ForecasterError):
    """The data folder cannot be read or written."""


class LeakFound(ForecasterError):
    """What became known later has moved what was computed for an earlier cutoff."""


class ModelError(ForecasterError):
    """No model, or one that does not fit what it is asked."""


class NotEarned(ModelError):
    """A promotion that the evidence does not allow."""


class Expired(ModelError):
    """Data or a model too old to forecast from."""


def first_problem(error: "ValidationError") -> str:
    """Say in one line where the first value is that does not fit, what was expected and what came."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    words = problem["msg"]
    for theirs, ours in _WORDS:
        words = re.sub(f"^{theirs}", ours, words)
    came = "" if isinstance(problem["input"], dict | list) else f", got {problem['input']!r}"
    return f"{where}: {words}{came}" if where else words
