"""Words that the pages share."""

import re
import shlex

from forecaster.config import Settings
from forecaster.dashboard import data

NOT_ADVICE = "Not investment advice. A forecast gives probabilities of prices, not promises."
_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])")


def plain(text: str) -> str:
    """Escape what Markdown would read as markup, so that a text shows as it is."""
    return _MARKUP.sub(r"\\\1", text)


def command(words: str) -> str:
    """Return the command line that runs a verb on the workspace shown here."""
    home = data.settings().home
    default = Settings.model_fields["home"].default
    where = "" if home.resolve() == default.resolve() else f" --home {shlex.quote(str(home))}"
    return f"python -m forecaster {words}{where}"


def count(number: int, noun: str) -> str:
    """Write a number with its noun: ``1 session``, ``5 sessions``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
