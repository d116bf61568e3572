"""End-of-day prices from Tiingo: bars as traded, splits and dividends, two requests for a new symbol."""

import os
import re
from datetime import date
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

import pandas as pd
import requests
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, RootModel, ValidationError
from pydantic.alias_generators import to_camel

from forecaster.errors import DataError, SourceError, UsageError, first_problem
from forecaster.instruments import SYMBOL_PATTERN, Instrument
from forecaster.sessions import calendar
from forecaster.sources import ACTION_COLUMNS, BAR_COLUMNS, Fetched, Match, Outcome, Searched

FIRST = pd.Timestamp("2010-01-01")

TOKEN_VARIABLE = "TIINGO_API_KEY"
TOKEN_PAGE = "https://www.tiingo.com/account/api/token"

MUTUAL_FUNDS = "NMFQS"

EXCHANGE_OF_TIINGO = {
    "NYSE": "XNYS", "NASDAQ": "XNAS", "NYSE ARCA": "ARCX", "ARCA": "ARCX",
    "AMEX": "XASE", "NYSE MKT": "XASE", "BATS": "BATS", MUTUAL_FUNDS: "XNAS",
    "NYSE NAT": "XNYS", "IEX": "XNYS",
    "OTC": "XNYS", "OTCMKTS": "XNYS", "OTCQX": "XNYS", "OTCQB": "XNYS", "OTCBB": "XNYS",
    "OTCCE": "XNYS", "OTCGREY": "XNYS", "PINK": "XNYS", "EXPM": "XNYS",
}  # fmt: skip
"""Tiingo's exchange code -> ISO 10383 market identifier code (MIC) of a calendar with its sessions."""

TYPE_OF_TIINGO = {"Stock": "EQUITY", "ETF": "ETF", "Mutual Fund": "MUTUALFUND"}
COUNTRY = "US"

_USABLE_TOKEN = re.compile(r"[!-~]+")
_LIMIT = ("run over your", "request allocation")
_GONE = "not found"
_DETAIL_LENGTH = 200


class _Form(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, strict=True)


class _Day(_Form):
    """One element of the price reply; a null price is a faulty row, which is not judged here."""

    session: date = Field(alias="date", strict=False)
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    adj_close: float | None
    volume: float | None
    div_cash: FiniteFloat
    split_factor: FiniteFloat = Field(gt=0)


class _Days(RootModel[list[_Day]]):
    """The price reply."""


class _About(_Form):
    """The meta reply."""

    name: str | None
    exchange_code: str | None


class _Found(_Form):
    """One element of the reply to a search."""

    ticker: str | None
    name: str | None
    asset_type: str | None
    country_code: str | None
    is_active: bool | None


class _AllFound(RootModel[list[_Found]]):
    """The reply to a search."""


_AnyForm = TypeVar("_AnyForm", bound=BaseModel)


class _Refusal(Exception):
    """Tiingo did not send what was asked for."""

    def __init__(self, outcome: Outcome, said: str) -> None:
        super().__init__(said)
        self.outcome = outcome


