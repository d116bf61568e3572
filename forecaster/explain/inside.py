"""Inside the cell: what a trained network forgets and keeps over the window that a forecast reads.

All random starts of a kind are looked into together. What is said of the forecast is said of their pool,
before it is merged with HARX and calibrated; in one kind of network the units of two random starts have
nothing to do with each other.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from forecaster.errors import ModelError, UsageError
from forecaster.events import RELEASED, moved_session
from forecaster.explain.attribution import Attribution, Inputs, attribute
from forecaster.explain.gates import GATES, KEEPING, SHARES, States, kept_share
from forecaster.explain.memory import forecast_gradients, half_life, kept, state_gradients
from forecaster.explain.twin import Reading, read, standardised
from forecaster.features.exogenous import Surroundings
from forecaster.history import History, parse_session
from forecaster.models.reading import Network
from forecaster.models.surprise import NAME as SURPRISE
from forecaster.models.surprise import with_surprise
from forecaster.models.weights import Weights
from forecaster.sessions import all_sessions
from forecaster.windows import Windows

if TYPE_CHECKING:
    from forecaster.models.trained import Model

TOLERANCE = 1e-5
"""Largest difference of a recomputed forecast from the served one, of values above 1 relative to them."""

STEPS = (1, 5, 10, 20)
"""Sessions ahead whose forecasts are attributed, as far as the horizon reaches."""

KEPT = "kept"
"""Beside the gates: the share of a unit's state that was kept and not written; see `gates.kept_share`."""

LOW, HIGH = 0.1, 0.9
"""Quantiles over the units that a summary gives beside the mean."""


@dataclass(frozen=True)
class Inside:
    """One kind of network over one window, session by session.

    Lag counts sessions back from the cutoff, which has lag 0.

    Attributes
    ----------
    symbol : str
    cell : str
        "rnn", "lstm" or "gru".
    cutoff : Timestamp
        Last session of the window.
    seeds : int
        Random starts that were looked into.
    sessions : DataFrame
        session, lag, log_return, and move: its size in volatilities as known before it.
    events : DataFrame
        session (that the event moved), lag, kind, tone and title of the symbol's events in the window.
    gates : DataFrame
        session, lag, gate (`gates.GATES`, and "kept"), and the mean, low (10 %) and high (90 %) over the
        units of all seeds; of states, which have either sign, those of the absolute value.
    units : DataFrame
        seed, unit, session, lag, gate, value.
    memory : DataFrame
        lag, and the mean, low and high over the units of the share that is still kept of what was held
        then; empty for a simple RNN, which has no gate.
    half_lives : DataFrame
        seed, unit, half_life (sessions); likewise. See `memory.half_life`.
    gradients : DataFrame
        session, lag, and the gradient norms: state (`memory.state_gradients`) and forecast
        (`memory.forecast_gradients`, one session ahead), each the mean over the seeds.
    attribution : Attribution
    difference : float
        Largest difference of the recomputed forecasts from the served ones, at most `TOLERANCE`.
    notes : tuple of str
        How it is to be read.
    silence : str
        The note among them that says in how many networks training kept no correction to their linear
        part; empty where it did in all.
    version : str
        Of the model; empty where it came from no registry.
    """

    symbol: str
    cell: str
    cutoff: pd.Timestamp
    seeds: int
    sessions: pd.DataFrame
    events: pd.DataFrame
    gates: pd.DataFrame
    units: pd.DataFrame
    memory: pd.DataFrame
    half_lives: pd.DataFrame
    gradients: pd.DataFrame
    attribution: Attribution
    difference: float
    notes: tuple[str, ...]
    silence: str = ""
    version: str = ""


def inside(
    model: "Model",
    history: History,
    symbol: str,
    cell: str | None = None,
    as_of: str | pd.Timestamp | None = None,
    around: Surroundings | None = None,
) -> Inside:
    """Look inside one kind of network over a window of a symbol.

    Parameters
    ----------
    history : History
        With the symbol and the model's universe; must reach at least to the training cutoff.
    cell : str, optional
        A kind of the model's recipe; default: its first.
    as_of : str or Timestamp, optional
        Session; the window ends with the symbol's last one up to it, and nothing known later is used.
        Unlike a forecast it may lie before the model's training cutoff, and then the notes say so.
        Default: the symbol's last session.
    around : Surroundings, optional
        See `Model.windows`.

    Raises
    ------
    UsageError
        If the model has no such kind; lists those it has.
    ModelError
        If the recomputed forecasts differ from the served ones.
    UnknownSymbol, TooLittleHistory
        If the symbol has no such window.
    """
    history.require([symbol])
    network, windows = network_of(model, cell), model.windows(history, around)
    panel = windows.panel
    kept = panel.code == panel.symbols.index(symbol)
    if as_of is not None:
        kept &= panel.session <= parse_session(as_of).to_datetime64()
    windows = replace(windows, panel=panel.rows(np.flatnonzero(kept)))
    found = look(network, windows, windows.last_end(symbol), history)
    if found.cutoff >= model.trained_until:
        return found
    seen = (
        f"The model has learned from sessions after this window, up to {model.trained_until.date()}: it "
        f"shows how the network reads these days, and is no forecast that could have been made then."
    )
    return replace(found, notes=(seen, *found.notes))


