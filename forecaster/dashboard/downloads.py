"""Rows to take away: CSV and JSON, laid out only when they are asked for."""

import json
from collections.abc import Callable
from functools import partial

import pandas as pd
import streamlit as st

DAYS = ("cutoff", "session", "last_session", "next_session")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes for the beginning of a formula; see OWASP on CSV injection."""


def offer(name: str, rows: Callable[[], pd.DataFrame], words: str) -> None:
    """Draw a button for CSV and one for JSON.

    Parameters
    ----------
    name : str
        Of the file, without its ending; also the key of the buttons.
    rows : callable
        Returns the rows; called in a thread of its own, so that it must not draw anything.
    words : str
        What the rows are, as it stands on the buttons before the format.
    """
    with st.container(horizontal=True):
        for ending, mime, write in (("csv", "text/csv", as_csv), ("json", "application/json", as_json)):
            st.download_button(
                f"{words}, {ending.upper()}",
                partial(_laid_out, write, rows),
                file_name=f"{name}.{ending}",
                mime=mime,
                key=f"{name}-{ending}",
                on_click="ignore",
                icon=":material/download:",
            )


def offer_whole(name: str, content: Callable[[], object], words: str) -> None:
    """Draw a button for a document as JSON, laid out as the command line prints it; see `offer`."""
    st.download_button(
        f"{words}, JSON",
        lambda: json.dumps(content(), indent=2) + "\n",
        file_name=f"{name}.json",
        mime="application/json",
        key=f"{name}-whole",
        on_click="ignore",
        icon=":material/download:",
    )


def as_csv(rows: pd.DataFrame) -> str:
    """Write rows as CSV; before a text that a spreadsheet would compute goes an apostrophe."""
    texts = rows.select_dtypes(exclude=["number", "bool", "datetime", "datetimetz"]).map(_inert)
    return _with_days(rows.assign(**texts)).to_csv(index=False, lineterminator="\r\n")


def as_json(rows: pd.DataFrame) -> str:
    """Write rows as a JSON list; what is not known is null."""
    return _with_days(rows).to_json(orient="records", date_format="iso", double_precision=12)


def _laid_out(write: Callable[[pd.DataFrame], str], rows: Callable[[], pd.DataFrame]) -> str:
    return write(rows())


def _inert(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def _with_days(rows: pd.DataFrame) -> pd.DataFrame:
    """Write days without a time of day."""
    return rows.assign(**{name: rows[name].dt.strftime("%Y-%m-%d") for name in DAYS if name in rows})
