import csv
import dataclasses
import doctest
import io
import re

import pytest
from rich.console import Console
from support.table_samples import DEFENSES, NASTY, number, single, table

from harness.errors import UserError
from reports import show, write
from reports.formats.latex import to_latex
from reports.formats.render import fold, to_csv, to_markdown
from reports.paper.numbers import PaperNumber
from reports.tables.engine import captions


def in_terminal(*tables, width=100, **given):
    console = Console(width=width, file=io.StringIO(), **given)
    show(tables, console)
    return console.file.getvalue()


def csv_lines(shown):
    return list(csv.DictReader(io.StringIO(to_csv(shown))))


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (number(78.46), "78.5 [74.3, 82.7]"),
        (number(78.46, std=0.4, seeds=3), "78.5 ± 0.4"),
        (number(78.46, conditions=3, expected=5), "78.5 [74.3, 82.7] (3/5)"),
        (number(78.46, std=0.4, seeds=2, expected_seeds=3), "78.5 ± 0.4 (2 seeds)"),
        (number(78.46, conditions=3, expected=5, expected_seeds=3), "78.5 [74.3, 82.7] (3/5, 1 seed)"),
        (number(78.46, std=0.4, seeds=3, expected_seeds=3), "78.5 ± 0.4"),
        (number(78.46, best=True), "**78.5** [74.3, 82.7]"),
        (number(78.46, paper=PaperNumber(78.4)), "78.5 [74.3, 82.7]<br>paper 78.40 +0.1 ✓"),
        (number(78.46, paper=PaperNumber(78.4, ("data",))), "78.5 [74.3, 82.7]<br>paper 78.40† +0.1 (✓)"),
        (number(78.46, paper=PaperNumber(78.47)), "78.5 [74.3, 82.7]<br>paper 78.47 +0.0 ✓"),
        (number(78.46, paper=PaperNumber(85.5)), "78.5 [74.3, 82.7]<br>paper 85.50 −7.0 ✗"),
        (number(0.0), "0.0 [-4.2, 4.2]"),
        (None, "–"),
    ],
)
def test_markdown_says_all_there_is_to_a_number(estimate, text):
    assert f"| r | {text} |" in to_markdown(single(estimate)).splitlines()


def test_a_cell_that_was_not_run_is_a_dash_and_never_zero():
    shown = table(defenses=("vanilla", "blur"), missing=[(0, 1)])

    assert to_markdown(shown).splitlines()[4].endswith("| – |")
    assert len(re.findall(r"& -- \\\\$", to_latex(shown), re.MULTILINE)) == 1
    assert in_terminal(shown).count("–") == 1
    line = csv_lines(shown)[1]
    assert (line["defense"], line["value"], line["n_images"], line["best"]) == ("blur", "", "", "")


def test_csv_holds_one_line_per_place_with_the_numbers_apart():
    shown = table()

    lines = csv_lines(shown)

    assert len(lines) == len(shown.rows) * len(shown.columns)
    assert lines[6] == {
        "backbone": "resnet18",
        "corruption": "gaussian_noise",
        "preprocess": "with",
        "dataset": "cifar10-jpeg",
        "defense": "vanilla",
        "value": "41.0000",
        "ci_low": "36.8000",
        "ci_high": "45.2000",
        "std": "",
        "n_seeds": "1",
        "n_seeds_expected": "1",
        "n_images": "500",
        "n_conditions": "1",
        "n_conditions_expected": "1",
        "paper": "45.90",
        "paper_setting": "other training, data",
        "difference": "-4.9000",
        "covered": "false",
        "best": "false",
    }
    assert {lines[7][name] for name in ("paper", "paper_setting", "difference", "covered")} == {""}


def test_csv_marks_the_papers_own_setting():
    assert csv_lines(single(number(paper=PaperNumber(78.46))))[0]["paper_setting"] == "same"


def test_labels_are_not_repeated_except_in_csv():
    shown = table(backbones=("resnet18", "vit_tiny"))

    assert [to_markdown(shown).count(name) for name in ("resnet18", "shot")] == [1, 2]
    assert [to_latex(shown).count(name) for name in ("resnet18", "shot")] == [1, 2]
    assert [in_terminal(shown, width=300).count(name) for name in ("resnet18", "shot")] == [1, 2]
    assert all(line["backbone"] for line in csv_lines(shown))


