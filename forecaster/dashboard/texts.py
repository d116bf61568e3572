"""Words that the pages share."""

import re
import shlex
from collections.abc import Sequence

import pandas as pd

from forecaster.config import Settings
from forecaster.dashboard import reads

NOT_ADVICE = "Not investment advice. A forecast gives probabilities of prices, not promises."
TWO_LINES = 54
"""Height of a table's row in pixels in which long words take two lines."""

_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])")


def plain(text: str) -> str:
    """Escape what Markdown would read as markup, so that a text shows as it is."""
    return _MARKUP.sub(r"\\\1", text)


def hint(text: str | None) -> str | None:
    """Escape likewise what a control says when it is pointed at, if it says anything."""
    return None if text is None else plain(text)


def command(words: str) -> str:
    """Return the command line that runs a verb on the workspace shown here."""
    home = reads.settings().home
    default = Settings.model_fields["home"].default
    where = "" if home.resolve() == default.resolve() else f" --home {shlex.quote(str(home))}"
    return f"python -m forecaster {words}{where}"


def count(number: int, noun: str) -> str:
    """Write a number with its noun: ``1 session``, ``5 sessions``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def ahead(step: int) -> str:
    """Write how far a forecast looks: ``1 session ahead``."""
    return f"{count(step, 'session')} ahead"


def listed(words: Sequence[str]) -> str:
    """Write words as a list within a sentence: ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def lasted(time: pd.Timedelta) -> str:
    """Write a stretch of time: ``12 s``, ``5 min``, ``2 h 5 min``."""
    minutes = int(time.total_seconds()) // 60
    if minutes < 1:
        return f"{time.total_seconds():.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def ago(then: pd.Timestamp, moment: pd.Timestamp) -> str:
    """Tell how long before a moment another lies: ``just now``, ``5 minutes ago``, ``2 days ago``."""
    minutes = int((moment - then).total_seconds()) // 60
    for size, noun in ((24 * 60, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size:
            return f"{count(minutes // size, noun)} ago"
    return "just now"
