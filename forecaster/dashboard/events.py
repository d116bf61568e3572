"""Company events: where they lie on the price, what prices did around them, what knowing them is worth."""

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from forecaster.dashboard import event_reads, reads
from forecaster.dashboard.charts import chart
from forecaster.dashboard.controls import demonstration, nothing_yet, pill, tell_unknown
from forecaster.dashboard.downloads import offer
from forecaster.dashboard.texts import ago, command, count, plain
from forecaster.evaluation.ablation import EVENT_DAYS, EVERY_DAY
from forecaster.evaluation.event_study import ALL, USUAL, EventStudy
from forecaster.evaluation.significance import LEVEL
from forecaster.evaluation.verdict import probability
from forecaster.event_plots import MEASURED, plot_event_path, plot_timeline
from forecaster.events import KINDS, PARTIAL, RELEASED
from forecaster.models import TITLES
from forecaster.score_plots import plot_ablation
from forecaster.store import now

EVERY_SYMBOL = "All symbols"
SPANS = {"1 year": 252, "3 years": 756, "5 years": 1260, "All": None}
"""Words -> last sessions that are shown."""

FEW = 30
"""Events, or dates of events, below which a mean and its band are called uncertain."""

MEASURES = {"Cumulative return": "cumulative", "Volatility": "volatility", "Daily return": "average"}


def page() -> None:
    """Draw the page."""
    st.title("Events", anchor=False)
    rows, exchanges = event_reads.events(), event_reads.exchanges()
    if not exchanges:
        _empty()
        return
    demonstration()
    if rows.empty:
        nothing_yet(
            "No event is stored here yet. Events come with an update of symbols from Yahoo or the sample, or "
            "from a file of your own:",
            "update",
            "import FILE",
        )
    else:
        _timeline(rows, exchanges)
        _study(is_chosen=bool(rows["source"].isin(PARTIAL).any()))
    _ablation()


def _empty() -> None:
    nothing_yet(
        "Nothing is stored here yet. Bring prices and events, train a model and forecast with one command, "
        "then reload this page:"
    )


def _timeline(rows: pd.DataFrame, exchanges: dict[str, str]) -> None:
    with st.container(border=True):
        left, right = st.columns([1, 3], gap="medium")
        with left:
            symbol = _symbol(rows, exchanges)
        with right:
            offered = [title for kind, title in KINDS.items() if (rows["kind"] == kind).any()]
            kinds = st.pills(
                "Kinds (none chosen: all)",
                offered,
                selection_mode="multi",
                key="kind",
                bind="query-params",
                wrap=True,
            )
            span = pill("Span", "span", list(SPANS), "5 years")
    line, title, axis, shown_on = _price(symbol, exchanges)
    line = line.tail(SPANS[span] or len(line))
    mine = rows if symbol == EVERY_SYMBOL else rows[rows["symbol"] == symbol]
    mine = mine[mine["kind"].map(KINDS).isin(kinds or offered)]
    mine = mine[mine["session"].isna() | (mine["session"] >= line["session"].iloc[0])]
    drawn = mine[mine["in_force"] & mine["session"].notna()]
    if drawn.empty:
        st.info("No event of these kinds falls in this span; choose more.", icon=":material/filter_alt_off:")
    figure = plot_timeline(line, drawn, title, axis, shown_on)
    chart(figure, "timeline", f"{title}, with {count(len(drawn), 'event')}; the table below lists them")
    st.caption(
        "An event stands on the session that it moved, the first that closes after it was known; an "
        "announced date (an open mark) on the day that the last plan names."
    )
    _table(mine)


def _symbol(rows: pd.DataFrame, exchanges: dict[str, str]) -> str:
    told = sorted(set(rows["symbol"]) & set(exchanges))
    options = [*told, *sorted(set(exchanges) - set(told)), EVERY_SYMBOL]
    tell_unknown("Symbol", "symbol", options)
    return st.selectbox("Symbol", options, key="symbol", bind="query-params")


def _price(symbol: str, exchanges: dict[str, str]) -> tuple[pd.DataFrame, str, str, list[str]]:
    """Return the line to draw, the figure's title, its axis and the exchanges whose sessions it has."""
    if symbol == EVERY_SYMBOL:
        places, line = sorted(set(exchanges.values())), event_reads.mean_price()
        return line, f"{count(len(exchanges), 'symbol')}: mean of their returns, added up", "Index", places
    history = reads.history(symbol)
    line = history.bars(symbol).rename(columns={"close": "value"})[["session", "value"]]
    axis = f"Price per share, {history.instruments[symbol].currency}"
    return line, f"{symbol}: close and company events", axis, [exchanges[symbol]]


