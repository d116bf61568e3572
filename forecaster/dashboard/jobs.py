"""Retrainings: begin one in a process of its own, watch it, end it, and read what each run said."""

from collections.abc import Callable

import pandas as pd
import streamlit as st

from forecaster import jobs
from forecaster.dashboard import access, actions, reads
from forecaster.dashboard.texts import TWO_LINES, ago, command, count, hint, lasted, plain
from forecaster.jobs import Job
from forecaster.progress import span
from forecaster.schedule import Health, health
from forecaster.store import now

OFTEN = "2s"
"""How often a running job is looked at."""

LINES = 200
"""Last lines of a log that are shown."""

FEW = 12
"""Lines up to which a log is as high as its content."""

KINDS = {
    "light": ("Light retraining", "brings new prices, forecasts, settles earlier forecasts and calibrates"),
    "full": ("Full retraining", "also trains the networks, which takes longer"),
}


def section(found: list[Job]) -> None:
    """Draw the schedule, the buttons that begin a retraining, the jobs at work and those that have ended.

    Parameters
    ----------
    found : list of Job
        The workspace's, newest first.
    """
    st.subheader("Retraining", anchor=False)
    _schedule()
    _begin(found)
    follow(found)
    if not found:
        st.markdown("No job has run in this workspace yet.")
        return
    _past(found)
    _log(found)


def deciding(found: list[Job]) -> bool:
    """Say whether a job is at work that may change which version is served."""
    return any(job.running and job.command[0] in ("retrain", "models") for job in found)


def _schedule() -> None:
    found, moment = health(reads.settings().home), now()
    complaint = found.complaint(moment)
    if found.checked_at is None:
        st.markdown(
            f"No schedule runs in this workspace. To retrain after each session: `{command('schedule')}`"
        )
    elif complaint:
        st.warning(plain(complaint), icon=":material/schedule:")
    else:
        last = "no run yet"
        if found.last_ended_at is not None:
            last = f"the last run ended {ago(pd.Timestamp(found.last_ended_at), moment)}"
        st.markdown(f":material/schedule: The schedule is well: {_due(found)}; {last}.")


def _due(found: Health) -> str:
    if found.next_due is None:
        return "nothing here brings new sessions"
    return f"the next retraining is due at {found.next_due:%Y-%m-%d %H:%M} UTC"


def _begin(found: list[Job]) -> None:
    refusal = access.denied()
    reason = refusal or ("One retraining runs at a time" if deciding(found) else None)
    with st.container(horizontal=True, vertical_alignment="center"):
        for kind, (label, _) in KINDS.items():
            disabled = reason is not None
            if st.button(label, key=kind, icon=":material/play_arrow:", disabled=disabled, help=hint(reason)):
                st.session_state["job"] = actions.start("retrain", f"--{kind}")
                st.rerun()
    said = ". ".join(f"**{label}** {what}" for label, what in KINDS.values())
    st.caption(f"{said}. One retraining runs at a time, and goes on when this page is closed.")
    if refusal is not None:
        st.info(plain(refusal), icon=":material/lock:")


def follow(shown: list[Job], concerns: Callable[[Job], bool] = lambda job: True) -> None:
    """Draw the jobs at work, over and over; draw the page anew once one has begun or ended since.

    Parameters
    ----------
    shown : list of Job
        Those that the page tells of.
    concerns : callable, optional
        Says of a job whether the page tells of it; default: it tells of all.
    """
    access.fragment(run_every=OFTEN)(_at_work)(_states(shown), concerns)


def _states(shown: list[Job]) -> list[tuple[str, str]]:
    return [(job.id, job.state) for job in shown]


def _at_work(drawn: list[tuple[str, str]], concerns: Callable[[Job], bool]) -> None:
    found = [job for job in jobs.jobs(reads.settings().home) if concerns(job)]
    if _states(found) != drawn:
        st.rerun()
    for job in found:
        if job.running:
            with st.container(border=True):
                _progress(job)


def _progress(job: Job) -> None:
    """Draw how far a running job is, and the way to end it."""
    refusal = access.denied()
    left, right = st.columns([4, 1], vertical_alignment="center")
    with left:
        begun = ago(pd.Timestamp(job.started_at), now())
        st.markdown(f"**{plain(' '.join(job.command))}**, started {begun}: {plain(job.stage or 'starting')}")
    with right.popover(
        "Cancel", icon=":material/stop_circle:", key=f"ask {job.id}", width="stretch",
        disabled=refusal is not None, help=hint(refusal),
    ):  # fmt: skip
        st.markdown(
            "End this job? What has been decided stays decided."
            if job.command[0] == "models"
            else "End this job? The champion and the forecasts that stand stay as they are."
        )
        if st.button("End the job", key=f"end {job.id}", type="primary"):
            with st.spinner("Waiting for its end"):
                actions.cancel(job.id)
            st.rerun()
    ahead = "" if job.seconds_left is None else f", {span(job.seconds_left)} left in this stage"
    note = f"; {job.note}" if job.note else ""
    st.progress(
        min(job.done / job.total, 1.0) if job.total else 0.0,
        text=plain(f"{job.done} of {count(job.total, 'step')}{ahead}{note}"),
    )


def _past(found: list[Job]) -> None:
    st.subheader("Runs", anchor=False)
    text = st.column_config.TextColumn
    st.dataframe(
        pd.DataFrame([
            {
                "started_at": pd.Timestamp(job.started_at),
                "state": job.state,
                "command": " ".join(job.command),
                "took": _took(job),
                "stage": job.stage,
                "message": job.message,
                "id": job.id,
            }
            for job in found
        ]),
        hide_index=True, width="stretch", row_height=TWO_LINES, placeholder="–",
        alt="The jobs of this workspace, newest first",
        column_config={
            "started_at": st.column_config.DatetimeColumn(
                "Started, UTC", format="YYYY-MM-DD HH:mm", timezone="UTC", pinned=True
            ),
            "state": text("State", width=110),
            "command": text("Command"),
            "took": text("Took", alignment="right"),
            "stage": text("Last stage"),
            "message": text("Message", width="large"),
            "id": text("Job"),
        },
    )  # fmt: skip


def _took(job: Job) -> str | None:
    """Tell how long an ended job took; of one that died only its last words have a time."""
    return None if job.exit_code is None else lasted(pd.Timedelta(job.updated_at - job.started_at))


def _log(found: list[Job]) -> None:
    chosen = st.selectbox("Log of job", [job.id for job in found], key="job", bind="query-params")
    running = any(job.running for job in found if job.id == chosen)
    access.fragment(run_every=OFTEN if running else None)(_text)(chosen)


def _text(chosen: str) -> None:
    said = jobs.log(reads.settings().home, chosen)
    lines = said.splitlines()
    st.code(
        "\n".join(lines[-LINES:]) or "It has said nothing yet.",
        language=None,
        height=320 if lines[FEW:] else "content",
    )
    if len(lines) > LINES:
        st.caption(f"The last {LINES} of {len(lines)} lines.")
    st.download_button(
        "Download the log", said, f"{chosen}.txt", "text/plain", icon=":material/download:", on_click="ignore"
    )
