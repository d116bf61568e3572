"""Every stored table: columns, types, key, and the checks its rows must pass.

Two times stand on each row. When the fact became true in the world is the session (known at
the exchange's close) or ``known_at``; when this store learned it is the `recorded` column.
"""

from dataclasses import dataclass

import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow

from forecaster.errors import UsageError

INSTANT = arrow.timestamp("us", tz="UTC")
QUANTILES = (0.01, 0.025, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.975, 0.99)
QUANTILE_COLUMNS = ("q01", "q025", "q05", "q10", "q25", "q50", "q75", "q90", "q95", "q975", "q99")


@dataclass(frozen=True)
class Table:
    """A stored table.

    Attributes
    ----------
    name : str
    schema : pyarrow.Schema
    key : tuple of str
        Columns that name a fact; the row recorded last is the one that holds.
    recorded : str
        Column with the moment at which the store learned the row.
    replaces : bool
        Whether a row replaces the earlier ones of its key. The ledger of forecasts never does, and the
        moments in it count as they were told.
    """

    name: str
    schema: arrow.Schema
    key: tuple[str, ...]
    recorded: str
    replaces: bool = True

    @property
    def replaced_by(self) -> tuple[str, ...]:
        """Columns that a row shares with those that it replaces; none where only the newest row counts."""
        return () if self.recorded in self.key else self.key


def _schema(**columns: arrow.DataType) -> arrow.Schema:
    return arrow.schema(list(columns.items()))


_TEXT, _NUMBER, _COUNT, _DAY = arrow.string(), arrow.float64(), arrow.int64(), arrow.date32()

_FORECAST_COLUMNS = {
    "symbol": _TEXT,
    "cutoff": _DAY,
    "step": _COUNT,
    "session": _DAY,
    "base_price": _NUMBER,
    "family": _TEXT,
    "mean": _NUMBER,
    "sigma": _NUMBER,
    "df": _NUMBER,
    "prob_up": _NUMBER,
    **dict.fromkeys(QUANTILE_COLUMNS, _NUMBER),
    "model": _TEXT,
}

