"""The parts of the page that are there without its script: tables, figures, files, and what went wrong."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection as Container
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import PurePosixPath
from urllib.parse import quote

from harness.records.schema import Description, Record

from ..collect.collection import Collection, Conflict, Failure
from ..collect.conflicting_weights import ConflictingWeights
from ..formats.html import to_html
from ..tables.engine.base import Table

Picture = tuple[str, str, str, bytes]
"""A figure's name, title, caption and PNG bytes."""
Links = Mapping[str, Sequence[str]]
"""By the name of a table or figure, or any heading, the paths of files relative to the page."""
_IDENTIFYING = ("dataset", "backbone", "defense", "seed", "suite", "condition", "severity", "threat", "preprocess")


def tables_html(tables: Sequence[Table], links: Links) -> str:
    """Every table, a list of them before, the files it is in behind."""
    if not tables:
        return "<p>No table can be made from what was run.</p>"
    listed = "".join(
        f'<li><a href="#table-{number}">{escape(table.title)}</a></li>' for number, table in enumerate(tables)
    )
    shown = "".join(
        f'<article id="table-{number}" class="report-table"><h3>{escape(table.title)}</h3>'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(table.title)}">{to_html(table)}</div>'
        f"{_files(links.get(table.name, ()))}</article>"
        for number, table in enumerate(tables)
    )
    return f'<nav aria-label="Tables"><ul class="contents">{listed}</ul></nav>{shown}'


def figures_html(figures: Sequence[Picture], links: Links, budget: int) -> str:
    """The figures in their order; those for which no room is left are named, and linked to."""
    shown = []
    for number, (name, title, caption, png) in enumerate(figures):
        fits = len(png) * 4 // 3 <= budget
        budget -= len(png) * 4 // 3 if fits else 0
        shown.append(_figure(number, (name, title, caption, png if fits else b""), links.get(name, ())))
    return "".join(shown) or "<p>No figure was drawn.</p>"


def files_html(links: Links, elsewhere: Container[str]) -> str:
    """Links to files that belong to no table or figure."""
    rest = {name: paths for name, paths in links.items() if name not in elsewhere}
    return "".join(f"<h3>{escape(name)}</h3>{_files(paths)}" for name, paths in rest.items() if paths)


def notice_html(collection: Collection) -> str:
    """One line above everything where a run is incomplete, cells failed or runs contradict each other."""
    waiting = [
        f"{run} is incomplete: {done:,} of {planned:,} planned cells are recorded"
        for run, (done, planned) in collection.unfinished.items()
    ]
    counted = (
        (len(collection.failures), "cell", "failed"),
        (len(collection.conflicts), "cell", "in conflict"),
        (len(collection.conflicting), "network", "trained to other weights by other runs"),
    )
    wrong = [f"{count:,} {what}{'' if count == 1 else 's'} {how}" for count, what, how in counted if count]
    if not waiting and not wrong:
        return ""
    which = ' <a href="#problems">See which and why</a>' if wrong else ""
    return f'<p class="notice"><strong>{escape(" · ".join([*waiting, *wrong]))}.</strong>{which}</p>'


def problems_html(collection: Collection) -> str:
    """Failures, conflicts and networks of several weights, each a table."""
    return _failures(collection.failures) + _conflicts(collection.conflicts) + _conflicting(collection.conflicting)


def _figure(number: int, figure: Picture, paths: Sequence[str]) -> str:
    """A figure, without its picture where that is empty; `data-network` names the defense that alone is shown."""
    name, title, caption, png = figure
    image = '<p class="absent">Not in this page, to keep it small.</p>'
    if png:
        source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        image = f'<div class="sheet"><img alt="{escape(title)}" src="{source}"></div>'
    page = re.search(r"\bpage=(\d+)", name)
    about = f' data-page="{page[1]}"' if page else ""
    if alone := re.search(r"Network: (.+), [^,]+\.$", caption):
        about += f' data-network="{escape(alone[1])}"'
    said = f"<figcaption>{escape(caption)}</figcaption>{_files(paths)}"
    return f'<figure id="figure-{number}"{about}><h3>{escape(title)}</h3>{image}{said}</figure>'


def _files(paths: Sequence[str]) -> str:
    if not paths:
        return ""
    linked = "".join(f'<li><a href="./{quote(path)}">{escape(_kind(path))}</a></li>' for path in paths)
    return f'<ul class="files">{linked}</ul>'


def _kind(path: str) -> str:
    """What a link says: the file's name."""
    return PurePosixPath(path).name


def _failures(failures: Sequence[Failure]) -> str:
    if not failures:
        return ""
    rows = [[failure.run, _cell(failure.description), failure.reason] for failure in failures]
    return _table("Cells that failed", ("run", "cell", "reason"), rows)


def _conflicts(conflicts: Sequence[Conflict]) -> str:
    if not conflicts:
        return ""
    rows = [
        [
            _cell(conflict.record),
            next(iter(conflict.correct)),
            "; ".join(f"{run}: {right:,}" for run, right in conflict.correct.items()),
            f"{conflict.differing:,} of {conflict.record.n_images:,}",
        ]
        for conflict in conflicts
    ]
    header = ("cell", "counted: recorded first", "images right, by run", "images that differ")
    return _table("Cells that runs recorded differently", header, rows)


def _conflicting(conflicting: Sequence[ConflictingWeights]) -> str:
    if not conflicting:
        return ""
    rows = [
        [_network(each.last), ", ".join(each.counted), "; ".join(f"{run}: {n:,}" for run, n in each.left_out.items())]
        for each in conflicting
    ]
    header = ("network", "counted: used last", "cells left out, by run")
    return _table("Networks that runs trained to other weights", header, rows)


def _cell(description: Description, names: Sequence[str] = _IDENTIFYING) -> str:
    """The fields of a cell that are known, each with its name."""
    values = [(name, getattr(description, name)) for name in names]
    return ", ".join(f"{name} {value}" for name, value in values if value not in (None, ""))


def _network(record: Record) -> str:
    return _cell(record, ("dataset", "backbone", "defense", "seed"))


def _table(title: str, header: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(title)}"><table class="plain">'
        f"<caption>{escape(title)}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )
