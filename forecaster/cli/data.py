"""Commands about data: what is followed, fetched, imported, refused; and the state of the workspace."""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli.common import (
    DONE,
    FAILED,
    PARTLY,
    AsJson,
    Columns,
    Home,
    Symbols,
    app,
    listed,
    located,
    mapping,
    open_workspace,
    print_frame,
    print_json,
    records,
)
from forecaster.errors import DataError, RateLimited, SourceError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from forecaster.workspace import Workspace

LONG = 40
"""Symbols up to which a table shows them all."""

FromSource = Annotated[
    str | None,
    typer.Option(
        "--source",
        help="yahoo, tiingo or sample (default: where the stored prices come from).",
        show_default=False,
    ),
]
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
    source: FromSource = None,
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
    named, workspace = mapping(columns), open_workspace(home)
    before = workspace.watchlist
    outcomes = workspace.import_file(file, named, exchange, currency, replace)
    if "change" in outcomes:
        if not as_json:
            _tell_new(workspace, [symbol for symbol in workspace.watchlist if symbol not in before])
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


@watchlist.command("find")
def watchlist_find(
    words: Annotated[list[str], typer.Argument(help="A ticker, or words of a name.")],
    home: Home = None,
    source: FromSource = None,
    as_json: AsJson = False,
) -> None:
    """Find symbols by ticker or name, among those stored and those that the source knows."""
    import pandas as pd

    from forecaster.follow import find
    from forecaster.remedies import beyond

    workspace = open_workspace(home)
    found = find(workspace, " ".join(words), source)
    matches = [asdict(one) for one in found.matches]
    if as_json:
        print_json(matches)
    elif matches:
        print_frame(pd.DataFrame(matches), "Found")
    elif found.outcome == "ok":
        why = beyond(workspace.origin) if source is None else ""
        typer.echo(f"Nothing fits {' '.join(words)!r}. {located(why, home)}".rstrip())
    if found.outcome != "ok":
        raise (RateLimited if found.outcome == "rate_limited" else SourceError)(
            f"The search went wrong: {found.outcome}, {found.detail}; try again later"
        )


@watchlist.command("add")
def watchlist_add(
    symbols: list[str],
    home: Home = None,
    at_once: Annotated[
        bool, typer.Option("--now", help="Bring their prices and forecast them now, as a job.")
    ] = False,
    source: FromSource = None,
) -> None:
    """Add symbols; their prices come with the next update, or now."""
    workspace = open_workspace(home)
    if not at_once:
        if source is not None:
            raise UsageError("--source goes with --now: without it nothing is asked for")
        _add(workspace, symbols, home)
        return
    from forecaster.follow import follow
    from forecaster.jobs import recorded
    from forecaster.progress import for_terminal

    with recorded(workspace.home, sys.argv[1:], for_terminal()) as job:
        done = follow(workspace, symbols, source, job.progress)
        job.message = done.words
        job.exit_code = PARTLY if done.without or done.missing else DONE
    typer.echo(f"{done.words}.")
    raise typer.Exit(job.exit_code)


@watchlist.command("remove")
def watchlist_remove(symbols: list[str], home: Home = None) -> None:
    """Remove symbols; their prices stay stored."""
    workspace = open_workspace(home)
    gone, unknown = _parted(symbols, workspace.watchlist)
    if gone:
        workspace.watch(gone, watched=False)
        typer.echo(f"Off the watchlist: {', '.join(gone)}. What is stored stays.")
    if unknown:
        typer.echo(f"Not on the watchlist: {', '.join(unknown)}.")


def _tell_new(workspace: "Workspace", symbols: list[str]) -> None:
    """Say what came onto the watchlist, and what of it is too short for a forecast."""
    from forecaster.challenge import champion_recipe
    from forecaster.config import Recipe
    from forecaster.windows import WARM_UP

    if not symbols:
        return
    typer.echo(f"On the watchlist: {', '.join(symbols)}.")
    needed = (champion_recipe(workspace.store) or Recipe()).lookback + WARM_UP
    sessions = workspace.store.current("prices", where={"symbol": symbols})["symbol"].value_counts()
    if short := [f"{symbol} ({number})" for symbol, number in sessions.items() if number < needed]:
        typer.echo(f"Too few sessions for a forecast, which needs {needed}: {', '.join(sorted(short))}.")


def _add(workspace: "Workspace", symbols: list[str], home: Path | None) -> None:
    """Put symbols on the watchlist, and say where their prices come from."""
    from forecaster.remedies import beyond, can_bring, to_bring

    spans, source = workspace.store.spans(), workspace.origin
    known, new = _parted(symbols, workspace.watchlist)
    lacking = [symbol for symbol in new if symbol not in spans]
    if strange := [symbol for symbol in lacking if not can_bring([symbol], source)]:
        raise DataError(f"Nothing added: no prices of {', '.join(strange)} can come. {beyond(source)}")
    workspace.watch(new)
    if new:
        typer.echo(f"On the watchlist: {', '.join(new)}.")
    if known:
        typer.echo(f"On it before: {', '.join(known)}.")
    if lacking:
        typer.echo(f"No prices yet of {', '.join(lacking)}; {located(to_bring(lacking, source), home)}")


def _parted(symbols: list[str], watched: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Part symbols, as they are written, into those that are watched and those that are not."""
    from forecaster.instruments import normalise

    wanted = dict.fromkeys(normalise(symbol) for symbol in symbols)
    return [one for one in wanted if one in watched], [one for one in wanted if one not in watched]


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

    found = examine(open_workspace(home))
    findings = [replace(finding, remedy=located(finding.remedy, home)) for finding in found]
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
    # Then one line of the error tells it all.
    alike = len(outcomes) > 1 and failed.all() and outcomes["detail"].nunique() == 1
    telling = outcomes[failed | (outcomes["detail"] != "")]
    if as_json:
        print_json(records(outcomes))
    elif len(outcomes) <= LONG and not alike:
        print_frame(outcomes, "Outcomes")
    elif not alike:
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
    if alike:
        raise SourceError(
            f"None of {len(outcomes)} symbols arrived; {first['outcome']}: {first['detail']}; "
            f"give the same command again once that is mended"
        )
    raise SourceError(
        f"No symbol arrived; {first['symbol']}: {first['outcome']}, {first['detail']}; "
        f"check the symbols, the connection and --source"
    )
