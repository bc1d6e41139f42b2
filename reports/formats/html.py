"""Shows a table as HTML: a fragment for a page of many, or a page of its own that needs nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from html import escape

from ..statistics.estimates import Estimate
from ..tables.engine.base import DECIMALS, Column, Finding, Row, Table
from .render import BLANK, Entry, difference_text, is_best, narrowed, paper_text, shown_labels, spread_text, value_text

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --faint: #5c5c5c; --rule: #b8b8b8; --ground: #ffffff;
  --paper: #005a8f; --good: #00664a; --bad: #a03c00; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececec; --faint: #a8a8a8; --rule: #5a5a5a; --ground: #17181a;
  --paper: #7cc4f0; --good: #4fd1a5; --bad: #f0a36b; } }
h1 { font-size: 1.3rem; }
h1 ~ .scroll caption strong { display: none; }
body { margin: 1.5rem; background: var(--ground); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
.scroll { overflow-x: auto; }
table.results { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.results caption { caption-side: bottom; text-align: left; padding-top: .8rem; max-width: 75ch; color: var(--faint); }
.results caption strong { display: block; color: var(--ink); }
.results th, .results td { padding: .3rem .7rem; vertical-align: top; }
.results thead th { border-bottom: 1px solid var(--rule); vertical-align: bottom; }
.results thead th[scope=colgroup] { text-align: center; }
.results tbody th, .results thead th.label { text-align: left; font-weight: 400; }
.results tbody th { max-width: 24ch; }
.results thead th.column, .results td { text-align: right; }
.results .repeated { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.results .start > * { border-top: 1px solid var(--rule); }
.results .value { font-size: 1.05em; }
.results .best .value { font-weight: 700; }
.results .spread, .results .paper, .results .difference { display: block; font-size: .82em; white-space: nowrap; }
.results .spread, .results .blank { color: var(--faint); }
.results .finding .spread { white-space: normal; overflow-wrap: anywhere; max-width: 42ch; margin-left: auto; }
.results .paper { color: var(--paper); }
.results [data-verdict="holds"] .value, .results [data-verdict="pass"] .value { color: var(--good); font-weight: 700; }
.results [data-verdict="does not hold"] .value, .results [data-verdict="FAIL"] .value {
  color: var(--bad); font-weight: 700; }
"""


def to_page(table: Table) -> str:
    """A page of its own: light and dark, no script, nothing to load."""
    title = escape(narrowed(table).title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{title}</h1>\n"
        f'<div class="scroll" role="region" tabindex="0" aria-label="{title}">\n{to_html(table)}</div>\n'
        "</main>\n</body>\n</html>\n"
    )


def to_html(table: Table) -> str:
    """A table element; whatever a name holds is escaped, and `data-sort` holds what a column is sorted by."""
    table = narrowed(table)
    rows = zip(table.rows, shown_labels([row.labels for row in table.rows]), strict=True)
    body = "".join(_row(table, row, shown, first=number == 0) for number, (row, shown) in enumerate(rows))
    return (
        f'<table class="results" data-table="{escape(table.name)}">\n'
        f"<caption><strong>{escape(table.title)}</strong> {escape(' '.join(table.caption))}</caption>\n"
        f"<thead>\n{''.join(_header(table))}</thead>\n<tbody>\n{body}</tbody>\n</table>\n"
    )


def _header(table: Table) -> Iterator[str]:
    yield "<tr>"
    for name in table.row_header:
        yield f'<th scope="col" rowspan="2" class="label">{escape(name)}</th>'
    for dataset, members in itertools.groupby(table.columns, key=lambda column: column.group):
        yield f'<th scope="colgroup" colspan="{len(list(members))}">{escape(dataset)}</th>'
    yield "</tr>\n<tr>"
    yield from (f'<th scope="col" class="column">{escape(column.name)}</th>' for column in table.columns)
    yield "</tr>\n"


def _row(table: Table, row: Row, shown: tuple[str, ...], *, first: bool) -> str:
    """A row; labels that only repeat the row above are out of sight, but there for who sorts or listens."""
    new_block = len(shown) > 1 and bool(shown[-2]) and not first
    labels = "".join(
        f'<th scope="row">{escape(label) if said else _repeated(label)}</th>'
        for label, said in zip(row.labels, shown, strict=True)
    )
    places = "".join(map(_place, row.entries, table.columns))
    kind = ' class="start"' if new_block else ""
    return f"<tr{kind}>{labels}{places}</tr>\n"


def _repeated(label: str) -> str:
    return f'<span class="repeated">{escape(label)}</span>' if label else ""


def _place(entry: Entry | None, column: Column) -> str:
    about = f'data-dataset="{escape(column.group)}" data-defense="{escape(column.name)}"'
    if entry is None:
        return f'<td class="blank" data-sort="" {about}><abbr title="not run">{BLANK}</abbr></td>'
    if isinstance(entry, Finding):
        verdict = escape(entry.verdict)
        kind = f'class="finding" data-sort="{verdict}" data-verdict="{verdict}"'
    else:
        kind = f'class="number{" best" if is_best(entry) else ""}" data-sort="{entry.value:.4f}"'
    return f"<td {kind} {about}>{_texts(entry)}</td>"


def _interval(entry: Entry) -> str:
    """As a tooltip, where a deviation over seeds stands in its place."""
    if isinstance(entry, Finding) or entry.std is None:
        return ""
    return f' title="95 % interval {entry.low:.{DECIMALS}f} to {entry.high:.{DECIMALS}f}"'


def _texts(entry: Entry) -> str:
    texts = f'<span class="value">{escape(value_text(entry))}</span>'
    if spread := spread_text(entry):
        texts += f' <span class="spread"{_interval(entry)}>{escape(spread)}</span>'
    if isinstance(entry, Estimate) and entry.paper is not None:
        covered = "true" if entry.covered else "false"
        texts += f' <span class="paper">{escape(paper_text(entry))}</span>'
        texts += f' <span class="difference" data-covered="{covered}">{escape(difference_text(entry))}</span>'
    return texts