_TABLES = (
    Table(
        "prices",
        _schema(
            symbol=_TEXT, session=_DAY, open=_NUMBER, high=_NUMBER, low=_NUMBER, close=_NUMBER,
            adj_close=_NUMBER, volume=_NUMBER, currency=_TEXT, source=_TEXT, fetched_at=INSTANT,
            tells_actions=arrow.bool_(),
        ),
        ("symbol", "session"),
        "fetched_at",
    ),
    Table(
        "actions",
        _schema(symbol=_TEXT, session=_DAY, kind=_TEXT, value=_NUMBER, fetched_at=INSTANT),
        ("symbol", "session", "kind"),
        "fetched_at",
    ),
    Table(
        "instruments",
        _schema(
            symbol=_TEXT, name=_TEXT, exchange=_TEXT, timezone=_TEXT, currency=_TEXT, type=_TEXT,
            fetched_at=INSTANT,
        ),
        ("symbol",),
        "fetched_at",
    ),
    Table(
        "factors",
        _schema(
            name=_TEXT, symbol=_TEXT, session=_DAY, value=_NUMBER, known_at=INSTANT, source=_TEXT,
            fetched_at=INSTANT,
        ),
        ("name", "symbol", "session"),
        "fetched_at",
    ),
    Table(
        "events",
        _schema(
            symbol=_TEXT, kind=_TEXT, happened_at=INSTANT, known_at=INSTANT, tone=_NUMBER, magnitude=_NUMBER,
            title=_TEXT, url=_TEXT, source=_TEXT, fetched_at=INSTANT,
        ),
        ("symbol", "kind", "happened_at", "known_at", "source", "url"),
        "fetched_at",
    ),
    Table(
        "event_updates",
        _schema(
            symbol=_TEXT, source=_TEXT, outcome=_TEXT, rows=_COUNT, detail=_TEXT, recorded_at=INSTANT,
        ),
        ("symbol", "source"),
        "recorded_at",
    ),
    Table(
        "quarantine",
        _schema(
            symbol=_TEXT, session=_DAY, open=_NUMBER, high=_NUMBER, low=_NUMBER, close=_NUMBER,
            adj_close=_NUMBER, volume=_NUMBER, source=_TEXT, reason=_TEXT, fetched_at=INSTANT, status=_TEXT,
            tells_actions=arrow.bool_(),
        ),
        ("symbol", "session"),
        "fetched_at",
    ),
    Table("gaps", _schema(symbol=_TEXT, session=_DAY, found_at=INSTANT), ("symbol", "session"), "found_at"),
    Table(
        "watchlist",
        _schema(symbol=_TEXT, watched=arrow.bool_(), recorded_at=INSTANT),
        ("symbol",),
        "recorded_at",
    ),
    Table(
        "updates",
        _schema(
            symbol=_TEXT, source=_TEXT, outcome=_TEXT, rows=_COUNT, detail=_TEXT, recorded_at=INSTANT,
            change=_TEXT, started_at=INSTANT,
        ),
        ("symbol",),
        "recorded_at",
    ),
    Table(
        "runs",
        _schema(
            started_at=INSTANT, begun_at=INSTANT, source=_TEXT, scope=_TEXT, status=_TEXT, symbols=_COUNT,
            ok=_COUNT, failed=_COUNT, rows=_COUNT, detail=_TEXT, recorded_at=INSTANT,
        ),
        ("started_at",),
        "recorded_at",
    ),
    Table(
        "forecasts",
        _schema(
            issued_at=INSTANT, **_FORECAST_COLUMNS, version=_TEXT, recipe_hash=_TEXT, store_version=_COUNT,
            adjustment=_NUMBER, doubt=_TEXT,
        ),
        ("symbol", "cutoff", "step", "version", "model"),
        "issued_at",
        replaces=False,
    ),
    Table(
        "backtests",
        _schema(
            **_FORECAST_COLUMNS, scale=_NUMBER, pit=_NUMBER, crps=_NUMBER, log_score=_NUMBER,
            outcome=_NUMBER, version=_TEXT, recorded_at=INSTANT,
        ),
        ("version", "model", "symbol", "cutoff", "step"),
        "recorded_at",
    ),
    Table(
        "scores",
        _schema(
            step=_COUNT, model=_TEXT, forecasts=_COUNT, dates=_COUNT, crps=_NUMBER, crps_skill=_NUMBER,
            crps_p=_NUMBER, log_score=_NUMBER, log_score_gain=_NUMBER, log_score_error=_NUMBER,
            log_score_p=_NUMBER, pinball_01=_NUMBER, pinball_05=_NUMBER, pinball_95=_NUMBER,
            pinball_99=_NUMBER, qlike=_NUMBER, coverage_50=_NUMBER, coverage_80=_NUMBER,
            coverage_90=_NUMBER, coverage_98=_NUMBER, width_50=_NUMBER, width_80=_NUMBER, width_90=_NUMBER,
            width_98=_NUMBER, tercile_spread=_NUMBER, direction=_NUMBER, direction_gain=_NUMBER,
            direction_p=_NUMBER, share_up=_NUMBER, mae=_NUMBER, mae_skill=_NUMBER, mae_p=_NUMBER,
            rmse=_NUMBER, rmse_skill=_NUMBER, in_confidence_set=arrow.bool_(), is_best=arrow.bool_(),
            best_classical=_TEXT, best_classical_gain=_NUMBER, best_classical_p=_NUMBER,
            best_classical_crps_skill=_NUMBER, best_classical_crps_p=_NUMBER, first_cutoff=_DAY,
            last_cutoff=_DAY, version=_TEXT, recorded_at=INSTANT,
        ),
        ("version", "model", "step"),
        "recorded_at",
    ),
    Table(
        "decisions",
        _schema(
            version=_TEXT, alias=_TEXT, reason=_TEXT, verdict=_TEXT, card=_TEXT, decided_at=INSTANT,
            evidence=_TEXT,
        ),
        ("version", "alias", "decided_at"),
        "decided_at",
    ),
    Table(
        "retrains",
        _schema(
            started_at=INSTANT, mode=_TEXT, sessions=_TEXT, session=_DAY, symbols=_TEXT, recipe_hash=_TEXT,
            status=_TEXT, version=_TEXT, decision=_TEXT, forecasts=_COUNT, detail=_TEXT, recorded_at=INSTANT,
        ),
        ("started_at",),
        "recorded_at",
    ),
    Table(
        "monitors",
        _schema(
            version=_TEXT, kind=_TEXT, session=_DAY, value=_NUMBER, limit=_NUMBER, is_out=arrow.bool_(),
            reason=_TEXT, recorded_at=INSTANT,
        ),
        ("version", "kind", "session"),
        "recorded_at",
    ),
    Table(
        "leakchecks",
        _schema(
            checked_at=INSTANT, networks=_TEXT, groups=_TEXT, fingerprint=_TEXT, as_of=_DAY,
            symbols=_COUNT, subject=_TEXT, columns=_COUNT, cutoffs=_COUNT, values=_COUNT,
            passed=arrow.bool_(), leak=_TEXT, note=_TEXT,
        ),
        ("checked_at", "subject"),
        "checked_at",
    ),
    Table(
        "ablations",
        _schema(
            recorded_at=INSTANT, recipe_hash=_TEXT, fingerprint=_TEXT, quick=arrow.bool_(), symbols=_COUNT,
            first_cutoff=_DAY, last_cutoff=_DAY, model=_TEXT, variant=_TEXT, step=_COUNT, days=_TEXT,
            folds=_COUNT, dates=_COUNT, events=_COUNT, log_score_change=_NUMBER, error=_NUMBER,
            p_value=_NUMBER, crps_change=_NUMBER,
        ),
        ("recorded_at", "model", "variant", "step", "days"),
        "recorded_at",
    ),
)  # fmt: skip