def _table(rows: pd.DataFrame) -> None:
    if rows.empty:
        return
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    shown = rows.assign(
        kind=rows["kind"].map(KINDS) + rows["in_force"].map({True: "", False: " (replaced since)"}),
        # Only what a browser opens as a page: the address comes from a source.
        url=rows["url"].where(rows["url"].str.match("https?://")),
    )
    st.dataframe(
        shown, hide_index=True, width="stretch", placeholder="–",
        alt="Company events, those known last first",
        column_order=[
            "symbol", "kind", "happened_at", "known_at", "usable", "title", "tone", "magnitude", "source",
            "url",
        ],
        column_config={
            "symbol": text("Symbol", pinned=True),
            "kind": text("Kind"),
            "happened_at": _minute("Happened, UTC", "Of an announced date: what it is planned for"),
            "known_at": _minute("Known, UTC", "When the world could know it"),
            "usable": st.column_config.DateColumn(
                "First session", format="YYYY-MM-DD",
                help="The first that could use it: it closes after the event was known",
            ),
            "title": text("What", width="large"),
            "tone": number("Tone", format="%+.2f", help="From -1, bad, to 1, good; –: not known"),
            "magnitude": number(
                "Magnitude", format="%.3g",
                help="Of results the surprise, % of the estimate; of an announced date its probability",
            ),
            "source": text("Source"),
            "url": st.column_config.LinkColumn("Link", display_text="open", help="Leaves this machine"),
        },
    )  # fmt: skip
    offer("events", lambda: rows, "Events")


def _minute(label: str, words: str) -> ColumnConfig:
    return st.column_config.DatetimeColumn(label, format="YYYY-MM-DD HH:mm", timezone="UTC", help=words)


def _study(is_chosen: bool) -> None:
    st.subheader("What prices did around events", anchor=False)
    found = event_reads.event_study()
    first = _at(found, "average", 0)
    if first.empty:
        st.info("No event that has happened lies on a stored session yet.", icon=":material/info:")
        return
    kinds = {RELEASED[kind]: kind for kind in first["kind"]}
    left, right = st.columns(2, gap="medium")
    with left:
        title = pill("Kind of event", "study", list(kinds), next(iter(kinds)))
    with right:
        words = pill("Measure", "measure", list(MEASURES), next(iter(MEASURES)))
    if is_chosen:
        st.warning(
            "**Chosen events.** The sample holds events that are remembered because prices moved: what "
            "stands here is larger than around an ordinary event.",
            icon=":material/filter_alt:",
        )
    kind, measure = kinds[title], MEASURES[words]
    _few(first[first["kind"] == kind].iloc[0])
    # Shorter than the figure's own: a phone has room for it, and the axis tells the rest.
    figure = plot_event_path(found.paths, kind, measure).update_layout(title_text=f"{title}: {words.lower()}")
    chart(
        figure,
        "path",
        f"{RELEASED[kind]}: {MEASURED[measure][1]}, by sessions from the event; a table of figures follows",
    )
    st.caption(
        f"Over all stored symbols. Session 0 is the one that the event moved. Abnormal: less the market's "
        f"return; usual: its mean absolute size over {USUAL} earlier sessions. Bands hold the true mean with "
        f"95 % at each session by itself and count the events of one session as one. What stands here went "
        f"along with events, and need not have come from them."
    )
    _kinds(found)


def _few(row: pd.Series) -> None:
    """Warn where a mean over events says little."""
    counted = f"{count(row['events'], 'event')} on {count(row['dates'], 'date')}"
    if row["dates"] < 2:
        st.warning(
            f"**One date only** ({counted}): what is drawn is what happened then, and no band can be given.",
            icon=":material/help:",
        )
    elif row["dates"] < FEW:
        st.warning(
            f"**Few events** ({counted} of {row['companies']} companies): the bands are rough, and one more "
            f"event could change the picture.",
            icon=":material/help:",
        )


