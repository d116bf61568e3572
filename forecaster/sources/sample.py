"""The bundled sample: six US large caps, 2013 to 2023, read from ``data/sample``."""

from functools import cached_property
from pathlib import Path

import pandas as pd

from forecaster.errors import SourceError
from forecaster.instruments import Instrument
from forecaster.sources import BAR_COLUMNS, Fetched, Outcome, Searched, fitting

FOLDER = Path(__file__).resolve().parents[2] / "data" / "sample"


class SampleSource:
    """Real daily bars that ship with the project; see data/README.md for origin and licence."""

    name = "sample"
    remote = False

    @cached_property
    def _bars(self) -> pd.DataFrame:
        frame = pd.read_parquet(self._file("prices.parquet"))
        return frame.assign(session=frame["session"].astype("datetime64[ns]"))

    @cached_property
    def _instruments(self) -> dict[str, Instrument]:
        rows = pd.read_csv(self._file("instruments.csv")).to_dict("records")
        return {row["symbol"]: Instrument(**{str(key): value for key, value in row.items()}) for row in rows}

    def symbols(self) -> tuple[str, ...]:
        return tuple(self._instruments)

    def fetch(self, symbol: str, start: pd.Timestamp | None = None) -> Fetched:
        if symbol not in self._instruments:
            return Fetched(
                symbol, Outcome.GONE, detail=f"the sample holds only {', '.join(self._instruments)}"
            )
        bars = self._bars[self._bars["symbol"] == symbol]
        if start is not None:
            bars = bars[bars["session"] >= start]
        return Fetched(
            symbol,
            Outcome.OK,
            bars=bars[list(BAR_COLUMNS)].reset_index(drop=True),
            instrument=self._instruments[symbol],
        )

    def search(self, words: str) -> Searched:
        return Searched(Outcome.OK, fitting(words, self._instruments.values()))

    @staticmethod
    def _file(name: str) -> Path:
        path = FOLDER / name
        if not path.is_file():
            raise SourceError(
                f"The bundled sample lacks {path.name}; rebuild it: python data/sample/build.py"
            )
        return path
