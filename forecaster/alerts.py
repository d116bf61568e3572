"""Tell somebody that a run has failed: a command or an address of the user's choice."""

import os
import shlex
import subprocess
from datetime import datetime

from forecaster.config import Settings

SECONDS = 20
VARIABLE = "FORECASTER_FAILURE"


def alert(settings: Settings, command: str, error: str, moment: datetime) -> list[str]:
    """Run the command and call the address that the settings name.

    Parameters
    ----------
    command, error : str
        What failed, and how it was told.
    moment : datetime
        When, in UTC. The user's command finds the error in the variable ``FORECASTER_FAILURE``; the address
        is sent all three as JSON.

    Returns
    -------
    list of str
        What did not work: an alert that fails must not hide what it was about.
    """
    problems = []
    if settings.on_failure:
        try:
            subprocess.run(
                shlex.split(settings.on_failure),
                env=os.environ | {VARIABLE: error},
                timeout=SECONDS,
                check=True,
            )
        except (OSError, ValueError, subprocess.SubprocessError) as problem:
            problems.append(f"on_failure: {problem}")
    if settings.webhook:
        # Late: only a failure needs it.
        import requests

        try:
            failure = {"command": command, "error": error, "moment": moment.isoformat()}
            requests.post(settings.webhook, json=failure, timeout=SECONDS).raise_for_status()
        except requests.RequestException as problem:
            problems.append(f"webhook: {problem}")
    return problems
