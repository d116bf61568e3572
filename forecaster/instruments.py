"""What a symbol is: its exchange, time zone, currency and type."""

import re
from dataclasses import dataclass, fields

import pandas as pd

from forecaster.errors import DataError, UsageError

SYMBOL_PATTERN = re.compile(r"^[A-Z0-9^][A-Z0-9.\-=^]{0,19}$")

SUPPORTED_TYPES = ("EQUITY", "ETF", "INDEX", "MUTUALFUND")

EXCHANGE_OF_YAHOO = {
    "NMS": "XNAS", "NGM": "XNAS", "NCM": "XNAS", "NIM": "XNAS",
    "NYQ": "XNYS", "ASE": "XASE", "PCX": "ARCX", "BTS": "BATS", "PNK": "XNYS",
    "SNP": "XNYS", "DJI": "XNYS", "NYS": "XNYS", "CGI": "XNYS", "WCB": "XCBF", "CXI": "XNYS",
    "LSE": "XLON", "GER": "XETR", "FRA": "XFRA", "PAR": "XPAR", "AMS": "XAMS", "BRU": "XBRU",
    "MIL": "XMIL", "MCE": "XMAD", "EBS": "XSWX", "VIE": "XWBO", "STO": "XSTO", "CPH": "XCSE",
    "HEL": "XHEL", "OSL": "XOSL", "LIS": "XLIS", "ISE": "XDUB",
    "TOR": "XTSE", "SAO": "BVMF", "MEX": "XMEX",
    "JPX": "XTKS", "HKG": "XHKG", "SHH": "XSHG", "SHZ": "XSHG", "KSC": "XKRX", "KOE": "XKRX",
    "NSI": "XBOM", "BSE": "XBOM", "SES": "XSES", "ASX": "XASX", "NZE": "XNZE", "TAI": "XTAI",
}  # fmt: skip
"""Yahoo's exchange code -> ISO 10383 market identifier code (MIC)."""


@dataclass(frozen=True)
class Instrument:
    """A symbol and the market whose sessions rule it.

    Attributes
    ----------
    symbol, name : str
    exchange : str
        Market identifier code (ISO 10383), such as XNYS.
    timezone : str
        IANA name of the exchange's time zone.
    currency : str
        ISO 4217 code, or the source's own (GBp for pence).
    type : str
        One of `SUPPORTED_TYPES`.
    """

    symbol: str
    name: str
    exchange: str
    timezone: str
    currency: str
    type: str = "EQUITY"


def described(rows: pd.DataFrame) -> dict[str, Instrument]:
    """Turn current rows of the instruments table into instruments, by symbol."""
    columns = [field.name for field in fields(Instrument)]
    return {row[0]: Instrument(*row) for row in rows[columns].to_numpy()}


def normalise(symbol: str) -> str:
    """Return `symbol` in capitals without surrounding space.

    Raises
    ------
    UsageError
        If it cannot be a ticker.
    """
    tidy = symbol.strip().upper()
    if not SYMBOL_PATTERN.match(tidy):
        raise UsageError(f"{symbol!r} is no ticker: expected something like AAPL, BRK-B or ^GSPC")
    return tidy


def exchange_of_yahoo(symbol: str, code: str) -> str:
    """Translate Yahoo's exchange code.

    Raises
    ------
    DataError
        If no exchange calendar is known for it.
    """
    if code not in EXCHANGE_OF_YAHOO:
        raise DataError(
            f"{symbol}: exchange {code!r} has no calendar here; import its prices from a file "
            f"with --exchange, naming one of its market's identifier codes"
        )
    return EXCHANGE_OF_YAHOO[code]


def require_supported(symbol: str, kind: str) -> None:
    """Refuse what has no exchange-traded daily price of its own (options, expired futures).

    Raises
    ------
    DataError
        Naming the type and the supported ones.
    """
    if kind not in SUPPORTED_TYPES:
        raise DataError(
            f"{symbol}: type {kind!r} is not supported; expected one of {', '.join(SUPPORTED_TYPES)}"
        )
