"""The command line asked in a process of its own: what downloads or computes stays out of this one."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from forecaster.dashboard import reads

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Answer:
    """What a command said.

    Attributes
    ----------
    exit_code : int or None
        None if it was given up.
    output : str
    error : str
        Its last line on standard error, without the word error.
    """

    exit_code: int | None
    output: str
    error: str


def ask(*words: str, doing: str, longest: float) -> Answer:
    """Have the command line answer for the workspace shown here.

    Whoever leaves the page ends the command: Streamlit stops a script where it next draws, which is what
    the waiting does.

    Parameters
    ----------
    doing : str
        What is shown meanwhile.
    longest : float
        Seconds after which it is given up.
    """
    home = {"FORECASTER_HOME": str(reads.settings().home.resolve())}
    began, place = time.monotonic(), st.empty()
    process = subprocess.Popen(
        [sys.executable, "-m", "forecaster", *words], cwd=ROOT, env=os.environ | home,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip
    try:
        with st.spinner(doing, show_time=True):
            while (passed := time.monotonic() - began) < longest:
                try:
                    output, errors = process.communicate(timeout=0.5)
                    break
                except subprocess.TimeoutExpired:
                    place.empty()
            else:
                return Answer(None, "", f"No answer within {passed:.0f} s; the machine may be busy")
    finally:
        process.kill()
        process.wait()
    said = errors.strip().splitlines() or ["error: the command ended without a word"]
    return Answer(process.returncode, output, said[-1].removeprefix("error: "))
