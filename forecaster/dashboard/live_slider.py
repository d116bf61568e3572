"""A slider that tells its value while it is moved; Streamlit's own tells it once it is let go.

Where the slider stands in the browser is the truth, and the page and its address follow. One message is under
way at a time: the next is sent when the page has drawn the one before, so that a slow machine skips values
instead of falling behind. Messages are numbered, so that what the page drew of an older one, or with an older
address, is never taken for a wish of the user; going back and forward the browser tells by itself. Where
another change of the address has dropped the value, it is told again.
"""

from collections.abc import Sequence
from typing import Any

import streamlit as st

HTML = """
<div class="slider">
  <label for="range"></label><output for="range"></output><input id="range" type="range">
</div>
"""

CSS = """
.slider { visibility: hidden; display: grid; grid-template-columns: 1fr auto; font: 0.875rem var(--st-font);
        color: var(--st-text-color); gap: 0 0.5rem; }
.ready { visibility: visible; }
output { font-variant-numeric: tabular-nums; font-weight: 600; }
input { grid-column: 1 / 3; width: 100%; height: 2rem; margin: 0; accent-color: var(--st-primary-color);
        touch-action: pan-y; cursor: pointer; }
input:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: -2px; border-radius: 4px; }
input:disabled { cursor: not-allowed; }
.slider:has(input:disabled) { opacity: 0.55; }
"""

JS = """
const PATIENCE = 3000;

export default function ({ data, parentElement, setStateValue }) {
  const input = parentElement.querySelector("input");
  const alike = (one, other) => Math.abs(one - other) < data.step / 2;
  const addressed = () => {
    const said = Number(new URLSearchParams(location.search).get(data.name) ?? data.neutral);
    return data.low <= said && said <= data.high ? said : data.neutral;
  };
  const say = () => {
    const value = Number(input.value), sign = value > 0 ? "+" : value < 0 ? "\u2212" : "";
    const text = data.words[value - data.low] ?? sign + Math.abs(value).toFixed(data.digits) + data.unit;
    parentElement.querySelector("output").textContent = text;
    input.setAttribute("aria-valuetext", text);
  };
  const send = () => {
    if (input.waits) return;
    input.waits = true;
    clearTimeout(input.late);
    input.late = setTimeout(() => { input.waits = false; }, PATIENCE);
    input.number += 1;
    setStateValue("told", { value: Number(input.value), settled: input.settled, number: input.number });
  };
  const follow = () => {
    if (location.pathname !== input.page || alike(addressed(), input.settled)) return;
    input.value = input.settled = addressed();
    say();
    send();
  };
  parentElement.querySelector("label").textContent = data.label;
  Object.assign(input, { min: data.low, max: data.high, step: data.step, disabled: data.disabled });
  if (input.number === undefined) {
    input.value = data.value;
    Object.assign(input, { number: data.number, settled: data.settled, page: location.pathname });
  }
  if (data.number === input.number) input.waits = false;
  const drawn = alike(Number(input.value), data.value) && alike(input.settled, data.settled);
  const lost = !alike(data.given, input.settled) && !alike(addressed(), input.settled);
  if (!drawn || lost) send();
  input.oninput = () => { say(); send(); };
  input.onchange = () => { input.settled = Number(input.value); send(); };
  removeEventListener("popstate", input.follow);
  addEventListener("popstate", input.follow = follow);
  say();
  input.parentElement.classList.add("ready");
  return () => removeEventListener("popstate", input.follow);
}
"""

_mount = st.components.v2.component("live_slider", html=HTML, css=CSS, js=JS)


class LiveSlider:
    """A slider whose value stands in the URL once it is let go.

    It is read before it is drawn: the number that it is sent then tells it that the page has followed.

    Parameters
    ----------
    name : str
        Of the value in the URL.
    label : str
    low, high, step, neutral : float
        Ends and steps; the neutral value is what an address without the name stands for.
    unit : str
        Behind the number.
    words : sequence of str
        In place of numbers: one per step of 1 from `low` on.
    """

    def __init__(
        self,
        name: str,
        label: str,
        low: float,
        high: float,
        step: float = 1.0,
        neutral: float = 0.0,
        unit: str = "",
        words: Sequence[str] = (),
    ) -> None:
        self._name, self._label = name, label
        self._low, self._high, self._step, self._neutral = low, high, step, neutral
        self._unit, self._words = unit, list(words)
        self._key = f"live-{name}"

    @property
    def value(self) -> float:
        """Where it stands; the neutral value where it has no place on it."""
        return self._placed(self._told["value"])

    def draw(self, disabled: bool = False) -> None:
        """Draw it; what is moved meanwhile runs the fragment anew."""
        told = self._told
        _mount(
            key=self._key,
            data={
                "name": self._name, "label": self._label, "low": self._low, "high": self._high,
                "step": self._step, "neutral": self._neutral, "digits": 0 if self._step >= 1 else 1,
                "unit": self._unit, "words": self._words, "disabled": disabled, "given": self._given,
                **told, "value": self.value,
            },
            default={"told": told},
            on_told_change=self._settle,
        )  # fmt: skip

    @property
    def _told(self) -> dict[str, Any]:
        """What the browser told last: the value, the one it was let go at, and the number of the message."""
        state = st.session_state.get(self._key)
        return {"value": self._given, "settled": self._given, "number": 0} if state is None else state["told"]

    @property
    def _given(self) -> float:
        try:
            return self._placed(float(st.query_params.get(self._name, self._neutral)))
        except ValueError:
            return self._neutral

    def _placed(self, value: float) -> float:
        if not self._low <= value <= self._high:
            return self._neutral
        return round(self._low + round((value - self._low) / self._step) * self._step, 6)

    def _settle(self) -> None:
        value = self._placed(self._told["settled"])
        if value == self._given:
            return
        if value == self._neutral:
            del st.query_params[self._name]
        else:
            st.query_params[self._name] = f"{value:g}"
