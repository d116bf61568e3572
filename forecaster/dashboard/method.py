"""How a forecast comes about, what it is worth, and whether anything later leaks into it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from forecaster import jobs
from forecaster.config import GROUPS
from forecaster.dashboard import access, actions, event_reads, reads
from forecaster.dashboard.charts import ink
from forecaster.dashboard.controls import nothing_yet, pill, untested
from forecaster.dashboard.downloads import offer
from forecaster.dashboard.jobs import follow
from forecaster.dashboard.texts import ago, command, count, plain
from forecaster.decisions import CHAMPION
from forecaster.evaluation.significance import LEVEL
from forecaster.evaluation.verdict import probability
from forecaster.jobs import Job
from forecaster.models import LAST_PRICE, SERVED, TITLES
from forecaster.network_plots import GATES, plot_network
from forecaster.report import DEMONSTRATION
from forecaster.store import now

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"

DEPENDENCIES = """
What a share is worth tomorrow depends on three things; the inputs, the tests without them and the words of
this dashboard use the same three names.

- **Trend**: what the past days looked like, returns, ranges, volatility at several spans, volume.
- **Previous day**: the last session. Its close is the anchor: a network does not guess a price, it predicts
  how far tomorrow lies from today.
- **Exogenous**: what was known that day from outside the series, the market and its volatility, rates, the
  calendar, company events.

A recurrent network reads the sessions one after the other and carries a state along. The trend is what that
state keeps, the previous day is what the network last put out, beside that day's bar, and what comes from
outside is today's input. Gates, numbers between 0 and 1, decide what to keep, what to add and what to show.
"""

ABOUT = {
    "lstm": "It carries two things along: a cell state that can keep something for long, and a hidden state "
    "that it puts out.",
    "gru": "It does with two gates and no cell state what the LSTM does with three; fewer weights, often as "
    "good.",
    "rnn": "It has no gate, forgets fast, and stands beside the others to show what gates are for.",
}

FAN = """
The next price cannot be known; how far away it may lie can be, to a degree. So a forecast is a distribution
for each session ahead, drawn as a fan. It widens with every session, and most on a day for which results are
announced. A single line would hide the only part of the future that can be forecast.
"""

NOT_EXPECTED = """
- **Which way.** A probability of a rise near 50 % is the honest answer, not a fault. A model that calls much
  more than half of the days right from past prices should first be checked for a leak.
- **News.** What nobody knows yet is in no input; its usual size is in the width of the fan.
- **Causes.** That something goes along with a move does not make it the reason.
- **Times unlike any in training.** Then the forecast says that its confidence is low.
- **The companies that failed.** Those stored survive today, so past scores flatter every model here alike.
"""


def page() -> None:
    """Draw the page."""
    st.title("Method", anchor=False)
    rows = reads.decisions()
    champions = rows[rows["alias"] == CHAMPION]
    card = None if champions.empty else json.loads(champions["card"].iloc[-1])
    _networks(card)
    st.subheader("Why a fan and not a line", anchor=False)
    st.markdown(FAN)
    st.subheader("What may be expected", anchor=False)
    if card is None:
        nothing_yet(
            "No model has been made champion here yet, so there are no figures of its own. Bring prices, "
            "train and test a model with one command, then reload this page:"
        )
    else:
        _worth(str(champions["version"].iloc[-1]))
    st.subheader("What cannot be expected", anchor=False)
    st.markdown(NOT_EXPECTED)
    _leaks(card)
    _notebooks()


def _networks(card: dict[str, Any] | None) -> None:
    st.subheader("What the networks do", anchor=False)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown(DEPENDENCIES)
    with right:
        titles = {TITLES[cell]: cell for cell in GATES}
        cell = titles[pill("Kind of network", "network", list(titles), TITLES["lstm"])]
        gates = "".join(f"\n- **{name.capitalize()} gate**: {words}." for name, words in GATES[cell].items())
        words = f"{TITLES[cell]}: trend, previous day and exogenous go in, a distribution comes out"
        figure = plot_network(cell).update_annotations(font={"color": ink(), "size": 13})
        st.plotly_chart(figure, width="stretch", config={"staticPlot": True}, key="cell", alt=words)
        st.markdown(f"{ABOUT[cell]}{gates}")
    if card is not None:
        cells = " and ".join(TITLES[cell] for cell in card["recipe"]["cells"])
        st.markdown(
            f"The champion here pools {plain(cells)} with classical models; it reads "
            f"{count(card['recipe']['lookback'], 'session')} and forecasts {card['recipe']['horizon']}. "
            f"How much weight each kind deserves is learned from past forecasts, not chosen beforehand."
        )


def _worth(version: str) -> None:
    """Tell the champion's own figures beside those of the last price."""
    scores = reads.scores(version)
    steps = sorted(int(step) for step in scores.loc[scores["model"] == SERVED, "step"])
    if not steps:
        untested(version)
        return
    if (reads.freshness()["source"] == "sample").any():
        st.info(DEMONSTRATION, icon=":material/science:")
    step = pill("Sessions ahead", "horizon", steps, steps[0])
    at_step = scores[scores["step"] == step]
    served, last_price = (at_step[at_step["model"] == name].iloc[0] for name in (SERVED, LAST_PRICE))
    rises = reads.rises(step)
    figures = {
        "Gain over the last price": f"{served['log_score_gain']:+.4f} nats".replace("-", "\u2212"),
        "CRPS": f"{100 * served['crps']:.2f} %",
        "Within the 90 % range": f"{served['coverage_90']:.1f} %",
        "Median price off by": f"{served['mae']:.2f} %",
        "Probability of a rise": _range(100 * rises, 1, "%"),
    }
    with st.container(horizontal=True):
        for label, value in figures.items():
            st.metric(label, value, border=True)
    st.markdown("\n".join(f"- {line}" for line in _in_words(served, last_price, rises)))
    first, last = scores["first_cutoff"].min(), scores["last_cutoff"].max()
    st.caption(
        f"Model version {plain(version)} in its backtest: {served['forecasts']:,} forecasts on "
        f"{count(served['dates'], 'date')} that it had not seen when it was fitted, cutoffs "
        f"{first:%Y-%m-%d} to {last:%Y-%m-%d}; probabilities of a rise are of the forecasts that stand."
    )
    st.markdown(f"**Since its recipe is served:** {plain(reads.live(version).comparison(step).words)}")


