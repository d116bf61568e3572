"""From a source into the store: what is final, sound and new is appended; the rest is accounted for."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from forecaster.instruments import Instrument
from forecaster.progress import Progress, silent
from forecaster.sessions import closes, last_complete, positions
from forecaster.sources import Fetched, Outcome, Source
from forecaster.store import Store
from forecaster.tables import problems, table

PRICES = ["open", "high", "low", "close", "adj_close"]
DESCRIPTION = ["name", "exchange", "timezone", "currency", "type"]

SAME_WITHIN = 2e-4
"""Relative difference below which two fetches of a price are the same: sources jitter by 1e-5."""

BATCH = 50
"""Symbols fetched between two commits."""

MARKET_FACTORS = {"market_index": "^GSPC", "volatility_index": "^VIX"}
"""Market-wide factor -> the symbol whose closes it is."""


@dataclass(frozen=True)
class _Sifted:
    """What one fetch brought, ready to be stored but for the columns source and fetched_at."""

    symbol: str
    outcome: Outcome
    detail: str
    instruments: pd.DataFrame
    actions: pd.DataFrame
    sound: pd.DataFrame
    refused: pd.DataFrame


def update(
    store: Store,
    source: Source,
    symbols: Sequence[str],
    moment: pd.Timestamp,
    delay_minutes: int = 30,
    progress: Progress = silent,
    batch: int = BATCH,
) -> pd.DataFrame:
    """Fetch symbols and append what is new; one bad symbol never stops the others.

    Parameters
    ----------
    moment : Timestamp
        Now, in UTC. Bars of a session that closed less than `delay_minutes` ago are left out.
    batch : int
        Symbols that are written together, in one commit per table.

    Returns
    -------
    DataFrame
        Per symbol: symbol, source, outcome, rows (appended), detail. After a rate limit no
        further request is sent, and the symbols left carry that outcome.
    """
    reports: list[pd.DataFrame] = []
    limited = ""
    with progress(f"Prices from {source.name}", len(symbols)) as advance:
        for start in range(0, len(symbols), batch):
            sifted = []
            some = symbols[start : start + batch]
            elsewhere = _stored_elsewhere(store, source.name, some)
            for symbol in some:
                if symbol in elsewhere:
                    detail = f"stored from {elsewhere[symbol]}; use another --home for {source.name}"
                    fetched = Fetched(symbol, Outcome.INVALID, detail=detail)
                elif limited:
                    fetched = Fetched(symbol, Outcome.RATE_LIMITED, detail=limited)
                else:
                    fetched = source.fetch(symbol)
                if fetched.outcome is Outcome.RATE_LIMITED:
                    limited = fetched.detail
                sifted.append(_sift(fetched, moment, delay_minutes))
                advance(f"{symbol} {fetched.outcome}")
            reports.append(_write(store, source.name, sifted, moment))
    return pd.concat(reports, ignore_index=True)


def update_factors(
    store: Store, source: Source, moment: pd.Timestamp, delay_minutes: int = 30
) -> pd.DataFrame:
    """Fetch the market-wide factors; each value is known at its own market's close.

    Returns
    -------
    DataFrame
        As `update`, one row per factor; after a rate limit there is none.
    """
    report = []
    for name, symbol in MARKET_FACTORS.items():
        sifted = _sift(source.fetch(symbol), moment, delay_minutes)
        rows = 0
        if sifted.outcome is Outcome.OK:
            known = closes(sifted.instruments["exchange"].iloc[0], sifted.sound["session"].to_numpy())
            values = pd.DataFrame(
                {
                    "name": name,
                    "symbol": "",
                    "session": sifted.sound["session"],
                    "value": sifted.sound["close"],
                    "known_at": pd.DatetimeIndex(known).tz_localize("UTC"),
                    "source": source.name,
                    "fetched_at": moment,
                }
            )
            rows = store.append("factors", _changed(store, "factors", {"name": [name]}, values, ["value"]))
        report.append(_account(store, source.name, [sifted], pd.Series({symbol: rows}), moment))
        if sifted.outcome is Outcome.RATE_LIMITED:
            break
    return pd.concat(report, ignore_index=True)


def _stored_elsewhere(store: Store, source: str, symbols: Sequence[str]) -> dict[str, str]:
    """Name the source of each symbol that another one has filled: adjustments differ, so none is mixed."""
    held = store.rows("prices", where={"symbol": symbols})[["symbol", "source"]]
    others = held[held["source"] != source].drop_duplicates("symbol")
    return dict(zip(others["symbol"], others["source"], strict=True))


def _sift(fetched: Fetched, moment: pd.Timestamp, delay_minutes: int) -> _Sifted:
    instrument, detail, outcome = fetched.instrument, fetched.detail, fetched.outcome
    if instrument is None:
        nothing = pd.DataFrame()
        return _Sifted(fetched.symbol, outcome, detail, nothing, nothing, nothing, nothing)
    last = last_complete(instrument.exchange, moment, delay_minutes)
    bars = fetched.bars[fetched.bars["session"] <= last].reset_index(drop=True)
    bars = bars.assign(symbol=fetched.symbol, currency=instrument.currency)
    if early := len(fetched.bars) - len(bars):
        said = f"{early} bar{'s' if early > 1 else ''} of sessions not yet final left out"
        detail = "; ".join(filter(None, [detail, said]))
    faults = _faults(bars, instrument)
    sound, refused = bars.drop(index=faults.index), bars.loc[faults.index].assign(reason=faults)
    if sound.empty:
        outcome, detail = Outcome.INVALID, "no sound bar of a finished session among the rows delivered"
    if len(refused):
        first = refused.iloc[0]
        said = f"{len(refused)} rows in quarantine, first {first['session'].date()}: {first['reason']}"
        detail = "; ".join(filter(None, [detail, said]))
    described = pd.DataFrame([asdict(instrument) | {"symbol": fetched.symbol}])
    actions = fetched.actions.assign(symbol=fetched.symbol)
    return _Sifted(fetched.symbol, outcome, detail, described, actions, sound, refused)


def _faults(bars: pd.DataFrame, instrument: Instrument) -> pd.Series:
    no_session = positions(instrument.exchange, bars["session"].to_numpy()) < 0
    calendar_faults = pd.Series(f"no session of {instrument.exchange}", index=bars.index[no_session])
    repeated = pd.Series("session stands twice", index=bars.index[bars["session"].duplicated()])
    faults = pd.concat([problems(bars[[*PRICES, "volume"]].astype(float)), calendar_faults, repeated])
    return faults[~faults.index.duplicated()].sort_index()


def _write(store: Store, source: str, sifted: list[_Sifted], moment: pd.Timestamp) -> pd.DataFrame:
    arrived = [one for one in sifted if one.outcome is Outcome.OK]
    where = {"symbol": [one.symbol for one in sifted]}
    appended = pd.Series(dtype=int)
    if arrived:
        instruments = pd.concat([one.instruments for one in arrived], ignore_index=True)
        actions = pd.concat([one.actions for one in arrived], ignore_index=True)
        bars = pd.concat([one.sound for one in arrived], ignore_index=True)
        fresh = _changed(store, "prices", where, bars, [*PRICES, "volume"])
        described = _changed(store, "instruments", where, instruments, DESCRIPTION)
        store.append("instruments", described.assign(fetched_at=moment))
        store.append(
            "actions", _changed(store, "actions", where, actions, ["value"]).assign(fetched_at=moment)
        )
        # Prices come last: whoever sees them finds the instrument that explains them.
        store.append("prices", fresh.assign(source=source, fetched_at=moment))
        appended = fresh["symbol"].value_counts()
    return _account(store, source, sifted, appended, moment)


def _account(
    store: Store, source: str, sifted: list[_Sifted], appended: pd.Series, moment: pd.Timestamp
) -> pd.DataFrame:
    """Write down the refused rows and how each fetch ended."""
    refused = [one.refused for one in sifted if len(one.refused)]
    where = {"symbol": [one.symbol for one in sifted]}
    if refused:
        rows = _changed(store, "quarantine", where, pd.concat(refused, ignore_index=True), ["reason"])
        store.append("quarantine", rows.assign(source=source, fetched_at=moment))
    report = pd.DataFrame(
        {
            "symbol": [one.symbol for one in sifted],
            "source": source,
            "outcome": [str(one.outcome) for one in sifted],
            "rows": [int(appended.get(one.symbol, 0)) for one in sifted],
            "detail": [one.detail for one in sifted],
        }
    )
    store.append("updates", report.assign(recorded_at=moment))
    return report


def _changed(
    store: Store, name: str, where: dict[str, list[str]], fresh: pd.DataFrame, values: list[str]
) -> pd.DataFrame:
    """Keep the rows whose key is new to the store or whose values differ from what holds."""
    held = store.current(name, where=where)
    if held.empty or fresh.empty:
        return fresh
    key = list(table(name).key)
    old = fresh[key].merge(held[[*key, *values]], on=key, how="left")
    same = np.ones(len(fresh), dtype=bool)
    for column in values:
        before, after = old[column].to_numpy(), fresh[column].to_numpy()
        if column in DESCRIPTION or column == "reason":
            same &= before == after
        else:
            same &= np.isclose(after.astype(float), before.astype(float), rtol=SAME_WITHIN, atol=0.0)
    return fresh[~same]