class TiingoSource:
    """Tiingo's daily prices of shares and funds that trade in the United States.

    Parameters
    ----------
    first : Timestamp
        Where a fetch without `start` begins.
    timeout : float
        Seconds to wait for a reply.
    url : str
        Root of the service.
    token : str or None
        Tiingo's API token; None: the environment variable TIINGO_API_KEY.

    Raises
    ------
    UsageError
        If there is no usable token.
    """

    name = "tiingo"
    remote = True

    def __init__(
        self,
        first: pd.Timestamp = FIRST,
        timeout: float = 10.0,
        url: str = "https://api.tiingo.com",
        token: str | None = None,
    ) -> None:
        self.first = first
        self.timeout = timeout
        self.url = url
        self._token = (token or os.environ.get(TOKEN_VARIABLE, "")).strip()
        if not _USABLE_TOKEN.fullmatch(self._token):
            came = "something else" if self._token else "none"
            raise UsageError(
                f"Tiingo needs an API token, one word of plain letters and digits, and got {came}: copy "
                f"yours from {TOKEN_PAGE} (a free account has one) and set {TOKEN_VARIABLE} to it"
            )
        self._session = requests.Session()
        self._session.auth = self._sign

    def symbols(self) -> tuple[str, ...]:
        """Return nothing: Tiingo is asked by name, not listed."""
        return ()

    def fetch(self, symbol: str, start: pd.Timestamp | None = None) -> Fetched:
        """Fetch the daily bars of one symbol with its dividends and splits.

        Parameters
        ----------
        symbol : str
            As Tiingo spells it, such as BRK-B.
        start : Timestamp or None
            First session wanted; None: `first`.

        Returns
        -------
        Fetched
            Faulty rows included. The instrument comes only without `start`: it costs a second
            request.

        Raises
        ------
        SourceError
            If Tiingo refuses the token, whatever the symbol.
        """
        try:
            bars, actions = self._history(symbol, self.first if start is None else start)
            instrument = self._instrument(symbol) if start is None else None
        except _Refusal as refusal:
            return self._failed(symbol, refusal.outcome, str(refusal))
        except requests.RequestException as error:
            return self._failed(symbol, Outcome.TRANSIENT, f"Tiingo did not answer: {type(error).__name__}")
        except (DataError, ValueError) as error:
            return self._failed(symbol, Outcome.INVALID, str(error))
        return Fetched(symbol, Outcome.OK, bars, actions, instrument)

    def search(self, words: str) -> Searched:
        """Find shares and funds that trade in the United States today.

        Raises
        ------
        SourceError
            If Tiingo refuses the token.
        """
        try:
            found = _checked(_AllFound, self._ask("/tiingo/utilities/search", query=words)).root
        except _Refusal as refusal:
            return Searched(refusal.outcome, detail=self._line(str(refusal)))
        except requests.RequestException as error:
            detail = f"Tiingo did not answer: {type(error).__name__}"
            return Searched(Outcome.TRANSIENT, detail=detail)
        except DataError as error:
            return Searched(Outcome.INVALID, detail=self._line(str(error)))
        return Searched(Outcome.OK, tuple(one for one in map(_match, found) if one is not None))

    def _history(self, symbol: str, start: pd.Timestamp) -> tuple[pd.DataFrame, pd.DataFrame]:
        reply = self._ask(f"{_path(symbol)}/prices", startDate=str(start.date()))
        days = _checked(_Days, reply).root
        rows = pd.DataFrame([day.model_dump() for day in days], columns=list(_Day.model_fields))
        rows["session"] = pd.to_datetime(rows["session"]).dt.as_unit("ns")
        rows = rows[rows["session"] >= start]
        if rows.empty:
            raise DataError(f"{symbol}: no row from {start.date()} on")
        bars = rows[list(BAR_COLUMNS)].astype(dict.fromkeys(BAR_COLUMNS[1:], "float64"))
        return bars.reset_index(drop=True), _actions(rows)

    def _instrument(self, symbol: str) -> Instrument:
        about = _checked(_About, self._ask(_path(symbol)))
        code = about.exchange_code
        if code not in EXCHANGE_OF_TIINGO:
            raise DataError(
                f"{symbol}: Tiingo's exchange {code!r} has no calendar here; import its prices from a "
                f"file with --exchange, naming one of its market's identifier codes"
            )
        exchange = EXCHANGE_OF_TIINGO[code]
        return Instrument(
            symbol=symbol,
            name=about.name or symbol,
            exchange=exchange,
            timezone=str(calendar(exchange).tz),
            currency="USD",
            type="MUTUALFUND" if code == MUTUAL_FUNDS else "EQUITY",
        )

    def _ask(self, path: str, **query: str) -> Any:
        """Return the parsed JSON of a reply that carries data."""
        reply = self._session.get(self.url + path, params=query, timeout=self.timeout)
        try:
            answer = reply.json()
        except requests.JSONDecodeError:
            # A sentence of Tiingo's own, unless it is a web page or JSON that broke off.
            answer = "" if reply.text.lstrip().startswith(("<", "[", "{")) else reply.text
        said = answer.get("detail") if isinstance(answer, dict) else answer
        if reply.status_code == HTTPStatus.OK and not isinstance(said, str):
            return answer
        raise self._refusal(reply, said if isinstance(said, str) else "")

    def _refusal(self, reply: requests.Response, said: str) -> _Refusal | SourceError:
        status, words = reply.status_code, said.casefold()
        message = f"Tiingo answers {status} {reply.reason}: {said or 'nothing that can be read'}"
        if status == HTTPStatus.TOO_MANY_REQUESTS or any(part in words for part in _LIMIT):
            return _Refusal(Outcome.RATE_LIMITED, message)
        # 403 can also mean that a plan leaves out one symbol.
        if status == HTTPStatus.UNAUTHORIZED or (status == HTTPStatus.FORBIDDEN and "token" in words):
            return SourceError(
                f"{self._line(message)}; compare {TOKEN_VARIABLE} with your token at {TOKEN_PAGE}"
            )
        # A page that is missing does not make a symbol gone, only Tiingo's word does.
        if status in (HTTPStatus.OK, HTTPStatus.NOT_FOUND) and _GONE in words:
            return _Refusal(Outcome.GONE, message)
        explained = said and status // 100 == 4
        return _Refusal(Outcome.INVALID if explained else Outcome.TRANSIENT, message)

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token; set as a header of the session, it would give way to a netrc file."""
        request.headers["Authorization"] = f"Token {self._token}"
        return request

    def _failed(self, symbol: str, outcome: Outcome, detail: str) -> Fetched:
        return Fetched(symbol, outcome, detail=self._line(detail))

    def _line(self, text: str) -> str:
        return " ".join(text.replace(self._token, "<token>").split())[:_DETAIL_LENGTH]


def _match(found: _Found) -> Match | None:
    symbol, kind = (found.ticker or "").upper(), TYPE_OF_TIINGO.get(found.asset_type or "")
    if kind is None or not found.is_active or found.country_code != COUNTRY:
        return None
    return Match(symbol, found.name or symbol, COUNTRY, kind) if SYMBOL_PATTERN.match(symbol) else None


def _path(symbol: str) -> str:
    return f"/tiingo/daily/{quote(symbol, safe='')}"


def _checked(form: type[_AnyForm], reply: Any) -> _AnyForm:
    try:
        return form.model_validate(reply)
    except ValidationError as error:
        raise DataError(f"Tiingo's reply has an unexpected form: {first_problem(error)}") from error


def _actions(rows: pd.DataFrame) -> pd.DataFrame:
    values = pd.DataFrame(
        {
            "session": rows["session"],
            "dividend": rows["div_cash"].where(rows["div_cash"] != 0),
            "split": rows["split_factor"].where(rows["split_factor"] != 1),
        }
    )
    actions = values.melt("session", var_name="kind", value_name="value").dropna()
    return actions.sort_values(["session", "kind"], ignore_index=True)[list(ACTION_COLUMNS)]
