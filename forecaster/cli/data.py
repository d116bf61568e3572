"""Commands about data: what is followed, fetched, imported, refused; and the state of the workspace."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli.common import (
    FAILED,
    PARTLY,
    AsJson,
    Columns,
    Home,
    Symbols,
    app,
    listed,
    mapping,
    open_workspace,
    print_frame,
    print_json,
    records,
)
from forecaster.errors import RateLimited, SourceError, UsageError

if TYPE_CHECKING:
    import pandas as pd

LONG = 40
"""Symbols up to which a table shows them all."""

Replace = Annotated[
    bool, typer.Option("--replace", help="Bring all anew; where it differs, take it for what is stored.")
]

watchlist = typer.Typer(help="Symbols that are kept up to date and forecast.")
quarantine = typer.Typer(help="Rows that were refused, with the reasons.")
events = typer.Typer(help="Company events and announced dates.")
app.add_typer(events, name="events")


@app.command()
def update(
    symbols: Symbols = None,
    home: Home = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="yahoo, tiingo or sample (default: where the stored prices come from).", show_default=False
        ),
    ] = None,
    replace: Replace = False,
    event_sources: Annotated[
        str | None,
        typer.Option(
            "--events",
            help="yahoo, news, filings, sample; separated by commas; or none (default: by the settings).",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch prices and events and append what is new; safe to repeat, and goes on after a stop."""
    from forecaster.progress import for_terminal
    from forecaster.store import now

    workspace, begun = open_workspace(home), now()
    named = None if event_sources is None else listed(event_sources)
    if named is not None and "none" in named:
        if len(named) > 1:
            raise UsageError(f"--events: none stands alone, got {event_sources}")
        named = ()
    outcomes = workspace.update(symbols, source, for_terminal(), replace, named)
    told = workspace.event_outcomes()
    _report_outcomes(outcomes, as_json, told[told["recorded_at"] >= begun])


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet file, or a folder of them.")],
    home: Home = None,
    columns: Columns = None,
    exchange: Annotated[str, typer.Option(help="Market identifier code of the exchange.")] = "XNYS",
    currency: Annotated[
        str | None,
        typer.Option(help="Of the prices (default: USD in New York, else blank).", show_default=False),
    ] = None,
    replace: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Take prices or company events from a file, whole or not at all; its columns tell which it holds."""
    named = mapping(columns)
    outcomes = open_workspace(home).import_file(file, named, exchange, currency, replace)
    if "change" in outcomes:
        _report_outcomes(outcomes, as_json)
    elif as_json:
        print_json(records(outcomes))
    else:
        typer.echo(f"{file.name}: {outcomes['rows'].sum()} new events of {len(outcomes)} symbols.")


@watchlist.command("list")
def watchlist_list(home: Home = None, as_json: AsJson = False) -> None:
    """Print the watchlist."""
    symbols = open_workspace(home).watchlist
    if as_json:
        print_json(list(symbols))
    else:
        typer.echo("\n".join(symbols) if symbols else "The watchlist is empty.")


@watchlist.command("add")
def watchlist_add(symbols: list[str], home: Home = None) -> None:
    """Add symbols; their prices come with the next update."""
    open_workspace(home).watch(symbols)


@watchlist.command("remove")
def watchlist_remove(symbols: list[str], home: Home = None) -> None:
    """Remove symbols; their prices stay stored."""
    open_workspace(home).watch(symbols, watched=False)


@quarantine.command("list")
def quarantine_list(
    symbols: Annotated[
        list[str] | None, typer.Argument(help="Symbols (default: all).", show_default=False)
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Print the rows that stand in quarantine, and why."""
    rows = open_workspace(home).quarantined(symbols).drop(columns="status")
    if as_json:
        print_json(records(rows))
    elif rows.empty:
        typer.echo("Nothing in quarantine.")
    else:
        rows = rows.assign(session=rows["session"].dt.date, fetched_at=rows["fetched_at"].dt.floor("s"))
        shown = ["symbol", "session", "open", "high", "low", "close", "volume", "reason", "fetched_at"]
        print_frame(rows[shown], "Quarantine")