def test_a_row_with_a_new_label_repeats_the_labels_after_it():
    rows = to_markdown(table(backbones=("resnet18", "vit_tiny"))).splitlines()[4:]

    assert [row.split(" | ")[:3] for row in rows[:5]] == [
        ["| resnet18", r"gaussian_noise", "without"],
        ["| ", "", "with"],
        ["| ", r"shot_noise", "without"],
        ["| ", "", "with"],
        [r"| vit_tiny", r"gaussian_noise", "without"],
    ]


def test_markdown_escapes_whatever_a_name_holds():
    shown = to_markdown(table(defenses=("vanilla", NASTY)))

    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {6}
    assert r"a\|b\*c_d\`e\<i\>\[red\]f\&g%h\$i#j{k}\~l^m\\n" in rows[0]


def test_latex_escapes_every_special_character():
    shown = to_latex(table(defenses=("vanilla", NASTY), datasets=("50%_&#",), backbones=("[b]", "*b")))

    assert r"\multicolumn{2}{c}{50\%\_\&\#}" in shown
    assert r"95 \% interval, $\varepsilon$" in shown
    assert not re.search(r"(?<!\\)[%#]", shown.partition(r"\caption")[2])
    assert not re.search(r"\\\\\s*[\[*]", shown)


def test_latex_has_a_header_per_data_set():
    names = {"defenses": ("vanilla", "blur"), "datasets": ("cifar10", "cifar100")}
    shown = to_latex(table(**names, backbones=("resnet18", "vit_tiny")))

    assert r"\multicolumn{2}{c}{cifar10} & \multicolumn{2}{c}{cifar100} \\" in shown
    assert r"\cmidrule(lr){4-5} \cmidrule(lr){6-7}" in shown
    assert r"\begin{tabular}{lllrrrr}" in shown


def test_the_best_is_bold_in_latex_and_in_the_terminal():
    shown = single(number(70.0, best=True)), single(number(50.0))

    assert [r"\textbf" in to_latex(one) for one in shown] == [True, False]
    colored = in_terminal(*shown, force_terminal=True, color_system="standard")
    assert "\x1b[1m70.0\x1b[0m" in colored
    assert "\x1b[1m50.0" not in colored


def test_the_terminal_shows_markup_as_text():
    shown = in_terminal(table(defenses=("[red]x[/]",), backbones=("[b]net[/b]",), datasets=("[i]d",)))

    for name in ("[red]x[/]", "[b]net[/b]", "[i]d"):
        assert name in shown


@pytest.mark.parametrize("width", [80, 100, 120, 250])
def test_terminal_tables_fit_and_lose_no_number(width):
    full = table(datasets=("cifar10-jpeg", "cifar100"), backbones=("resnet18", "vit_tiny"))

    shown = in_terminal(full, width=width)

    count = len(full.rows) * len(full.columns)
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    assert len(re.findall(r"\[\d+\.\d, \d+\.\d\]", shown)) == count
    assert len(re.findall(r"paper \d+\.\d\d†", shown)) == count / 2
    assert " ".join(full.caption) in " ".join(shown.split())


@pytest.mark.parametrize(("width", "parts"), [(300, [12]), (130, [6, 6]), (85, [3, 3, 3, 3])])
def test_the_terminal_splits_between_data_sets_first_and_evenly_within_one(width, parts):
    lines = in_terminal(table(datasets=("cifar10", "cifar100")), width=width).splitlines()

    headers = [line.partition("preprocess")[2].split() for line in lines if "preprocess" in line]
    assert [len(names) for names in headers] == parts


def test_the_terminal_says_once_what_is_the_same_in_all_rows():
    first = in_terminal(table()).splitlines()[1]

    assert first == "backbone resnet18 · data cifar10-jpeg"


@pytest.mark.parametrize("text", [*DEFENSES, "imagefolder:some/where", "", NASTY])
def test_folding_a_name_changes_nothing_but_the_lines(text):
    assert fold(text, 13).replace("\n", "") == text
    assert all(len(line) <= 13 or not re.search("[_:,-]", line[:-1]) for line in fold(text, 13).split("\n"))


def test_each_table_is_written_in_every_format_and_nothing_else(tmp_path):
    written = write([table(), dataclasses.replace(table(), name="table4:radius=16")], tmp_path / "tables")

    names = [f"{stem}{end}" for stem in ("table1", "table4-radius=16") for end in (".md", ".csv", ".tex", ".html")]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == sorted(names)
    assert written[0].read_text(encoding="utf-8") == to_markdown(table())


def test_a_folder_that_cannot_be_written_is_the_users_to_change(tmp_path):
    (tmp_path / "tables").write_text("in the way")

    with pytest.raises(UserError, match="cannot be written"):
        write([table()], tmp_path / "tables")


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(captions) == (0, 1)
