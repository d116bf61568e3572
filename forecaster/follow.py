"""Following a symbol: found by name or ticker, then brought, put on the watchlist and forecast at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from forecaster.decisions import CHAMPION, holder
from forecaster.errors import RateLimited, SourceError
from forecaster.instruments import described, normalise
from forecaster.progress import Progress, silent
from forecaster.remedies import FILES
from forecaster.retrain import issue_each
from forecaster.sources import Outcome, Searched, Source, fitting
from forecaster.workspace import Workspace

PATIENCE = 600.0
"""Seconds to wait for another update of the workspace, as one symbol may be added while another is."""


@dataclass(frozen=True)
class Followed:
    """What became of the symbols that were to be followed.

    Attributes
    ----------
    forecast : tuple of str
        On the watchlist, with a forecast.
    without : dict
        On the watchlist as well -> why there is no forecast.
    missing : dict
        Symbol that did not arrive, and is not on the watchlist -> why.
    """

    forecast: tuple[str, ...] = ()
    without: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """All that in a line."""
        parts = [f"{', '.join(self.forecast)}: on the watchlist and forecast"] if self.forecast else []
        parts += [f"{one}: on the watchlist without a forecast, {why}" for one, why in self.without.items()]
        parts += [f"{one}: not added, {why}" for one, why in self.missing.items()]
        return "; ".join(parts)


def find(workspace: Workspace, words: str, source: str | Source | None = None) -> Searched:
    """Find symbols by ticker or name: those that are stored, then those that the source knows.

    Parameters
    ----------
    source : str or Source, optional
        Default: where the stored prices come from; with prices from files alone only these are searched.
    """
    stored = described(workspace.store.current("instruments"))
    held = fitting(words, stored.values())
    if source is None and workspace.origin == FILES:
        return Searched(Outcome.OK, held)
    told = workspace.price_source(source).search(words)
    return replace(told, matches=(*held, *(one for one in told.matches if one.symbol not in stored)))


def follow(
    workspace: Workspace,
    symbols: Sequence[str],
    source: str | Source | None = None,
    progress: Progress = silent,
) -> Followed:
    """Bring the prices of symbols, put them on the watchlist and forecast them with the champion.

    Nothing is trained: one model serves every symbol. What was imported from files is taken as it is
    stored.

    Raises
    ------
    RateLimited, SourceError
        If no symbol arrived.
    Locked
        If an update of this workspace is running, and goes on for longer than `PATIENCE`.
    """
    wanted = list(dict.fromkeys(map(normalise, symbols)))
    spans = workspace.store.spans()
    arrived = [one for one in wanted if one in spans and spans[one].source == FILES]
    workspace.watch(arrived)
    missing = {}
    if asked := [one for one in wanted if one not in arrived]:
        outcomes = workspace.update(asked, source, progress, patience=PATIENCE).set_index("symbol").loc[asked]
        is_here = outcomes["outcome"] == Outcome.OK
        arrived = [*arrived, *outcomes.index[is_here]]
        failed = outcomes[~is_here]
        missing = {
            one: f"{failed['outcome'][one]}, {failed['detail'][one]}" for one in map(str, failed.index)
        }
        if not arrived:
            is_limited = (outcomes["outcome"] == Outcome.RATE_LIMITED).any()
            said = "; ".join(f"{one}: {why}" for one, why in missing.items())
            raise (RateLimited if is_limited else SourceError)(f"No symbol arrived; {said}")
    if holder(workspace.store, CHAMPION) is None:
        without = dict.fromkeys(arrived, "there is no model yet: python -m forecaster train")
    else:
        without = issue_each(workspace, arrived, progress, observed=False)
    return Followed(tuple(one for one in arrived if one not in without), without, missing)
