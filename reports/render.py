"""Shows a table as Markdown, CSV or LaTeX; pure functions, whatever a label holds is escaped."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from rich.cells import cell_len

from .table import DECIMALS, Estimate, Finding, Table

Entry: TypeAlias = Estimate | Finding
BLANK = "–"
DAGGER = "†"
HEADER_WIDTH = 13
"""Characters after which a defense's name goes on in the next line of a header."""

_CSV_NUMBERS = (
    *("value", "ci_low", "ci_high", "std", "n_seeds", "n_seeds_expected"),
    *("n_images", "n_conditions", "n_conditions_expected", "paper", "paper_setting", "best"),
)
_CSV_WORDS = ("verdict", "evidence")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "{}$&#%_"},
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "–": "--",
    "“": "``",
    "”": "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "†": r"$^{\dagger}$",
    "ε": r"$\varepsilon$",
    "ν": r"$\nu$",
    # After the \\ that ends a row, a bracket or a star would be taken for its argument.
    **{character: f"{{{character}}}" for character in "[]*"},
}
_MARKDOWN = re.compile(r"([\\`*\[\]<>|&~$]|(?<![^\W_])_|_(?![^\W_]))")  # an underscore inside a word is harmless


def to_markdown(table: Table) -> str:
    """A GitHub-flavoured table under its title, the caption below."""
    heads = [escape_markdown(name) for name in table.row_header]
    heads += [f"{escape_markdown(column.dataset)}<br>{escape_markdown(column.defense)}" for column in table.columns]
    rules = ["---"] * len(table.row_header) + ["--:"] * len(table.columns)
    lines = [_markdown_row(heads), _markdown_row(rules)]
    for labels, row in zip(shown_labels([row.labels for row in table.rows]), table.rows, strict=True):
        cells = [_markdown_cell(estimate) for estimate in row.estimates]
        lines.append(_markdown_row([escape_markdown(label) for label in labels] + cells))
    return "\n".join(
        [f"## {escape_markdown(table.title)}", "", *lines, "", escape_markdown(" ".join(table.caption)), ""]
    )


def to_csv(table: Table) -> str:
    """One line per place of the table, the numbers apart and in percent; empty where nothing was run."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    in_words = any(isinstance(entry, Finding) for row in table.rows for entry in row.estimates)
    writer.writerow([*table.row_header, "dataset", "defense", *(_CSV_WORDS if in_words else _CSV_NUMBERS)])
    for row in table.rows:
        for column, entry in zip(table.columns, row.estimates, strict=True):
            writer.writerow([*row.labels, *column, *(_csv_words(entry) if in_words else _csv_numbers(entry))])
    return out.getvalue()


def to_latex(table: Table) -> str:
    r"""A table environment that needs the booktabs package and nothing else."""
    lines = [
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}\setlength{\belowcaptionskip}{6pt}",
        r"\providecommand{\stacked}[1]{\begin{tabular}[t]{@{}r@{}}#1\end{tabular}}",
        rf"\caption{{{escape_latex(table.title)}. {escape_latex(' '.join(table.caption))}}}",
        rf"\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', table.name)}}}",
        rf"\begin{{tabular}}{{{'l' * len(table.row_header)}{'r' * len(table.columns)}}}",
        r"\toprule",
        *_latex_header(table),
        r"\midrule",
        *_latex_rows(table),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it is."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def value_text(estimate: Entry) -> str:
    """The number itself, "78.5"; of a finding its verdict."""
    if isinstance(estimate, Finding):
        return estimate.verdict
    return f"{estimate.value:.{DECIMALS}f}"


def spread_text(estimate: Entry) -> str:
    """Its uncertainty: "[76.1, 80.7]", over seeds "± 0.4"; what is missing follows, "(3/5, 2 seeds)".

    Of a finding its evidence.
    """
    if isinstance(estimate, Finding):
        return estimate.evidence
    if estimate.std is None:
        spread = f"[{estimate.low:.{DECIMALS}f}, {estimate.high:.{DECIMALS}f}]"
    else:
        spread = f"± {estimate.std:.{DECIMALS}f}"
    missing = [] if estimate.complete else [f"{estimate.conditions}/{estimate.expected}"]
    if estimate.seeds < estimate.expected_seeds:
        missing.append(f"{estimate.seeds} seed{'s' if estimate.seeds > 1 else ''}")
    return f"{spread} ({', '.join(missing)})" if missing else spread


def is_best(estimate: Entry) -> bool:
    """Whether it is the best of its contest; findings hold none."""
    return isinstance(estimate, Estimate) and estimate.best


def paper_text(estimate: Entry) -> str:
    """The paper's number beside it, "paper 78.46", with a dagger where its setting is another one; "" for none."""
    if isinstance(estimate, Finding) or estimate.paper is None:
        return ""
    return f"paper {estimate.paper.accuracy:.2f}{DAGGER if estimate.paper.differences else ''}"