@quarantine.command("release")
def quarantine_release(
    symbol: str,
    sessions: Annotated[
        list[str] | None, typer.Argument(help="Sessions YYYY-MM-DD (default: all).", show_default=False)
    ] = None,
    home: Home = None,
) -> None:
    """Take refused rows of a symbol into its prices, on your word that they are right."""
    released = open_workspace(home).release(symbol, sessions)
    days = ", ".join(str(day.date()) for day in released["session"])
    typer.echo(f"{released['symbol'].iloc[0]}: released {days}.")


@events.command("list")
def events_list(
    symbol: Annotated[str | None, typer.Argument(help="Symbol (default: all).", show_default=False)] = None,
    kind: Annotated[str | None, typer.Option(help="Such as results.", show_default=False)] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Print the stored events and announced dates; those known last come first."""
    from forecaster.events import KINDS

    if kind is not None and kind not in KINDS:
        raise UsageError(f"No kind {kind!r}; choose one of {', '.join(KINDS)}")
    rows = open_workspace(home).events(symbol)
    rows = rows if kind is None else rows[rows["kind"] == kind]
    if as_json:
        print_json(records(rows))
    elif rows.empty:
        of = "".join([f" of {symbol}" if symbol else "", f" of kind {kind}" if kind else ""])
        typer.echo(f"No events{of} stored.")
    else:
        shown = rows[["symbol", "kind", "happened_at", "known_at", "tone", "magnitude", "title", "source"]]
        moments = {name: shown[name].dt.strftime("%Y-%m-%d %H:%M") for name in ("happened_at", "known_at")}
        numbers = {name: shown[name].map("{:.2f}".format) for name in ("tone", "magnitude")}
        part = f"{min(LONG, len(rows))} of {len(rows)}, times in UTC"
        print_frame(shown.assign(**moments, **numbers).replace("nan", "").head(LONG), f"Events, {part}")


@app.command()
def doctor(home: Home = None, as_json: AsJson = False) -> None:
    """Check the workspace: tables, columns, gaps, quarantine, stale symbols, clock, disk."""
    import pandas as pd

    from forecaster.doctor import CHECKS, examine

    findings = examine(open_workspace(home))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    elif findings:
        print_frame(pd.DataFrame([asdict(finding) for finding in findings]), "Findings")
    else:
        typer.echo(f"Nothing to mend: {', '.join(CHECKS)} are in order.")
    if any(finding.level == "fault" for finding in findings):
        raise typer.Exit(FAILED)


def _print_events(outcomes: "pd.DataFrame") -> None:
    """Print how each source of events went; one that fails costs no price, and no exit code."""
    import pandas as pd

    lines = []
    for source, rows in outcomes.groupby("source"):
        failed = rows[~rows["outcome"].isin(["ok", "gone"])]
        first = [f"{row.symbol}: {row.outcome}, {row.detail}" for row in failed.head(1).itertuples()]
        lines.append((source, len(rows), len(failed), rows["rows"].sum(), *(first or [""])))
    columns = ["source", "symbols", "failed", "new events", "first failure"]
    print_frame(pd.DataFrame(lines, columns=columns), "Events")


def _report_outcomes(
    outcomes: "pd.DataFrame", as_json: bool, of_events: "pd.DataFrame | None" = None
) -> None:
    arrived = outcomes["outcome"] == "ok"
    # A symbol that is known to be gone is not asked for: it is told, and is no failure of this run.
    failed = ~arrived & ~((outcomes["outcome"] == "gone") & (outcomes["change"] == "not asked"))
    if as_json:
        print_json(records(outcomes))
    elif len(outcomes) <= LONG:
        print_frame(outcomes, "Outcomes")
    else:
        telling = outcomes[failed | (outcomes["detail"] != "")]
        print_frame(telling, f"Outcomes: {arrived.sum()} of {len(outcomes)} symbols ok; those with a remark")
    if of_events is not None and len(of_events) and not as_json:
        _print_events(of_events)
    limited = outcomes["outcome"] == "rate_limited"
    if limited.any():
        raise RateLimited(
            f"{outcomes.loc[limited, 'detail'].iloc[0]}: {limited.sum()} of {len(outcomes)} symbols are "
            f"left; give the same command later, it goes on with them"
        )
    if not failed.any():
        return
    if arrived.any():
        raise typer.Exit(PARTLY)
    first = outcomes[failed].iloc[0]
    raise SourceError(
        f"No symbol arrived; {first['symbol']}: {first['outcome']}, {first['detail']}; "
        f"check the symbols, the connection and --source"
    )
