"""Pull a panel of large companies from Yahoo, as ``benchmarks/panel.py`` reads it.

Run ``python benchmarks/pull.py prices.parquet``; at one request in two seconds it takes about a
minute. Yahoo's prices are for personal use, and change a little with every dividend since, so the
figures will be like the README's and not the same.
"""

import argparse
import tempfile
from pathlib import Path

import forecaster as fc
from forecaster.progress import for_terminal

SYMBOLS = [
    "AAPL", "AMZN", "CAT", "COST", "CSCO", "DIS", "GE", "GOOGL", "HD", "INTC", "JNJ", "JPM", "KHC", "KO",
    "MCD", "MMM", "MRK", "MSFT", "NKE", "NVDA", "ORCL", "PEP", "PFE", "PG", "TXN", "UNH", "V", "WMT", "XOM",
]  # fmt: skip
LAST = "2026-01-06"


def main() -> None:
    """Fetch, adjust for splits and dividends, and write one long file."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("out", type=Path)
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as home:
        workspace = fc.Workspace(home, fc.Settings(start="2010-01-01"))
        print(workspace.update(SYMBOLS, "yahoo", for_terminal())[["symbol", "outcome", "rows", "detail"]])
        prices = workspace.history(as_of=LAST).prices
    columns = ["session", "symbol", "open", "high", "low", "close", "adj_close", "volume"]
    prices[columns].rename(columns={"session": "date"}).to_parquet(given.out, index=False)


if __name__ == "__main__":
    main()