def _in_words(served: pd.Series, last_price: pd.Series, rises: pd.Series) -> list[str]:
    """Say for a newcomer what each figure means."""
    more = 100 * (np.exp(served["log_score_gain"]) - 1)
    lines = [
        f"**Gain in log score.** To what came, the forecast gave on average {abs(more):.1f} % "
        f"{'more' if more >= 0 else 'less'} probability density than the last price with its own fan; "
        f"{_tested(served['log_score_p'])}.",
        f"**CRPS** is how far the whole fan lay from what came, in per cent of the price: "
        f"{100 * served['crps']:.2f} %, the last price's {100 * last_price['crps']:.2f} %. Lower is better.",
        f"**Coverage.** {served['coverage_90']:.1f} % of the outcomes fell within the 90 % range; a fan that "
        f"tells the truth has 90.",
        f"**As a line.** The median price was off by {served['mae']:.2f} % on average, the last price by "
        f"{last_price['mae']:.2f} %; {_tested(served['mae_p'])}.",
    ]
    if len(rises):
        lines.append(
            f"**Probability of a rise.** The forecasts that stand now say {_range(100 * rises, 1, '%')} "
            f"over {count(len(rises), 'symbol')}; in the backtest {served['share_up']:.1f} % of the outcomes "
            f"were rises."
        )
    if np.isnan(served["direction"]):
        lines.append("**Direction.** It gives no opinion: the middle of its fan lies on the last price.")
    else:
        lines.append(
            f"**Direction.** It called {served['direction']:.1f} % of rises and falls right; against a coin "
            f"that knows the share of rises, {_tested(served['direction_p'])}."
        )
    return lines


def _tested(p: float) -> str:
    if np.isnan(p):
        return "there are too few dates to test the difference"
    if p >= LEVEL:
        return f"not distinguishable ({plain(probability(p))})"
    return f"a difference beyond chance ({plain(probability(p))})"


def _range(values: pd.Series, digits: int, unit: str) -> str:
    if values.empty:
        return "none stands"
    low, high = (f"{value:.{digits}f}" for value in (values.min(), values.max()))
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _leaks(card: dict[str, Any] | None) -> None:
    st.subheader("Does anything later leak in?", anchor=False)
    st.markdown(
        "A forecast that has seen its own answer looks brilliant in a test and fails the next day. The leak "
        "detector makes up everything that became known after a moment, or cuts it off, computes inputs, "
        "windows, labels and forecasts again, and names the first value of the past that moved. None may."
    )
    rows = event_reads.leakcheck()
    if rows.empty:
        st.info(
            f"The leak detector has never run here. On the command line: `{command('leakcheck')}`",
            icon=":material/info:",
        )
    else:
        _last_check(rows, card)
    _start(card)