def laid_out(found: Inside, with_units: bool = False) -> dict[str, Any]:
    """Lay out for JSON all that was found; infinite is null.

    Parameters
    ----------
    with_units : bool
        Whether to give the value of every single unit as well.
    """
    tables = ["sessions", "events", "gates", "memory", "half_lives", "gradients"]
    tables += ["units"] if with_units else []
    return {
        "symbol": found.symbol,
        "cell": found.cell,
        "version": found.version,
        "cutoff": str(found.cutoff.date()),
        "seeds": found.seeds,
        "difference": found.difference,
        "notes": list(found.notes),
        **{name: _records(getattr(found, name)) for name in tables},
        "attribution": {name: _records(one) for name, one in vars(found.attribution).items()},
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Give rows with sessions as dates."""
    if "session" in table:
        table = table.assign(session=table["session"].dt.strftime("%Y-%m-%d"))
    return json.loads(table.to_json(orient="records", double_precision=15))


def network_of(model: "Model", cell: str | None) -> Network:
    """Return a model's networks of one kind; default: the first.

    Raises
    ------
    UsageError
        If it has none; lists the kinds it has.
    """
    networks = {one.name: one for one in model.ensemble.networks}
    chosen = cell or next(iter(networks))
    if chosen not in networks:
        raise UsageError(f"This model has no {chosen!r}; choose one of {', '.join(networks)}")
    return networks[chosen]


def look(network: Network, windows: Windows, end: int, history: History) -> Inside:
    """Look inside the networks of one kind over the window that ends at a row; see `inside`.

    Parameters
    ----------
    windows : Windows
        Without the memory of surprises, which is added as the networks ask for it.
    history : History
        Where the symbol's events stand.
    """
    windows, (end,) = windows.reaching(np.array([end]))
    if network.linear is not None:
        windows = with_surprise(windows, network.linear)
    panel, lookback = windows.panel, windows.lookback
    learned = list(network.weights)
    readings, difference = _recomputed(network, learned, windows, end)
    rows = np.arange(end - lookback + 1, end + 1)
    frame = pd.DataFrame({"session": panel.session[rows], "lag": np.arange(lookback)[::-1]})
    states = {name: np.concatenate([one.states[name] for one in readings]) for name in GATES[network.name]}
    symbol = panel.symbols[panel.code[end]]
    move = panel.log_return[rows] / panel.base_sigma[rows - 1]
    forecast = np.mean([forecast_gradients(one)[0] for one in readings], axis=0)[::-1]
    state = np.mean([_state_gradients(one) for one in readings], axis=0)[::-1]
    steps = [step for step in STEPS if step <= windows.horizon]
    return Inside(
        symbol=symbol,
        cell=network.name,
        cutoff=pd.Timestamp(panel.session[end]),
        seeds=len(learned),
        sessions=frame.assign(log_return=panel.log_return[rows], move=move),
        events=_events(history, symbol, frame, panel.known_at[end]),
        gates=_summary(network.name, states, frame),
        units=_units(states, frame),
        memory=_memory(network.name, states),
        half_lives=_half_lives(network.name, states),
        gradients=frame.assign(state=state, forecast=forecast),
        attribution=attribute(learned, _inputs(readings[0], windows, end), steps=steps),
        difference=difference,
        notes=tuple(filter(None, [*_notes(windows), _silence(learned)])),
        silence=_silence(learned),
    )


def _recomputed(
    network: Network, learned: Sequence[Weights], windows: Windows, end: int
) -> tuple[list[Reading], float]:
    """Read the window with each seed, and check the forecasts against those served."""
    window, ahead = windows.inputs(np.array([end])), windows.ahead(np.array([end]))
    readings = [read(one, standardised(one, window), ahead.astype(np.float64)) for one in learned]
    served = np.stack([reader(window, ahead) for reader in network.readers])
    came = np.stack([one.forecast for one in readings])
    difference = float(np.max(np.abs(came - served) / np.maximum(1.0, np.abs(served))))
    if not difference <= TOLERANCE:
        raise ModelError(
            f"The recomputed forecasts differ from the served ones by {difference:.1e}, at most "
            f"{TOLERANCE:g} was expected; train again, and if it comes back install the versions of "
            f"requirements.txt"
        )
    return readings, difference


def _state_gradients(reading: Reading) -> np.ndarray:
    weights = reading.weights
    return state_gradients(weights.cell, reading.scaled[..., weights.columns])[0]


def _inputs(reading: Reading, windows: Windows, end: int) -> Inputs:
    panel = windows.panel
    past = windows.ahead(np.flatnonzero(panel.code[: end + 1] == panel.code[end]))
    return Inputs(
        scaled=reading.scaled[0],
        ahead=reading.ahead[0],
        usual_ahead=past.mean(axis=0, dtype=np.float64),
        groups=tuple("trend" if name == SURPRISE else name.partition(".")[0] for name in panel.names),
        unit=float(panel.base_sigma[end]),
    )


def _events(history: History, symbol: str, frame: pd.DataFrame, known_by: np.datetime64) -> pd.DataFrame:
    """Place the symbol's events on the sessions that they moved; of one kind and session the first."""
    rows = history.events[history.events["known_at"] <= pd.Timestamp(known_by, tz="UTC")]
    rows = rows[(rows["symbol"] == symbol) & rows["kind"].isin(RELEASED)]
    exchange = history.instruments[symbol].exchange
    moved = moved_session(rows, exchange)
    calendar = np.append(all_sessions(exchange), np.datetime64("NaT"))
    placed = rows[["kind", "tone", "title"]].assign(session=calendar[moved])
    placed = placed.drop_duplicates(["session", "kind"])
    return frame.merge(placed, on="session")


def _summary(kind: str, states: States, frame: pd.DataFrame) -> pd.DataFrame:
    sizes = {name: values if name in SHARES else np.abs(values) for name, values in states.items()}
    share = kept_share(kind, states)
    if share is not None:
        sizes[KEPT] = share
    return pd.concat(
        [frame.assign(gate=name, **_spread(values)) for name, values in sizes.items()], ignore_index=True
    )


def _spread(values: np.ndarray) -> dict[str, np.ndarray]:
    """Summarise (seeds, steps, units) by step."""
    low, high = np.quantile(values, [LOW, HIGH], axis=(0, 2))
    return {"mean": values.mean(axis=(0, 2)), "low": low, "high": high}


def _units(states: States, frame: pd.DataFrame) -> pd.DataFrame:
    seeds, steps, units = states["hidden"].shape
    seed, step, unit = (place.ravel() for place in np.indices((seeds, steps, units)))
    place = {
        "seed": seed,
        "unit": unit,
        "session": frame["session"].to_numpy()[step],
        "lag": steps - 1 - step,
    }
    tables = [pd.DataFrame(place | {"gate": name, "value": one.ravel()}) for name, one in states.items()]
    return pd.concat(tables, ignore_index=True)


def _memory(kind: str, states: States) -> pd.DataFrame:
    if kind not in KEEPING:
        return pd.DataFrame(columns=["lag", "mean", "low", "high"])
    gate = states[KEEPING[kind]]
    return pd.DataFrame({"lag": np.arange(gate.shape[1]), **_spread(kept(gate))})


def _half_lives(kind: str, states: States) -> pd.DataFrame:
    if kind not in KEEPING:
        return pd.DataFrame(columns=["seed", "unit", "half_life"])
    lives = half_life(states[KEEPING[kind]])
    seed, unit = (place.ravel() for place in np.indices(lives.shape))
    return pd.DataFrame({"seed": seed, "unit": unit, "half_life": lives.ravel()})


def _notes(windows: Windows) -> list[str]:
    said = [
        "Contributions are those of this kind of network, its random starts pooled, before the pool with "
        "HARX and the calibration; they are measured from a window in which all inputs are as usual. The "
        "base volatility, the unit of the networks, is itself made of past moves and is not attributed.",
        "Not causal: it says what the network makes of its inputs, not what moved the price.",
    ]
    if SURPRISE in windows.panel.names:
        said.append("The memory of surprises counts as trend.")
    return said


def _silence(learned: Sequence[Weights]) -> str:
    silent = sum(not one.adds_something for one in learned)
    if not silent:
        return ""
    return (
        f"In {silent} of {len(learned)} networks training kept no correction to the linear part, which "
        f"forecasts alone there: their gates run, and change nothing."
    )
