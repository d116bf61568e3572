"""Company events from form 8-K as filed with the SEC, asked for through edgartools."""

import atexit
import os
import re
import shutil
import tempfile
from datetime import date
from functools import cache
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError
from pydantic.alias_generators import to_camel

from forecaster.errors import first_problem
from forecaster.events import checked
from forecaster.instruments import Instrument
from forecaster.sessions import calendar
from forecaster.sources import Outcome, Told
from forecaster.sources.event_files import EASTERN, END_OF_DAY, ITEMS, in_utc

FIRST = pd.Timestamp("2004-08-23", tz="UTC")
"""The items of form 8-K have had today's numbers since then (SEC release 33-8400)."""

UNITED_STATES = "XNYS"
"""Calendar of every exchange in the United States."""

ARCHIVE = "https://www.sec.gov/Archives/edgar/data"

# An older page may hold what counts as known up to a day after its last date of filing.
_MARGIN = pd.Timedelta(days=2)

_NO_CONTACT = "set FORECASTER_CONTACT to your e-mail address: the SEC asks for one"
_CONTACT = re.compile(r"[!-~]+@[!-~]+")
_DETAIL_LENGTH = 200


class _Form(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, strict=True)


class _Listed(BaseModel):
    """One element of the list of tickers."""

    cik_str: int
    ticker: str


class _Tickers(RootModel[Annotated[dict[str, _Listed], Field(min_length=1)]]):
    """The list of tickers."""


class _Page(_Form):
    """Filings of one company, of all forms; element i of every column is of filing i."""

    accession_number: list[str]
    filing_date: list[date]
    acceptance_date_time: list[str | None]
    form: list[str]
    items: list[str | None]


class _Older(_Form):
    """Where an older page is, and the last date of filing on it."""

    name: str = Field(pattern=r"^CIK[0-9]{10}-submissions-[0-9]+\.json$")
    filing_to: date


class _Filings(_Form):
    recent: _Page
    files: list[_Older]


class _Submissions(_Form):
    """What the SEC tells about one company: its latest filings, a year's or more, and the older pages."""

    filings: _Filings


_AnyForm = TypeVar("_AnyForm", bound=BaseModel)


class _Refusal(Exception):
    """The SEC did not send what was asked for, or has nothing of the kind."""

    def __init__(self, outcome: Outcome, said: str) -> None:
        super().__init__(said)
        self.outcome = outcome