def shown_labels(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The labels of each row, those left blank that only repeat the row above; the last is always there."""
    shown: list[tuple[str, ...]] = []
    before: tuple[str, ...] = ()
    for labels in rows:
        pairs = zip(labels[:-1], before, strict=False)
        repeated = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
        shown.append(("",) * repeated + labels[repeated:])
        before = labels
    return shown


def fold(text: str, width: int) -> str:
    """Lines of at most `width`, broken behind the characters that join the words of a name."""
    lines = [""]
    for word in re.findall(r"[^_:,\s-]*[_:,\s-]?", text):
        if lines[-1] and cell_len(lines[-1] + word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.rstrip() for line in lines)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(estimate: Entry | None) -> str:
    if estimate is None:
        return BLANK
    if isinstance(estimate, Finding):
        return f"{escape_markdown(estimate.verdict)}<br>{escape_markdown(estimate.evidence)}"
    value = f"**{value_text(estimate)}**" if estimate.best else value_text(estimate)
    paper = paper_text(estimate)
    return f"{value} {spread_text(estimate)}{f'<br>{paper}' if paper else ''}"


def _csv_words(entry: Entry | None) -> list[str]:
    return [entry.verdict, entry.evidence] if isinstance(entry, Finding) else [""] * len(_CSV_WORDS)


def _csv_numbers(estimate: Entry | None) -> list[str]:
    if not isinstance(estimate, Estimate):
        return [""] * len(_CSV_NUMBERS)
    percents = (estimate.value, estimate.low, estimate.high, estimate.std)
    paper = estimate.paper
    return [
        *("" if percent is None else f"{percent:.4f}" for percent in percents),
        *map(str, (estimate.seeds, estimate.expected_seeds)),
        *map(str, (estimate.images, estimate.conditions, estimate.expected)),
        f"{paper.accuracy:.2f}" if paper else "",
        _paper_setting(paper.differences) if paper else "",
        "true" if estimate.best else "false",
    ]


def _paper_setting(differences: Sequence[str]) -> str:
    return f"other {', '.join(differences)}" if differences else "same"


def _latex_header(table: Table) -> list[str]:
    blank, groups, rules = [""] * len(table.row_header), [], []
    start = len(blank) + 1
    for dataset, members in itertools.groupby(table.columns, key=lambda column: column.dataset):
        stop = start + len(list(members))
        groups.append(rf"\multicolumn{{{stop - start}}}{{c}}{{{escape_latex(dataset)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{stop - 1}}}")
        start = stop
    names = [escape_latex(name) for name in table.row_header]
    heads = [_stack(map(escape_latex, fold(column.defense, HEADER_WIDTH).split("\n"))) for column in table.columns]
    return [rf"{' & '.join(blank + groups)} \\", " ".join(rules), rf"{' & '.join(names + heads)} \\"]


def _latex_rows(table: Table) -> Iterator[str]:
    labels = [row.labels for row in table.rows]
    for place, shown in enumerate(shown_labels(labels)):
        if place and labels[place][:-1] != labels[place - 1][:-1]:
            yield r"\addlinespace"
        cells = [_latex_cell(estimate) for estimate in table.rows[place].estimates]
        yield rf"{' & '.join([*map(escape_latex, shown), *cells])} \\"


def _latex_cell(estimate: Entry | None) -> str:
    if estimate is None:
        return escape_latex(BLANK)
    value = rf"\textbf{{{value_text(estimate)}}}" if is_best(estimate) else value_text(estimate)
    return _stack([value, *map(escape_latex, (spread_text(estimate), paper_text(estimate)))])


def _stack(lines: Iterable[str]) -> str:
    """Lines above each other, right-aligned, the first on the level of the row."""
    joined = r"\\".join(filter(None, lines))
    return rf"\stacked{{{joined}}}"
