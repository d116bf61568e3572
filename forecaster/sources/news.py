"""Headlines of a company from Yahoo: the latest ones, known from the moment at which they were seen.

yfinance carries the request (cookie, crumb, consent); the reply is read here, because yfinance's own
reader takes a server's error for a company without news, and waits 30 s whatever it is told.
"""

import html
import json
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from forecaster.errors import DataError, SourceError
from forecaster.events import COLUMNS, checked
from forecaster.instruments import Instrument
from forecaster.sources import Outcome, Told
from forecaster.sources.tone import _set, judge
from forecaster.sources.yahoo import _DETAIL_LENGTH, _TURN, _client
from forecaster.sources.yahoo_events import _attempt

URL = "https://finance.yahoo.com/xhr/ncp?queryRef=latestNews&serviceKey=ncp_fin"

COUNT = 50
"""Headlines asked for at a time, those about others included."""

OLDEST = pd.Timedelta(days=30)
"""Age at which a headline is left out: seen now, it would be taken for something new."""

TITLE_LENGTH = 300

LEADING = frozenset({"the", "walt", "charles", "eli"})
"""Words at the start of a name that headlines leave out."""

COMMON = _set(
    "advanced american applied banco bank best big british canadian capital central china consolidated",
    "deutsche digital eastern energy federal financial first general global great group health holdings",
    "home international japan national new northern of public royal southern standard state taiwan",
    "texas u.s union united us western",
)
"""Words that say too little to name a company by; a name that begins so needs its next word too."""

_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_ADDRESS = re.compile(r"https?://[\w\-.~:/?#\[\]@!$&'()*+,;=%]{3,2000}", re.ASCII | re.IGNORECASE)
_INITIALS = re.compile(r"(?:\w\.)+\w?")


class YahooNews:
    """The latest headlines that Yahoo shows for a company, each with a kind and a tone (see `tone.judge`).

    Yahoo keeps no past: a headline is known from the moment of this asking, not from its publication,
    so a history of news begins with the first update. One that was told before is told again, with the
    later moment; whoever stores it keeps the first of a symbol, source and URL.

    Yahoo mixes news of the market and of other companies into every company's stream. A headline counts
    where it, or the first sentence of its summary, names the company: by the first distinctive word of
    its name ("Apple", "Bank of America"), by its ticker in brackets or after a dollar sign, or by a
    ticker of three letters or more. A company that goes by another name than its own (Alphabet) loses
    some. Whether it is the subject of the headline or only named there is not told apart.

    Parameters
    ----------
    timeout : float
        Seconds to wait for a reply.
    session : curl_cffi.requests.Session or None
        What sends the requests; None leaves it to yfinance.
    """

    name = "news"
    remote = True
    host = "yahoo"
    requests = 1

    def __init__(self, timeout: float = 10.0, session: Any | None = None) -> None:
        self.timeout = timeout
        self.session = session

    def tell(self, instrument: Instrument, asked_at: pd.Timestamp, since: pd.Timestamp | None = None) -> Told:
        """Fetch the latest headlines about a company.

        Parameters
        ----------
        instrument : Instrument
            Nothing is asked about funds and indices: what names them is news of the market.
        asked_at : Timestamp
            UTC; becomes ``known_at``. A headline dated later is left out, and comes with a later asking.
        since : Timestamp, optional
            Makes no difference: Yahoo may show an older headline late.

        Returns
        -------
        Told
            ``happened_at`` is the publication. Invalid if the reply has another form, or if none of its
            entries has a title, a date and a web address; if only some do, ``detail`` says how many not.
        """
        symbol = instrument.symbol
        if instrument.type != "EQUITY":
            return Told(symbol, Outcome.OK)
        nothing: list[Any] = []
        with _TURN:
            stream, outcome, detail = _attempt(lambda: self._read(symbol), nothing)
        entries = [entry for entry in stream if not (isinstance(entry, dict) and entry.get("ad"))]
        read = [headline for entry in entries if (headline := _headline(entry))]
        past = [headline for headline in read if headline.published_at <= asked_at]
        unread, ahead = len(entries) - len(read), len(read) - len(past)
        if entries and not read:
            outcome, detail = Outcome.INVALID, "no headline has a title, a date and an address"
        elif outcome is Outcome.OK:
            said = (
                f"headlines without title, date or address: {unread}" if unread else "",
                f"headlines dated after this asking: {ahead}" if ahead else "",
            )
            detail = "; ".join(filter(None, said))
        names = _Names.of(instrument)
        kept: dict[str, _Headline] = {}
        for headline in past:
            if asked_at - headline.published_at <= OLDEST and names.appear_in(headline):
                kept.setdefault(headline.url, headline)
        rows = [_row(symbol, headline, asked_at) for headline in kept.values()]
        table = pd.DataFrame(rows, columns=list(COLUMNS))
        table = table.sort_values("happened_at", kind="stable", ignore_index=True)
        line = " ".join(detail.split())[:_DETAIL_LENGTH]
        return Told(symbol, outcome, checked(table, f"{symbol} in Yahoo's news"), line)

    def _read(self, symbol: str) -> list[Any]:
        client = _client().data.YfData(session=self.session)
        asked = {"serviceConfig": {"snippetCount": COUNT, "s": [symbol]}}
        reply = client.post(URL, body=asked, timeout=self.timeout)
        if reply.status_code != 200:
            raise SourceError(f"status {reply.status_code}")
        # Stricter readers refuse the whole reply for half a character in one title.
        stream = json.loads(reply.content)["data"]["tickerStream"]["stream"]
        if not isinstance(stream, list):
            raise DataError(f"expected a list of headlines, came {type(stream).__name__}")
        return stream


