"""Building blocks of one self-contained HTML page: no request leaves it, and every text is escaped."""

from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.io import to_html
from plotly.offline import get_plotlyjs

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""Content security policy: the browser itself holds the page to what stands in it."""

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "xaxis": {
            "automargin": True,
            "gridcolor": "rgba(128,140,150,.25)",
            "ticks": "",
            "title": {"standoff": 6, "font": {"size": 13}},
        },
        "yaxis": {
            "automargin": True,
            "gridcolor": "rgba(128,140,150,.25)",
            "ticks": "",
            "title": {"font": {"size": 13}},
            "zerolinecolor": "rgba(128,140,150,.6)",
        },
        "hoverlabel": {"align": "left"},
        "dragmode": False,
    }
)
BETTER, WORSE = "42,134,200", "213,94,0"

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fcfcfa; --panel: #eef2f3; --ink: #17252f; --soft: #4c5a63; --rule: #cfd8dc; --link: #0b6380;
  --warn: #f7e3d3;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0d171f; --panel: #16242e; --ink: #e4ecf0; --soft: #b3c1c9; --rule: #2e414d; --link: #6cc3e0;
    --warn: #47291a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
main { max-width: 1240px; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.4rem; margin: 3rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1.1rem; margin: 1.75rem 0 .5rem; }
p, ul, dl { max-width: 75ch; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; padding: 0; list-style: none; max-width: none; }
.note, .banner { border-left: 4px solid var(--link); background: var(--panel); padding: .75rem 1rem; }
.note > :first-child { margin-top: 0; }
.note > :last-child { margin-bottom: 0; }
.banner { border-color: #d55e00; background: var(--warn); font-weight: 600; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .4rem; }
caption span {
  display: inline-block; position: sticky; left: 0; max-width: min(75ch, calc(100vw - 2rem));
  color: var(--soft);
}
th, td { padding: .3rem .5rem; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap; }
thead th { vertical-align: bottom; white-space: normal; min-width: 4rem; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--page); }
tbody th { font-weight: 500; min-width: 9rem; max-width: 17rem; white-space: normal; }
figure { margin: 1.25rem 0; break-inside: avoid; min-width: 0; }
figcaption { font-weight: 600; }
.hint { color: var(--soft); font-size: .9rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: 0 1rem; }
.grid.wide { grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); }
.grid figure { margin: .5rem 0; align-self: end; }
.grid .scroll { margin: 0; }
.grid figcaption { font-size: .9rem; }
.broad { min-width: 660px; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; max-width: none; }
dl.facts dt { color: var(--soft); }
dl.facts dd { margin: 0; overflow-wrap: anywhere; }
dl.words dt { font-weight: 600; margin-top: .6rem; }
dl.words dd { margin: 0; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--link); }
code, pre { font: .85rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
pre {
  background: var(--panel); padding: .75rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere;
}
.js-plotly-plot text { fill: var(--ink) !important; }
.js-plotly-plot .hoverlayer path { fill: var(--panel) !important; stroke: var(--rule) !important; }
.js-plotly-plot .legend .bg { fill: none !important; }
@media (max-width: 600px) {
  dl.facts { grid-template-columns: 1fr; }
  dl.facts dd { margin-bottom: .5rem; }
  tbody th { min-width: 7rem; max-width: 9rem; }
}
@media print {
  :root {
    color-scheme: light;
    --page: #fff; --panel: #f2f4f5; --ink: #000; --soft: #444; --rule: #bbb; --link: #000; --warn: #f7e3d3;
  }
  body { font-size: 11px; }
  nav, .modebar { display: none; }
  .scroll { overflow: visible; }
  table { font-size: .7rem; }
  th, td { padding: .15rem .3rem; white-space: normal; }
  tr, .grid figure { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""

SCRIPT = """
const fit = () => document.querySelectorAll(".js-plotly-plot").forEach(plot => Plotly.Plots.resize(plot));
addEventListener("load", fit);
addEventListener("beforeprint", fit);
"""
"""A grid has its columns only when all of it is there: figures drawn before that are fitted again."""


def number(value: float, digits: int, signed: bool = False) -> str:
    """Write a number with a true minus sign, or "none" where there is none."""
    if pd.isna(value):
        return "none"
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "\u2212")


def paragraph(text: str, kind: str = "") -> str:
    """Write a paragraph; kind "hint" is small, "note" stands out, "banner" warns."""
    opened = f'<p class="{kind}">' if kind else "<p>"
    return f"{opened}{escape(text)}</p>"


def preformatted(text: str) -> str:
    """Write lines of code as they stand."""
    return f"<pre><code>{escape(text)}</code></pre>"


def bullets(texts: list[str]) -> str:
    """Write an unordered list, one item a text."""
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"


def terms(pairs: dict[str, str], kind: str) -> str:
    """Write a list of terms; kind "facts" in two columns, "words" with each text below its term."""
    items = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in pairs.items())
    return f'<dl class="{kind}">{items}</dl>'


def more(summary: str, *parts: str) -> str:
    """Fold parts away under a summary."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(parts)}</details>"


