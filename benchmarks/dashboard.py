"""How fast the dashboard answers in a browser: its start, the page Today, and a change of symbol.

Run ``python benchmarks/dashboard.py --symbols 500 --years 10 --runs 5`` (the defaults). It makes up the rows
of prices, forecasts, scores and decisions in a temporary folder (or in ``--home``, where they are kept and
found again); nothing is trained. It needs Chromium on the PATH, and prints medians.

- Start: from the command to the first reply of the server, and from there to the first page drawn, with
  nothing cached.
- Today: from the navigation to the table drawn, with what the server has cached by then: in a browser that
  has never seen the dashboard and loads Streamlit's own scripts first, in one that has, and from the page
  Method. Beside it a page of Streamlit's with one table and nothing else, in a browser of the first kind.
- Change of symbol: on the page Forecast, from the choice to the heading, the chart and the tables drawn; of
  symbols that were not looked at before.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from playwright.sync_api import Browser, Page, sync_playwright
from scipy import stats

from forecaster.config import Recipe
from forecaster.models import LAST_PRICE, SERVED
from forecaster.sessions import all_sessions, last_complete, next_sessions
from forecaster.store import Store, now
from forecaster.tables import QUANTILE_COLUMNS, QUANTILES, TABLES

ROOT = Path(__file__).resolve().parents[1]
YEAR, STEPS, ISSUES, BATCH = 252, 20, 21, 25
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 120_000
DRAWN = """() => {
    const grid = document.querySelector('[data-testid=stDataFrame] canvas');
    if (!grid || !grid.width) return false;
    const row = grid.getContext('2d').getImageData(0, grid.height / 2, grid.width / 2, 40).data;
    const pixels = new Set(new Uint32Array(row.buffer));
    return pixels.size > 20;
}"""
"""Whether rows of the table are painted: letters have many shades, an empty grid has two."""

BARE = (
    "import pandas, streamlit; streamlit.dataframe(pandas.DataFrame({'letters': [*'abcdefghijklmnop'] * 9}))"
)
"""A page of which the browser draws a table as it draws that of Today."""

VERSION = "1"


def make(home: Path, count: int, years: int) -> None:
    """Fill a store as a service of ten years would have: prices by batch, forecasts by day."""
    store, moment, draw = Store(home / "store"), now(), np.random.default_rng(1)
    symbols = [f"S{at:03d}" for at in range(count)]
    known = all_sessions("XNYS")
    days = known[known <= last_complete("XNYS", moment, 30).to_datetime64()][-YEAR * years :]
    close = 100 * np.exp(np.cumsum(draw.normal(0, 0.01, (count, len(days))), axis=1))
    for begin in range(0, count, BATCH):
        part = symbols[begin : begin + BATCH]
        walk = close[begin : begin + BATCH].ravel()
        bars = pd.DataFrame({"symbol": np.repeat(part, len(days)), "session": np.tile(days, len(part))})
        bars = bars.assign(open=walk, high=1.01 * walk, low=0.99 * walk, close=walk, adj_close=walk)
        told = {"volume": 1e6, "currency": "USD", "source": "yahoo", "tells_actions": True}
        store.append("prices", bars.assign(**told, fetched_at=moment))
    named = pd.DataFrame({"symbol": symbols, "name": [f"Company {symbol}" for symbol in symbols]})
    place = {"exchange": "XNYS", "timezone": "America/New_York", "currency": "USD", "type": "EQUITY"}
    store.append("instruments", named.assign(**place, fetched_at=moment))
    store.append("watchlist", named[["symbol"]].assign(watched=True, recorded_at=moment))
    asked = {"source": "yahoo", "outcome": "ok", "rows": 1, "detail": "", "change": "same"}
    store.append("updates", named[["symbol"]].assign(**asked, recorded_at=moment, started_at=moment))
    due = moment + pd.to_timedelta(draw.integers(1, 90, count), unit="D")
    plan = {"kind": "results_scheduled", "tone": np.nan, "magnitude": 1.0, "title": "", "url": ""}
    plan |= {"source": "yahoo", "known_at": moment, "fetched_at": moment}
    store.append("events", named[["symbol"]].assign(**plan, happened_at=due))
    recipe = Recipe()
    for back in range(ISSUES, 0, -1):
        rows = _forecasts(symbols, days[-back], close[:, -back], draw)
        issued = {"version": VERSION, "recipe_hash": recipe.hash, "store_version": 0, "doubt": ""}
        issued |= {"adjustment": 1.0, "issued_at": moment - pd.Timedelta(days=back)}
        store.append("forecasts", rows.assign(**issued))
    _evidence(store, recipe, symbols, str(pd.Timestamp(days[-1]).date()), moment)
    store.compact()


def _forecasts(
    symbols: list[str], cutoff: np.datetime64, base: np.ndarray, draw: np.random.Generator
) -> pd.DataFrame:
    ahead = next_sessions("XNYS", pd.Timestamp(cutoff), STEPS)
    rows = pd.DataFrame({"symbol": np.repeat(symbols, STEPS), "session": np.tile(ahead, len(symbols))})
    step = np.tile(np.arange(1, STEPS + 1), len(symbols))
    sigma = 0.01 * np.sqrt(step) * np.repeat(draw.uniform(0.5, 2, len(symbols)), STEPS)
    law = stats.t(5, 0.0, sigma * np.sqrt(3 / 5))
    rows = rows.assign(step=step, cutoff=cutoff, base_price=np.repeat(base, STEPS), family="student_t")
    rows = rows.assign(mean=0.0, sigma=sigma, df=5.0, prob_up=0.5)
    levels = zip(QUANTILE_COLUMNS, QUANTILES, strict=True)
    rows = rows.assign(**{name: law.ppf(level) for name, level in levels})
    return pd.concat([rows.assign(model=name) for name in (SERVED, LAST_PRICE)])


def _evidence(store: Store, recipe: Recipe, symbols: list[str], last: str, moment: pd.Timestamp) -> None:
    card = {"recipe": recipe.model_dump(mode="json"), "recipe_hash": recipe.hash, "universe": symbols}
    card |= {"trained_until": last, "packages": {}, "files": {}}
    said = {"version": VERSION, "alias": "champion", "reason": "first champion: there was none"}
    said |= {"verdict": "Made up.", "card": json.dumps(card), "decided_at": moment, "evidence": "{}"}
    store.append("decisions", pd.DataFrame([said]))
    schema = TABLES["scores"].schema
    rows = pd.DataFrame({"step": np.repeat([1, 5, 10, 20], 2), "model": [SERVED, LAST_PRICE] * 4})
    rows = rows.assign(**{name: 0.1 for name in schema.names if str(schema.field(name).type) == "double"})
    rows = rows.assign(forecasts=1000, dates=1000, in_confidence_set=True, is_best=rows["model"] == SERVED)
    rows = rows.assign(best_classical="harx", first_cutoff=pd.Timestamp("2020-01-02"), version=VERSION)
    store.append("scores", rows.assign(last_cutoff=pd.Timestamp("2024-12-31"), recorded_at=moment))


def dashboard(home: Path) -> list[str]:
    """Return the command that serves the dashboard of a workspace, but for its port."""
    return ["forecaster", "dashboard", "--home", str(home), "--port"]


def bare(folder: Path) -> list[str]:
    """Return the command that serves a page of Streamlit's alone, but for its port."""
    script = folder / "bare.py"
    script.write_text(BARE)
    return ["streamlit", "run", str(script), "--server.headless=true", "--server.port"]


