"""Headlines to kind and tone: finance rules first, VADER for what they do not cover.

VADER [1]_ was made for social media: there "profit" is a good word and "fall" is none, so that "Company
profits fall 20%" comes out at +0.44. Here a headline is cut into clauses, and in each a subject (profit,
costs, jobs ...) is paired with the direction that it takes; events (a lawsuit, a resignation, a merger)
have a tone of their own. The word lists are this project's own; what is told without any of their words,
as criticism often is, is left to VADER and mostly missed.

.. [1] Hutto and Gilbert (2014), VADER: a parsimonious rule-based model for sentiment analysis of
   social media text, ICWSM.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple


class Judgement(NamedTuple):
    """What a headline, or a part of it, is about and how good that is.

    Attributes
    ----------
    kind : str
        "profit", "leadership", "policy", "restructuring" or "other" (see `events.RELEASED`).
    tone : float
        From -1 (bad for the company) to 1 (good).
    """

    kind: str
    tone: float


def _table(*lines: tuple[Any, str]) -> dict[str, Any]:
    return {word: value for value, words in lines for word in words.split()}


def _set(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


MOVES: dict[str, float] = _table(
    (0.8, "surge soar jump rocket skyrocket double triple balloon record"),
    (0.5, "rise grow increase gain climb advance raise lift boost bolster expand widen accelerate rebound"),
    (0.5, "hike add up high open resume reinstate restore strengthen swing turn return"),
    (-0.3, "slip dip ease cool slow soften lag"),
    (-0.5, "fall drop decline decrease slide shrink narrow cut trim reduce low lower lose down less weaken"),
    (-0.5, "close shut suspend cancel halt withdraw pull shed repay erode freeze omit"),
    (-0.8, "slump plunge tumble plummet sink crash collapse slash halve scrap axe eliminate wipe"),
)
"""Directions: up or down, and how far. Good or bad only together with a subject."""

BECOMING = _set("swing turn return")
"""Moves to what follows them: "swings to a loss"."""

SUBJECTS: dict[str, tuple[str, float]] = _table(
    (
        ("profit", 1.0),
        "profit earnings income ebitda eps revenue sales turnover margin result quarter growth",
    ),
    (("profit", 1.0), "guidance outlook forecast estimate expectation consensus dividend payout buyback"),
    (("profit", 1.0), "subscriber user customer traffic demand order booking backlog delivery shipment"),
    (("profit", 1.0), "output production cashflow"),
    (("profit", -1.0), "cost expense spending loss debt deficit impairment writedown writeoff charge churn"),
    (("profit", -1.0), "default shortfall delinquency provision"),
    (("restructuring", 1.0), "job workforce staff headcount store shop plant factory branch"),
    (("other", 0.8), "rating target"),
    # Prices are known anyway; the headline says little more.
    (("other", 0.2), "share stock"),
)
"""What moves: kind, and 1 where more is better or -1 where less is; a smaller number counts for less."""

BAD_IN_ITSELF = _set("loss impairment writedown writeoff charge default shortfall")
"""Subjects that are bad news if no direction is told."""

VERDICTS: dict[str, float] = _table(
    (0.6, "beat exceed surpass outpace"),
    (0.5, "strong solid robust healthy upbeat improve better recover"),
    (0.3, "match"),
    (-0.4, "hit hurt dent squeeze weigh pressure drag"),
    (-0.5, "weak poor soft sluggish deteriorate gloomy"),
    (-0.6, "miss disappoint worse warn"),
)
"""Words about a subject that are good or bad whichever way the subject points."""

EVENTS: dict[str, Judgement] = _table(
    (Judgement("policy", -0.6), "backlash boycott outcry uproar outrage scandal fraud bribery corruption"),
    (Judgement("policy", -0.6), "accuse misconduct harassment discrimination cyberattack"),
    (Judgement("policy", -0.5), "criticise criticize criticism condemn protest controversy controversial"),
    (Judgement("policy", -0.5), "lawsuit sue antitrust probe investigate investigation inquiry subpoena"),
    (Judgement("policy", -0.5), "fine penalty sanction ban recall breach hack violate violation monopoly"),
    (Judgement("policy", -0.5), "allegation allege wrongdoing strike walkout"),
    (Judgement("policy", -0.3), "complaint complain scrutiny dispute concern"),
    (Judgement("restructuring", -1.0), "bankrupt bankruptcy insolvent insolvency liquidation"),
    (Judgement("restructuring", -0.5), "layoff redundancy delist"),
    (Judgement("restructuring", 0.0), "merge merger acquire acquisition takeover buyout divest divestiture"),
    (Judgement("restructuring", 0.0), "spinoff demerger breakup restructure restructuring reorganise"),
    (Judgement("restructuring", 0.0), "reorganize reorganisation reorganization"),
    (Judgement("other", 0.5), "approve approval win award upgrade breakthrough"),
    (Judgement("other", 0.2), "partnership deal agreement contract launch unveil"),
    (Judgement("other", -0.5), "downgrade reject outage delay shortage accident"),
    (Judgement("other", -0.6), "explosion disaster"),
)
"""Words that are news by themselves."""

TOPICS: dict[str, str] = _table(("policy", "privacy policy"))
"""Words that say what a headline is about where no event does."""

ROLES = _set(
    "ceo cfo coo cto chief executive officer chair chairman chairwoman chairperson president",
    "founder cofounder director board head boss",
)

CHANGES: dict[str, float] = _table(
    (0.2, "name appoint hire tap promote join become succeed"),
    (-0.2, "retire retirement"),
    (-0.5, "resign quit leave depart departure exit replace"),
    (-0.7, "die death"),
    (-0.8, "oust fire sack arrest indict"),
)
"""What happens to people; leadership news where the clause names a role, and a resignation anyway."""

RELIEF = _set("win clear dismiss drop lift end settle overturn emerge resolve")
"""Words that turn a bad event of their clause into a good one: "drops lawsuit"."""

NEGATIONS = _set("not no never without fail avoid avert unlikely")
BOOSTERS = _set(
    "sharp sharply steep steeply heavy heavily massive huge widely widespread",
    "abrupt abruptly sudden suddenly unexpected unexpectedly surprise",
)
DAMPERS = _set(
    "slight slightly modest modestly marginal marginally edge inch may might could consider deny",
)

IRREGULAR: dict[str, str] = _table(
    ("fall", "fell fallen"),
    ("rise", "rose risen"),
    ("grow", "grew grown"),
    ("shrink", "shrank shrunk"),
    ("sink", "sank sunk"),
    ("lose", "lost"),
    ("swing", "swung"),
    ("slide", "slid"),
    ("leave", "left"),
    ("win", "won"),
    ("die", "dying dead"),
    ("high", "highest"),
    ("low", "lowest"),
)

_ESTIMATE = r"(?=(?:\w+ ){0,2}(?:estimate|expectation|forecast|consensus|target))"

PHRASES = {
    r"n't\b": " not",
    r"'s?\b|\bno \d+|\bweight loss\b|\bcharg(?:ing|ers?)\b|\b(?:per|a) share\b|\bsame store\b": "",
    r"\b(?:bigger|larger|greater|wider)\b": "higher",
    r"\b(?:smaller|fewer)\b": "lower",
    r"\b(?:no longer|rul\w+ out)\b": "not",
    r"\b(?:step\w*|stand\w*|stood) (?:down|aside)\b|\bresignation\b": "resign",
    r"\b(?:lay|lays|laid|laying) off\b|\bjob loss(?:es)?\b": "layoff",
    r"\b(?:spin|spins|spun|spinning) off\b": "spinoff",
    r"\bchapter (?:11|7)\b": "bankruptcy",
    r"\bmarket share\b": "demand",
    r"\bcash flow\b": "cashflow",
    r"\b(?:fall|drop|decline|slump)s? (?:slow|eas|narrow|moderat)\w+": "improve",
    r"\bhits? (?=(?:an? |its |new |all time )*(?:record|high|peak|\$|\d))": "reach ",
    r"\b(?:strikes?|struck|striking) (?=(?:\w+ ){0,3}(?:deal|agreement|partnership)\b)": "sign ",
    r"\btop(?:s|ped|ping)\b": "beat",
    r"\brecord high\b": "record",
    r"\brecord low\b": "slump",
    rf"\b(?:short|shy|below|behind|under) (?:of )?{_ESTIMATE}": "miss ",
    rf"\b(?:above|ahead of|top) {_ESTIMATE}": "beat ",
    rf"\b(?:meets?|met) {_ESTIMATE}": "match ",
}
"""Pattern in a clause -> what it is read as."""

ORDINARY = _set(
    "share shares stock interest interests gross trust united energy credit security crude top giant fine",
    "best play like well value growth natural party free super",
)
"""Words that VADER takes for feelings, and business for things."""

SUBORDINATE = ("despite", "although", "though", "while", "amid")

VADER_WEIGHT = 0.5
"""VADER knows nothing of finance, so what it says counts for half."""

_CLAUSES = re.compile(
    r"[,.;:!?](?=\s|$)|\s[-–—|]+\s|[—()]"
    rf"|\b(but|however|{'|'.join(SUBORDINATE)}|because"
    rf"|as(?! (?:[\w-]+[ -]){{0,2}}(?:{'|'.join(sorted(ROLES))})\b))\b"
)
_PER_CENT = re.compile(r"(\d[\d,]*(?:\.\d+)?) ?(?:%|per ?cent\b|pct\b|pc\b)")
_ENDINGS = (
    *(("", ""), ("s", ""), ("es", ""), ("ies", "y"), ("d", ""), ("ed", ""), ("ied", "y")),
    *(("ing", ""), ("ing", "e"), ("er", ""), ("r", "")),
)
_VOCABULARY = frozenset().union(
    *(MOVES, SUBJECTS, VERDICTS, EVENTS, TOPICS, ROLES, CHANGES, RELIEF, NEGATIONS, BOOSTERS, DAMPERS)
)


def judge(headline: str) -> Judgement:
    """Say what a headline is about and how good that is for the company.

    The kind is leadership wherever someone in charge comes or goes, else that of the first clause with
    an event or a subject. What follows "despite" counts for half, and so does what precedes "but" and
    anything asked rather than said. A per cent sets how far a subject moved.

    Parameters
    ----------
    headline : str
        English; any case.
    """
    text = unicodedata.normalize("NFKC", headline).replace("’", "'").replace("٪", "%").casefold()
    text = " ".join(text.split())
    said: list[Judgement] = []
    topics: list[str] = []
    waiting: str | None = None
    for weight, clause in _clauses(text):
        words = _words(clause)
        if waiting and SUBJECTS.keys().isdisjoint(words):
            words = [waiting, *words]
        found = _read(words, _PER_CENT.search(clause))
        subjects = [word for word in words if word in SUBJECTS]
        waiting = subjects[-1] if subjects and not found else None
        said += [Judgement(one.kind, weight * one.tone) for one in found]
        topics += [TOPICS[word] for word in words if word in TOPICS]
        topics += [SUBJECTS[word][0] for word in subjects]
    tone = sum(one.tone for one in said) if said else _felt(text)
    if "?" in text:
        tone /= 2
    kinds = [one.kind for one in said] + topics
    chosen = next((kind for kind in kinds if kind != "other"), "other")
    return Judgement("leadership" if "leadership" in kinds else chosen, max(-1.0, min(1.0, tone)))


def _clauses(text: str) -> Iterator[tuple[float, str]]:
    """Cut a headline where a new statement begins; with the weight of each part."""
    pieces = _CLAUSES.split(text)
    joints = [None, *pieces[1::2]]
    for place, (joint, clause) in enumerate(zip(joints, pieces[::2], strict=True)):
        overruled = any(later in ("but", "however") for later in joints[place + 1 :])
        yield (0.5 if overruled or joint in SUBORDINATE else 1.0), clause


def _words(clause: str) -> list[str]:
    """List the words of a clause, in the form in which the tables hold them."""
    text = clause.replace("-", " ")
    for pattern, meaning in PHRASES.items():
        text = re.sub(pattern, meaning, text)
    return [_base(word) for word in re.findall(r"[a-z]+", text)]


def _base(word: str) -> str:
    if word in IRREGULAR:
        return IRREGULAR[word]
    for ending, instead in _ENDINGS:
        if word.endswith(ending):
            stem = word[: len(word) - len(ending)] + instead
            undoubled = stem[:-1] if ending in ("ed", "ing") and stem[-2:-1] == stem[-1:] else stem
            for form in (stem, undoubled):
                if form in _VOCABULARY:
                    return form
    return word


def _read(words: list[str], per_cent: re.Match[str] | None) -> list[Judgement]:
    """Say what one clause says; the strongest first."""
    events = [EVENTS[word] for word in words if word in EVENTS]
    subjects = [place for place, word in enumerate(words) if word in SUBJECTS]
    relieved = any(word in RELIEF and not (word in MOVES and subjects) for word in words)
    if relieved and any(event.tone < 0 for event in events):
        events = [Judgement(kind, abs(tone) / 2) for kind, tone in events]
    elif subjects:
        events += _moved(words, subjects, per_cent)
    has_role = not ROLES.isdisjoint(words)
    changes = [word for word in words if word in CHANGES and (has_role or word == "resign")]
    events += [Judgement("leadership", CHANGES[word]) for word in changes]
    factor = _factor(words)
    return sorted((Judgement(kind, factor * tone) for kind, tone in events), key=lambda one: -abs(one.tone))


def _moved(words: list[str], subjects: list[int], per_cent: re.Match[str] | None) -> list[Judgement]:
    """Pair every direction and verdict with the subject nearest to it."""
    signals = [place for place, word in enumerate(words) if word in MOVES or word in VERDICTS]
    if len(signals) > 1:
        signals = [place for place in signals if words[place] != "record"]
    if not signals:
        return [Judgement(SUBJECTS[word][0], -0.4) for word in words if word in BAD_IN_ITSELF][:1]
    pairs = []
    for place in signals:
        word = words[place]
        ahead = [subject for subject in subjects if subject > place] if word in BECOMING else []
        # Of two as near, the one that follows: "lower costs lift sales".
        nearest = min((abs(subject - place), -subject) for subject in ahead or subjects)
        kind, polarity = SUBJECTS[words[-nearest[1]]]
        strength = MOVES[word] * polarity if word in MOVES else VERDICTS[word] * abs(polarity)
        if per_cent and kind == "profit":
            size = min(1.0, 0.3 + float(per_cent[1].replace(",", "")) / 50)
            strength = size if strength > 0 else -size
        pairs.append(Judgement(kind, strength))
    return pairs


def _factor(words: Iterable[str]) -> float:
    """How a clause's words strengthen, weaken or reverse what it says."""
    held = set(words)
    factor = 1.3 if held & BOOSTERS else 1.0
    factor *= 0.6 if held & DAMPERS else 1.0
    return -0.6 * factor if held & NEGATIONS else factor


def _felt(text: str) -> float:
    return VADER_WEIGHT * float(_vader().polarity_scores(text)["compound"])


@cache
def _vader() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    for word in ORDINARY:
        analyzer.lexicon.pop(word, None)
    return analyzer