def _last_check(rows: pd.DataFrame, card: dict[str, Any] | None) -> None:
    first, leaks = rows.iloc[0], rows.loc[~rows["passed"].astype(bool), "leak"]
    when = f"{first['checked_at']:%Y-%m-%d %H:%M} UTC, {ago(first['checked_at'], now())}"
    if leaks.empty:
        st.success(
            f"**Passed, no leak found** on {when}: none of {rows['values'].sum():,} values moved with what "
            f"became known later.",
            icon=":material/verified_user:",
        )
    for leak in leaks:
        st.error(f"**Leak found** on {when}. {plain(leak)}", icon=":material/water_drop:")
    late = None if card is None else _outdated(first, card)
    if late:
        st.warning(f"**Stale.** {late}", icon=":material/update:")
    st.markdown(
        f"Checked: networks {_spelt(first['networks'])}; inputs {_spelt(first['groups'])}; "
        f"{count(first['symbols'], 'symbol')} up to {first['as_of']:%Y-%m-%d}. Networks are made small and "
        f"trained for one epoch for this: the way of the data is checked, and a leak needs no skill."
    )
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    st.dataframe(
        rows.assign(result=rows["passed"].map({True: "passed", False: "leak"})),
        hide_index=True, width="stretch", placeholder="–", alt="What the leak detector compared",
        column_order=["subject", "result", "values", "columns", "cutoffs", "note"],
        column_config={
            "subject": text("What was compared", pinned=True),
            "result": text("Result"),
            "values": number("Values compared", format="localized"),
            "columns": number("Columns"),
            "cutoffs": number("Moments", help="Whose future was rewritten"),
            "note": text("Note", width="large"),
        },
    )  # fmt: skip
    offer("leakcheck", lambda: rows, "Leak check")


def _spelt(names: str) -> str:
    return plain(names.replace(",", ", ").replace("_", " "))


def _outdated(check: pd.Series, card: dict[str, Any]) -> str | None:
    """Say why a check does not speak for the champion; None if it does."""
    unread = {*card["recipe"]["cells"]} - {*check["networks"].split(",")}
    unread |= {*card["recipe"]["groups"]} - {*check["groups"].split(",")}
    if unread:
        names = ", ".join(sorted(map(plain, unread)))
        return f"The champion also has {names}, which this check has not looked at."
    if pd.Timestamp(card["trained_until"]) > check["as_of"]:
        return (
            f"The champion was trained on sessions up to {card['trained_until']}, which were not there yet."
        )
    return None


def _start(card: dict[str, Any] | None) -> None:
    """Offer to check in a process of its own; show one that is at work."""
    checks = [job for job in jobs.jobs(reads.settings().home) if _checks(job)]
    running = any(job.running for job in checks)
    reason = access.denied() or ("Prices come first" if reads.freshness().empty else None)
    pressed = st.button(
        "Check for leaks now", key="leakcheck", icon=":material/play_arrow:",
        disabled=running or reason is not None,
        help=plain(reason or "Takes some minutes in a process of its own, also when this page is closed"),
    )  # fmt: skip
    if pressed and reason is None:
        recipe = {"cells": ["lstm", "gru"], "groups": GROUPS} if card is None else card["recipe"]
        words = ["--cells", ",".join(recipe["cells"]), "--groups", ",".join(recipe["groups"])]
        actions.start("leakcheck", *words)
        st.rerun()
    if running:
        follow(checks, _checks)
        st.caption("Its log stands under Models and retraining.")


def _checks(job: Job) -> bool:
    return job.command[0] == "leakcheck"


def _notebooks() -> None:
    st.subheader("Notebooks", anchor=False)
    files = sorted(NOTEBOOKS.glob("*.ipynb"))
    if not files:
        st.markdown("They lie in the folder `notebooks` beside the source, which is not on this machine.")
        return
    st.markdown("The same in code, step by step. Read them here, or run them yourself:")
    st.code(".venv/bin/python -m pip install jupyterlab\n.venv/bin/jupyter lab notebooks", language="bash")
    for file in files:
        _notebook(file)


def _notebook(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    heading, _, rest = cells[0][1].partition("\n")
    with st.expander(f"{file.stem[:2]} · {plain(heading.lstrip('# '))}"):
        st.download_button(
            f"Download {file.name}", text, file.name, "application/x-ipynb+json",
            icon=":material/download:", on_click="ignore", key=file.stem,
        )  # fmt: skip
        st.code(f".venv/bin/jupyter lab notebooks/{file.name}", language="bash")
        for kind, source in [("markdown", rest), *cells[1:]]:
            if kind == "code":
                st.code(source, language="python")
            else:
                st.markdown(source)