@contextmanager
def served(command: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Serve as a user does; yields the address and the seconds to the first reply."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begun = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", *command, str(port)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        while not _answers(f"{address}/_stcore/health"):
            if server.poll() is not None:
                raise SystemExit(f"{command[0]} ended at once")
            time.sleep(0.02)
        yield address, time.perf_counter() - begun
    finally:
        server.terminate()
        server.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def tab(browser: Browser) -> Iterator[Page]:
    """Open a new tab without a cache of its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    yield page
    context.close()


def drawn(page: Page, address: str) -> float:
    """Seconds from the navigation to the table drawn."""
    begun = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_function(DRAWN, polling=10)
    return time.perf_counter() - begun


def new(browser: Browser, address: str) -> float:
    """Seconds to the table drawn in a browser that has seen nothing of it."""
    with tab(browser) as page:
        return drawn(page, address)


def reloads(browser: Browser, address: str, count: int) -> list[float]:
    """Seconds to the table drawn in a browser that has seen it."""
    with tab(browser) as page:
        return [drawn(page, address) for _ in range(count + 1)][1:]


def turns(browser: Browser, address: str, count: int) -> list[float]:
    """Seconds from another page of the dashboard to the table drawn."""
    taken = []
    with tab(browser) as page:
        drawn(page, address)
        for _ in range(count):
            page.get_by_role("link", name="Method").first.click()
            page.get_by_role("heading", name="Method").wait_for()
            page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
            begun = time.perf_counter()
            page.get_by_role("link", name="Today").first.click()
            page.wait_for_function(DRAWN, polling=10)
            taken.append(time.perf_counter() - begun)
    return taken


def changes(browser: Browser, address: str, symbols: list[str]) -> list[float]:
    """Seconds of each change of symbol."""
    taken = []
    with tab(browser) as page:
        page.goto(f"{address}/forecast")
        _still(page)
        for symbol in symbols:
            page.get_by_role("combobox").first.click()
            page.get_by_role("combobox").first.fill(symbol)
            option = page.get_by_role("option", name=symbol)
            option.wait_for()
            begun = time.perf_counter()
            option.click()
            page.get_by_role("heading", name=f"Company {symbol} ({symbol})").wait_for()
            _still(page)
            taken.append(time.perf_counter() - begun)
    return taken


def _still(page: Page) -> None:
    page.locator("[data-testid=stApp][data-test-script-state=notRunning] .js-plotly-plot").first.wait_for()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How fast the dashboard answers in a browser.")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--years", type=int, default=10)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--home", type=Path, help="kept, and found again")
    options = parser.parse_args()
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise SystemExit(f"no Chromium: none of {', '.join(BROWSERS)} is on the PATH")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = options.home or Path(folder)
        if not (home / "store").exists():
            make(home, options.symbols, options.years)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        found: dict[str, list[float]] = {}
        for _ in range(options.runs):
            with served(dashboard(home)) as (address, started):
                found.setdefault("start, first reply", []).append(started)
                found.setdefault("Today, first page of all", []).append(new(browser, address))
        with served(dashboard(home)) as (address, _), served(bare(Path(folder))) as (plain, _):
            new(browser, address)
            new(browser, plain)
            pairs = [(new(browser, address), new(browser, plain)) for _ in range(options.runs)]
            found["Today, new browser"] = [mine for mine, _ in pairs]
            found["Streamlit alone, new browser"] = [alone for _, alone in pairs]
            found["Today, reloaded"] = reloads(browser, address, options.runs)
            found["Today, from another page"] = turns(browser, address, options.runs)
            wanted = [f"S{at:03d}" for at in range(1, options.runs + 2)]
            found["change of symbol"] = changes(browser, address, wanted)[1:]
        browser.close()
    print(f"{options.symbols} symbols, {options.years} years; seconds, median and slowest of {options.runs}")
    for name, taken in found.items():
        print(f"{name:30} {median(taken):6.2f} {max(taken):6.2f}")


if __name__ == "__main__":
    main()