TABLES = {table.name: table for table in _TABLES}


def table(name: str) -> Table:
    """Look a table up by name.

    Raises
    ------
    UsageError
        For an unknown name; lists the known ones.
    """
    if name not in TABLES:
        raise UsageError(f"No table {name!r}; choose one of {', '.join(TABLES)}")
    return TABLES[name]


def _within_high_and_low(column: str) -> pa.Check:
    # Yahoo's own rounding puts some opens and closes a hair outside the bar.
    def check(frame: pd.DataFrame) -> pd.Series:
        slack = 1e-4 * frame["close"].abs()
        inside = frame[column].between(frame["low"] - slack, frame["high"] + slack)
        # What is missing is said once, by its own check.
        return inside | frame[[column, "low", "high", "close"]].isna().any(axis=1)

    return pa.Check(check, error=f"{column} outside low..high")


_finite = pa.Check(lambda values: values < float("inf"), error="not finite")
_positive = [_finite, pa.Check(lambda values: values > 0, error="zero or negative")]
_not_negative = [_finite, pa.Check(lambda values: values >= 0, error="negative")]

BAR_CHECKS = pa.DataFrameSchema(
    {
        **{
            name: pa.Column(float, _positive, nullable=False)
            for name in ("open", "high", "low", "close", "adj_close")
        },
        "volume": pa.Column(float, _not_negative, nullable=False),
    },
    checks=[
        pa.Check(lambda frame: ~(frame["high"] < frame["low"]), error="high below low"),
        _within_high_and_low("open"),
        _within_high_and_low("close"),
    ],
)
"""What a daily bar must satisfy, whatever its source."""


def problems(bars: pd.DataFrame) -> pd.Series:
    """Name what is wrong with each bar.

    Parameters
    ----------
    bars : DataFrame
        Columns open, high, low, close, adj_close, volume as float; unique index.

    Returns
    -------
    Series of str
        Index of the faulty rows -> ``"column: reason; ..."``; empty if all are sound.
    """
    try:
        BAR_CHECKS.validate(bars, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases.dropna(subset=["index"])
        cases = cases.assign(
            text=[
                str(row.check)
                if row.schema_context == "DataFrameSchema"
                else f"{row.column}: {_plain(row.check)}"
                for row in cases.itertuples()
            ]
        )
        texts = cases.drop_duplicates(["index", "text"]).groupby("index", sort=False)["text"].agg("; ".join)
        return texts.reindex([label for label in bars.index if label in texts.index])
    return pd.Series(dtype=str)


def _plain(check: object) -> str:
    return "missing" if str(check) == "not_nullable" else str(check)