@dataclass(frozen=True)
class _Headline:
    """One entry of the stream: plain text, and the time of publication in UTC."""

    title: str
    summary: str
    url: str
    published_at: pd.Timestamp


@dataclass(frozen=True)
class _Names:
    """How headlines name a company: in any text, and in one that is not all capitals."""

    anywhere: re.Pattern[str]
    ticker: re.Pattern[str] | None

    @classmethod
    def of(cls, instrument: Instrument) -> "_Names":
        # What follows a full stop is Yahoo's sign of the exchange.
        ticker = re.escape(instrument.symbol.split(".")[0]).replace(r"\-", "[-.]")
        name = _distinctive(instrument.name)
        forms = {name, name.upper(), name.title() if name.isupper() else name[:1].upper() + name[1:]}
        patterns = [rf"(?<!\w){re.escape(form)}(?!\w)" for form in sorted(forms) if form]
        patterns += [rf"\((?:[A-Za-z]+: ?)?(?:[A-Z.\-]{{1,6}}[,/] ?)*{ticker}[),/.]", rf"\${ticker}(?!\w)"]
        is_plain = instrument.symbol.isalpha() and len(instrument.symbol) >= 3
        bare = re.compile(rf"(?<!\w){ticker}(?!\w)") if is_plain else None
        return cls(re.compile("|".join(patterns)), bare)

    def appear_in(self, headline: _Headline) -> bool:
        first_sentence = re.split(r"(?<=[.!?]) ", headline.summary, maxsplit=1)[0]
        return any(
            self.anywhere.search(text) or (self.ticker and not text.isupper() and self.ticker.search(text))
            for text in (headline.title, first_sentence)
        )


def _distinctive(name: str) -> str:
    """Shorten a company's name to its beginning, up to the first word that is not a common one."""
    words = [word.rstrip(",").removesuffix(".com") for word in _plain(name).split()]
    while len(words) > 1 and words[0].casefold() in LEADING:
        words = words[1:]
    for place, word in enumerate(words):
        if word.casefold() not in COMMON and not _INITIALS.fullmatch(word):
            return " ".join(words[: place + 1])
    return " ".join(words)


def _headline(entry: Any) -> _Headline | None:
    """Read an entry in its form of today, nested in "content", or in the flat one before."""
    content = entry.get("content", entry) if isinstance(entry, dict) else None
    if not isinstance(content, dict):
        return None
    title, url = _plain(content.get("title"))[:TITLE_LENGTH].rstrip(), _address(content)
    published_at = _moment(content.get("pubDate", content.get("providerPublishTime")))
    if not title or not url or published_at is None:
        return None
    return _Headline(title, _plain(content.get("summary")), url, published_at)


def _row(symbol: str, headline: _Headline, asked_at: pd.Timestamp) -> dict[str, Any]:
    kind, tone = judge(headline.title)
    return {
        "symbol": symbol,
        "kind": kind,
        "happened_at": headline.published_at,
        "known_at": asked_at,
        "tone": tone,
        "magnitude": np.nan,
        "title": headline.title,
        "url": headline.url,
        "source": YahooNews.name,
    }


def _plain(told: Any) -> str:
    """Text on one line without markup and characters that do not print; empty if it is no text."""
    if not isinstance(told, str):
        return ""
    text = _TAG.sub(" ", html.unescape(told)).replace("’", "'")
    shown = (one for one in text if one.isspace() or not unicodedata.category(one).startswith("C"))
    return " ".join("".join(shown).split())


def _address(content: dict[str, Any]) -> str:
    """Web address of an entry; empty if it has none."""
    for field in ("canonicalUrl", "clickThroughUrl", "link"):
        told = content.get(field)
        url = told.get("url") if isinstance(told, dict) else told
        if isinstance(url, str) and _ADDRESS.fullmatch(url):
            return url
    return ""


def _moment(told: Any) -> pd.Timestamp | None:
    """Time of publication: ISO 8601 with a zone, or seconds since 1970; None if it is neither."""
    try:
        if isinstance(told, str):
            moment = pd.Timestamp(datetime.fromisoformat(told))
        else:
            moment = pd.Timestamp(float(told), unit="s", tz="UTC")
        return None if moment.tz is None else moment.tz_convert("UTC").as_unit("ns")
    except (TypeError, ValueError, OverflowError):
        return None