def _kinds(found: EventStudy) -> None:
    """Show every kind's figures with their intervals."""
    last = int(found.paths["offset"].max())
    first = _at(found, "average", 0)
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    effects = found.effects.reindex(first["kind"])
    shown = pd.DataFrame(
        {
            "kind": first["kind"].map(RELEASED),
            "events": first["events"],
            "companies": first["companies"],
            "dates": first["dates"],
            "session": _intervals(first, "value", 100),
            "after": _intervals(_at(found, "cumulative", last), "value", 100),
            "volatility": _intervals(_at(found, "volatility", 0), "value"),
            "width": _intervals(effects, "width"),
        }
    )
    st.dataframe(
        shown, hide_index=True, width="stretch", alt="What prices did around each kind of event",
        column_config={
            "kind": text("Kind", pinned=True),
            "events": number("Events"),
            "companies": number("Companies"),
            "dates": number("Dates"),
            "session": text("Return on session 0, %", help="Abnormal, with its 95 % interval"),
            "after": text(f"Over sessions 0 to {last}, %", help="Abnormal, with its 95 % interval"),
            "volatility": text("Volatility response", help="Absolute abnormal return, times the usual"),
            "width": text("Spread", help="Root mean square return, times that of an ordinary session"),
        },
    )  # fmt: skip
    offer("event-study", lambda: found.paths, "Every path")


def _at(found: EventStudy, measure: str, offset: int) -> pd.DataFrame:
    """Return one row per kind, of every tone, in the same order for all measures and offsets."""
    paths = found.paths
    chosen = (paths["measure"] == measure) & (paths["offset"] == offset) & (paths["tone"] == ALL)
    return paths[chosen].reset_index(drop=True)


def _intervals(rows: pd.DataFrame, name: str, factor: float = 1.0) -> list[str]:
    low, high = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
    figures = factor * rows[[name, low, high]].to_numpy(dtype=float)
    return [
        f"{value:.2f}" + ("" if np.isnan(below) else f" ({below:.2f} to {above:.2f})")
        for value, below, above in figures
    ]


def _ablation() -> None:
    st.subheader("What knowing them is worth", anchor=False)
    changes = event_reads.ablation()
    if changes.empty:
        nothing_yet(
            "No ablation has been run on this workspace: nobody knows yet what the forecasts would lose "
            "without events. It refits models without each group of inputs and each kind of event, and "
            "takes minutes to hours; the result then stands here:",
            "backtest --ablation",
        )
        st.caption(f"A rehearsal of minutes: `{command('backtest --ablation --quick --models harx')}`")
        return
    changes = changes.assign(variant=changes["variant"].str.replace("_", " "))
    first, models = changes.iloc[0], list(changes["model"].unique())
    left, right = st.columns(2, gap="medium")
    with left:
        titles = {TITLES[model]: model for model in models}
        model = titles[pill("Model", "model", list(titles), TITLES[models[0]])]
    with right:
        steps = sorted(int(step) for step in changes["step"].unique())
        step = pill("Sessions ahead", "horizon", steps, steps[0])
    if first["quick"]:
        st.warning(
            "**Low confidence.** This was a quick run, of one year and one refit: it shows the way, not "
            f"the worth. In full: `{command('backtest --ablation')}`",
            icon=":material/help:",
        )
    words = f"What {TITLES[model]} loses without some of its inputs; the figures follow as a table"
    figure = plot_ablation(changes, model, step)
    chart(figure.update_layout(title_text=f"{TITLES[model]}: change in log score"), "ablation", words)
    _losses(changes[(changes["model"] == model) & (changes["step"] == step)])
    st.caption(
        f"Run {ago(first['recorded_at'], now())}, on {count(first['symbols'], 'symbol')}, cutoffs from "
        f"{first['first_cutoff']:%Y-%m-%d} to {first['last_cutoff']:%Y-%m-%d}, recipe "
        f"{plain(first['recipe_hash'])}. Positive is worse than with all inputs. Event days have an event of "
        f"the kind taken away among the sessions ahead."
    )


def _losses(rows: pd.DataFrame) -> None:
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    shown = rows.assign(
        days=rows["days"].map({EVERY_DAY: "all days", EVENT_DAYS: "event days"}),
        test=[probability(p) for p in rows["p_value"]],
        told=rows["p_value"]
        .lt(LEVEL)
        .map({True: "differs", False: "not distinguishable"})
        .where(rows["p_value"].notna(), "too few dates"),
        events=rows["events"].where(rows["events"] > 0),
    )
    st.dataframe(
        shown, hide_index=True, width="stretch", placeholder="–", alt="Loss without each input",
        column_order=[
            "variant", "days", "events", "dates", "log_score_change", "test", "told", "crps_change", "folds",
        ],
        column_config={
            "variant": text("Inputs", pinned=True),
            "days": text("Days"),
            "events": number("Events"),
            "dates": number("Dates"),
            "log_score_change": number("Change, nats", format="%+.4f", help="In log score; above 0 is worse"),
            "test": text("Test", alignment="right"),
            "told": text("In words"),
            "crps_change": number("CRPS, %", format="%+.2f"),
            "folds": number("Refits"),
        },
    )  # fmt: skip
    offer("ablation", lambda: rows, "Ablation")