def table(frame: pd.DataFrame, caption: str, shades: np.ndarray | None = None) -> str:
    """Write a frame as a table that scrolls within itself where it is too wide.

    Parameters
    ----------
    frame : DataFrame
        The first column heads its row; values are written as they are.
    caption : str
    shades : ndarray of shape (rows, columns - 1), optional
        -1 (worse) to 1 (better): strength of the cell's background; NaN or 0 for none.
    """
    heads = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in frame.columns)
    rows = []
    for at, (first, *others) in enumerate(frame.itertuples(index=False)):
        cells = [
            f"<td{_background(shades[at, place]) if shades is not None else ''}>{escape(str(value))}</td>"
            for place, value in enumerate(others)
        ]
        rows.append(f'<tr><th scope="row">{escape(str(first))}</th>{"".join(cells)}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption><span>{escape(caption)}</span></caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def figure(name: str, drawn: go.Figure, description: str, broad: bool = False) -> str:
    """Write a figure under its title.

    Parameters
    ----------
    name : str
        Unique on the page.
    drawn : Figure
        Its title becomes the caption, which breaks into lines on a narrow screen.
    description : str
        What is to be seen, for who does not see it.
    broad : bool
        Whether it needs 660 pixels, and scrolls within itself where they are not there.
    """
    shown = go.Figure(drawn)
    title = shown.layout.title.text
    shown.update_layout(title=None, template=TEMPLATE, margin={"t": 28 if shown.layout.annotations else 8})
    plot = to_html(
        shown,
        full_html=False,
        include_plotlyjs=False,
        div_id=name,
        config={"displaylogo": False, "responsive": True},
    )
    inner = f'<div class="broad">{plot}</div>' if broad else plot
    return (
        f'<figure><figcaption>{title}</figcaption><div class="scroll" role="img" '
        f'aria-label="{escape(description)}">{inner}</div></figure>'
    )


def document(title: str, lead: str, sections: dict[str, tuple[str, str]]) -> str:
    """Put a page together.

    Parameters
    ----------
    lead : str
        Markup under the title.
    sections : dict
        Name -> title and markup, in order.
    """
    links = "".join(f'<li><a href="#{name}">{escape(head)}</a></li>' for name, (head, _) in sections.items())
    body = "".join(
        f'<section id="{name}"><h2>{escape(head)}</h2>{markup}</section>'
        for name, (head, markup) in sections.items()
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style><script>{get_plotlyjs()}</script></head>"
        f"<body><main><h1>{escape(title)}</h1>{lead}"
        f'<nav aria-label="Contents"><ul>{links}</ul></nav>{body}</main>'
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def _background(shade: float) -> str:
    if not np.isfinite(shade) or not shade:
        return ""
    return f' style="background:rgba({BETTER if shade > 0 else WORSE},{0.4 * abs(shade):.2f})"'
