"""The command that looks inside a network."""

from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli.common import (
    AsJson,
    Home,
    app,
    open_workspace,
    print_frame,
    print_json,
)
from forecaster.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from forecaster.explain.inside import Inside

SHOWN_LAGS = (0, 1, 2, 3, 5, 10, 20, 40, 60, 100)
"""Sessions back at which the tables show memory and gradients."""


@app.command()
def explain(
    symbol: Annotated[str, typer.Argument(help="A stored symbol.")],
    home: Home = None,
    cell: Annotated[
        str | None,
        typer.Option("--cell", help="lstm, gru or rnn (default: the model's first).", show_default=False),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            help="Session YYYY-MM-DD on which the window ends; the weights may have learned from later ones.",
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Model version (default: the champion).", show_default=False)
    ] = None,
    as_json: AsJson = False,
    units: Annotated[
        bool, typer.Option("--units", help="With --json: the values of every single unit as well.")
    ] = False,
) -> None:
    """Print what a network forgets and keeps over its window, and what its forecast rests on."""
    if units and not as_json:
        raise UsageError("--units goes with --json")
    found = open_workspace(home).explain(symbol, cell, as_of, version)
    if as_json:
        from forecaster.explain.inside import laid_out

        print_json(laid_out(found, units))
        return
    title = f"{found.symbol}, {found.cell}, {found.seeds} random starts, version {found.version}"
    print_frame(_by_session(found), f"{title}: mean of the gates, mean size of the states")
    if len(found.half_lives):
        lives = found.half_lives["half_life"].describe(percentiles=[0.1, 0.5, 0.9]).drop(["count", "std"])
        row = lives.map("{:.1f}".format).to_frame().T.rename(columns={"50%": "median"})
        print_frame(row, "Half-life of a unit's memory, sessions")
    print_frame(_by_lag(found), "By sessions back: kept share, gradient norms, contributions to sigma in %")
    print_frame(_by_group(found), "Contributions to the forecast log return, %")
    for note in found.notes:
        typer.echo(note)


def _by_session(found: "Inside") -> "pd.DataFrame":
    shown = found.sessions.assign(
        session=found.sessions["session"].dt.date,
        log_return=[f"{100 * one:+.2f} %" for one in found.sessions["log_return"]],
        move=found.sessions["move"].map("{:+.1f}".format),
    ).set_index("lag")
    means = found.gates.pivot(index="lag", columns="gate", values="mean").map("{:.3f}".format)
    order = found.gates["gate"].unique()
    events = found.events.groupby("lag")["kind"].agg(", ".join).rename("events")
    table = shown.join(means[order]).join(events).fillna({"events": ""})
    return table.rename(columns={"move": "in_volatilities"})


def _by_lag(found: "Inside") -> "pd.DataFrame":
    parts = found.attribution.contributions
    sigma = parts[(parts["target"] == "sigma") & (parts["step"] == 1)]
    by_group = 100 * sigma.pivot(index="lag", columns="group", values="value")
    table = found.gradients.set_index("lag").drop(columns="session").join(by_group)
    if len(found.memory):
        table = found.memory.set_index("lag")[["mean"]].rename(columns={"mean": "kept"}).join(table)
    table = table[table.index.isin(SHOWN_LAGS)].sort_index()
    return (
        table.rename(columns={"state": "state_gradient", "forecast": "forecast_gradient"})
        .map("{:.4g}".format)
        .reset_index()
    )


def _by_group(found: "Inside") -> "pd.DataFrame":
    key = ["target", "step"]
    by_group = found.attribution.groups.pivot(index=key, columns="group", values="value")
    totals = found.attribution.totals.set_index(key)
    table = (
        totals[["usual"]].join(by_group[found.attribution.groups["group"].unique()]).join(totals["forecast"])
    )
    return (100 * table).map("{:+.3f}".format).reset_index()