class Filings:
    """Form 8-K of companies whose shares trade in the United States.

    Amendments (8-K/A) are left out: they tell no new fact. The SEC sends the time of acceptance
    with a Z, but for about a fifth of the filers it is New York time, and for some it is UTC moved
    once more. Read as New York time it is never earlier than the truth; where it was UTC, it is four
    or five hours late, which moves 8-Ks accepted from about noon to 16:00 to the next session.

    Parameters
    ----------
    contact : str
        E-mail address that the SEC asks for with each request; without one nothing is asked.
    timeout : float
        Seconds to wait for a reply.
    url, data_url : str
        Roots of the SEC's two services.

    References
    ----------
    https://www.sec.gov/search-filings/edgar-application-programming-interfaces; the times:
    dgunning/edgartools issue 557, theOGognf/finagg issue 64.
    """

    name = "filings"
    remote = True
    host = "sec"
    requests = 1

    def __init__(
        self,
        contact: str,
        timeout: float = 10.0,
        url: str = "https://www.sec.gov",
        data_url: str = "https://data.sec.gov",
    ) -> None:
        self.contact = contact.strip()
        self.timeout = timeout
        self.url = url
        self.data_url = data_url
        self._listed: dict[str, int] = {}

    def tell(self, instrument: Instrument, asked_at: pd.Timestamp, since: pd.Timestamp | None = None) -> Told:
        """Read the 8-Ks of one company, one event for each kind among a filing's items.

        Parameters
        ----------
        instrument : Instrument
        asked_at : Timestamp
            Not needed: a filing carries its own time.
        since : Timestamp, optional
            UTC; pages that end before are not asked for. None: `FIRST`.

        Returns
        -------
        Told
            ``happened_at`` and ``known_at`` are the time of acceptance, read as New York time, or
            the end of the day of filing where there is none. Tone and magnitude are unknown. The
            outcome is gone for what files no 8-K (funds, indices, companies from elsewhere): of
            these nothing is known, rather than that nothing happened. The list of tickers is asked
            for once.
        """
        symbol = instrument.symbol
        if instrument.type != "EQUITY" or calendar(instrument.exchange).name != UNITED_STATES:
            detail = "no filer at the SEC: only shares that trade in the United States are looked up there"
            return Told(symbol, Outcome.GONE, detail=detail)
        if not _CONTACT.fullmatch(self.contact):
            return Told(symbol, Outcome.INVALID, detail=_NO_CONTACT)
        edgar = _edgar(self.contact)
        try:
            return self._read(symbol, FIRST if since is None else max(since, FIRST))
        except _Refusal as refusal:
            return Told(symbol, refusal.outcome, detail=str(refusal))
        except edgar.httprequests.TRANSPORT_ERRORS as error:
            return Told(symbol, Outcome.TRANSIENT, detail=f"The SEC did not answer: {type(error).__name__}")
        except ValueError as error:
            detail = " ".join(f"The SEC's reply has an unexpected form: {error}".split())
            return Told(symbol, Outcome.INVALID, detail=detail[:_DETAIL_LENGTH])

    def _read(self, symbol: str, since: pd.Timestamp) -> Told:
        cik = self._cik(symbol)
        about = self._ask(f"{self.data_url}/submissions/CIK{cik:010d}.json", _Submissions).filings
        if not any(map(_is_news, about.recent.form)):
            raise _Refusal(Outcome.GONE, f"{symbol} files no form 8-K with the SEC")
        older = [
            self._ask(f"{self.data_url}/submissions/{page.name}", _Page)
            for page in about.files
            if pd.Timestamp(page.filing_to, tz="UTC") + _MARGIN >= since
        ]
        filings = pd.concat([_table(page) for page in (about.recent, *older)], ignore_index=True)
        filings = filings[filings["form"].map(_is_news)]
        filings = filings.assign(known_at=_known_at(filings["accepted"], filings["filed"]))
        rows = _rows(symbol, cik, filings[filings["known_at"] >= since].sort_values("known_at"))
        return Told(symbol, Outcome.OK, checked(pd.DataFrame(rows), f"8-Ks of {symbol}"))

    def _cik(self, symbol: str) -> int:
        """Find the SEC's number of a company (central index key)."""
        if not self._listed:
            listed = self._ask(f"{self.url}/files/company_tickers.json", _Tickers).root.values()
            self._listed = {one.ticker: one.cik_str for one in listed}
        ticker = symbol.replace(".", "-")
        if ticker not in self._listed:
            raise _Refusal(Outcome.GONE, f"no filer at the SEC under the ticker {ticker}")
        return self._listed[ticker]

    def _ask(self, url: str, form: type[_AnyForm]) -> _AnyForm:
        # Its cache would answer the next attempt with the same faulty reply.
        with _edgar(self.contact).httpclient.http_client(bypass_cache=True) as client:
            reply = client.get(url, timeout=self.timeout)
        status = reply.status_code
        if status == HTTPStatus.OK:
            return _checked(form, reply.content)
        said = f"The SEC answers {status} {reply.reason_phrase}"
        if status in (HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS):
            raise _Refusal(Outcome.RATE_LIMITED, f"{said}: it asks to be left alone for a while")
        is_down = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        raise _Refusal(Outcome.TRANSIENT if is_down else Outcome.INVALID, said)


@cache
def _edgar(contact: str) -> Any:
    """Import edgartools (0.8 s), give its files a folder that ends with this process, sign its requests."""
    folder = tempfile.mkdtemp(prefix="forecaster-filings-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["EDGAR_LOCAL_DATA_DIR"] = folder
    import edgar

    edgar.set_identity(f"forecaster {contact}")
    return edgar


def _checked(form: type[_AnyForm], content: bytes) -> _AnyForm:
    try:
        return form.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error


def _is_news(form: str) -> bool:
    return form.startswith("8-K") and not form.endswith("/A")


def _table(page: _Page) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "accession": page.accession_number,
            "filed": pd.to_datetime(pd.Series(page.filing_date)),
            "accepted": page.acceptance_date_time,
            "form": page.form,
            "items": [items or "" for items in page.items],
        }
    )


def _known_at(accepted: pd.Series, filed: pd.Series) -> pd.Series:
    """Read clock times as New York's; without one, the day's end."""
    clock = pd.to_datetime(accepted, format="ISO8601", errors="coerce", utc=True).dt.tz_convert(None)
    return in_utc(clock.fillna(filed + END_OF_DAY), EASTERN)


def _rows(symbol: str, cik: int, filings: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for filing in filings.to_dict("records"):
        told = {item.strip() for item in filing["items"].split(",")}
        by_kind: dict[str, list[str]] = {}
        for item, (kind, about) in ITEMS.items():
            if item in told:
                by_kind.setdefault(kind, []).append(f"item {item}: {about}")
        accession = filing["accession"]
        rows += [
            {
                "symbol": symbol,
                "kind": kind,
                "happened_at": filing["known_at"],
                "known_at": filing["known_at"],
                "tone": np.nan,
                "magnitude": np.nan,
                "title": f"8-K {'; '.join(items)}",
                "url": f"{ARCHIVE}/{cik}/{accession.replace('-', '')}/{accession}-index.html",
                "source": Filings.name,
            }
            for kind, items in by_kind.items()
        ]
    return rows
