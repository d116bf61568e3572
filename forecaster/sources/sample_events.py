"""Notable public events of the bundled sample's companies, read from ``data/sample``."""

from functools import cached_property

import pandas as pd

from forecaster.instruments import Instrument
from forecaster.sources import Outcome, Told
from forecaster.sources.event_files import read_events
from forecaster.sources.sample import FOLDER


class SampleEvents:
    """A few dozen events that ship with the project; see data/README.md for how they were chosen."""

    name = "sample"
    remote = False
    host = ""
    requests = 0

    @cached_property
    def _events(self) -> pd.DataFrame:
        return read_events(FOLDER / "notable_events.csv").assign(source=self.name)

    def tell(self, instrument: Instrument, asked_at: pd.Timestamp, since: pd.Timestamp | None = None) -> Told:
        rows = self._events[self._events["symbol"] == instrument.symbol]
        if rows.empty:
            return Told(instrument.symbol, Outcome.OK, detail="the sample tells no event of it")
        if since is not None:
            rows = rows[rows["known_at"] >= since]
        return Told(instrument.symbol, Outcome.OK, rows.reset_index(drop=True))
