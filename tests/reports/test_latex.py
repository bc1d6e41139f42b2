"""LaTeX tables compile with booktabs and graphicx alone, and fit the page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.report_samples import full_recording
from support.table_samples import DEFENSES, NASTY, number, single, table

from reports import build
from reports.formats.latex import MOST_COLUMNS, to_latex
from reports.formats.render import to_csv

needs_pdflatex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
ALL = (*DEFENSES[:5], "virolbi_iterative")
SETTING = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"


def compiled(text: str, folder: Path) -> str:
    """What pdflatex says of a document with these tables."""
    (folder / "document.tex").write_text(rf"{SETTING}{text}\end{{document}}", encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "document.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-1000:]
    return done.stdout


@needs_pdflatex
def test_names_full_of_special_characters_compile(tmp_path):
    nasty = table(defenses=(*DEFENSES, NASTY, "[b", "*c"), datasets=("cifar10", NASTY), backbones=("*x", "[y]"))
    rest = [single(None), single(number(std=0.4, best=True)), single(number(-1.0))]

    compiled("".join(map(to_latex, [nasty, *rest])), tmp_path)


@needs_pdflatex
def test_every_table_of_two_data_sets_and_six_defenses_fits_its_page(tmp_path):
    recording = full_recording(ALL)
    other = full_recording(ALL, dataset="cifar100", family="cifar100")
    for row in other.rows:
        identity = f"other-{row['identity']}"
        recording.outcomes[identity] = other.outcomes[row["identity"]]
        recording.rows.append({**row, "identity": identity})
    tables = build(recording.cells())

    said = compiled("".join(map(to_latex, tables)), tmp_path)

    assert {made.name for made in tables} >= {"table1", "table2", "table5", "table8", "claims"}
    assert "Overfull" not in said
    assert "Float too large" not in said


def test_a_wide_table_goes_on_in_further_floats_by_data_set():
    wide = table(defenses=ALL, datasets=("cifar10", "cifar100"))

    floats = to_latex(wide).split(r"\begin{table}")[1:]

    assert [re.findall(r"\\multicolumn\{(\d)\}\{c\}\{(\w+)\}", one) for one in floats] == [
        [("6", "cifar10")],
        [("6", "cifar100")],
    ]
    assert [one.count(r"\label") for one in floats] == [1, 0]
    assert r"\addtocounter{table}{-1}" in floats[1]
    assert "(continued)." in floats[1]


@pytest.mark.parametrize(("defenses", "datasets"), [(1, 9), (7, 1), (20, 1), (5, 3)])
@pytest.mark.parametrize("backbones", [1, 40])
def test_no_number_is_lost_between_floats(defenses, datasets, backbones):
    shown = table(
        [f"d{n}" for n in range(defenses)], [f"s{n}" for n in range(datasets)], [f"b{n}" for n in range(backbones)]
    )

    text = to_latex(shown)

    rows = re.findall(r"\\begin\{tabular\}\{l+(r+)\}", text)
    assert max(map(len, rows)) <= MOST_COLUMNS
    assert len(re.findall(r"\[\}\d+\.\d, \d+\.\d", text)) == len(to_csv(shown).splitlines()) - 1
