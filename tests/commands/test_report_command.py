"""The report command: where it writes, when it writes nothing, and what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.report_command import HERE, Call, cell, record, times

from harness import registry
from harness.records.database import Records
from harness.records.exhibits import Exhibit, save_exhibit


def test_the_report_of_a_run_goes_into_its_folder(run: Path, call: Call, drawn: list[Any]) -> None:
    code, shown, said = call(run)

    assert code == 0
    assert "vanilla" in shown
    assert {"tables/summary.csv", "figures/dots.png", "index.html", "report.json"} <= times(run).keys()
    assert str(run / "index.html") in said.replace("\n", "")


def test_the_page_gets_pictures_and_links_that_lead_to_files(run: Path, call: Call, drawn: list[Any]) -> None:
    call(run)

    (_, pictures, links) = drawn[-1]
    assert pictures == [("dots", "Dots", "What is shown.", b"picture")]
    assert "tables/summary.csv" in links["summary"]
    assert links["dots"] == ["figures/dots.png", "figures/dots.md"]
    assert all((run / path).is_file() for paths in links.values() for path in paths)


def test_the_same_records_again_write_nothing_and_print_the_summary(run: Path, call: Call, drawn: list[Any]) -> None:
    _, first, _ = call(run)
    before, asked = times(run), len(drawn)

    code, again, said = call(run)

    assert (code, again) == (0, first)
    assert "up to date" in said
    assert times(run) == before
    assert len(drawn) == asked


CHANGES: dict[str, Callable[[Path], object]] = {
    "a cell": lambda run: record(run, "pni"),
    "the order of last use": lambda run: _use(run, "vanilla"),
    "a failure": lambda run: _fail(run),
    "an exhibit": lambda run: save_exhibit(run, Exhibit("path", {"x": np.zeros(1)}, {})),
    "a missing file": lambda run: (run / "tables" / "summary.csv").unlink(),
    "an interrupted report": lambda run: _interrupt(run),
}


def _use(run: Path, defense: str) -> None:
    with Records.open(run, write=True) as records:
        assert records.use(cell(defense).identity)


def _fail(run: Path) -> None:
    with Records.open(run, write=True) as records:
        records.fail(cell("sat"), "no memory", **HERE)


def _interrupt(run: Path) -> None:
    found = json.loads((run / "report.json").read_text())
    (run / "report.json").write_text(json.dumps({**found, "digest": "", "source": ""}))


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_reported_anew(run: Path, call: Call, change: str) -> None:
    call(run, "--no-page")
    CHANGES[change](run)
    before = times(run)

    _, _, said = call(run, "--no-page")

    assert "up to date" not in said
    assert times(run)["tables/summary.md"] > before["tables/summary.md"]
    assert "up to date" in call(run, "--no-page")[2]


def test_other_options_and_an_edited_plugin_are_another_report(
    run: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.tables.names()
    monkeypatch.setattr(registry.tables, "_entries", dict(registry.tables._entries))
    plugin = tmp_path / "extra.py"
    plugin.write_text(
        "from harness.registry import tables\n"
        "@tables.register('extra')\nclass Extra:\n    'Nothing.'\n    def build(self, cells):\n        return None\n"
    )
    options = ("--table", "summary", "--plugin", plugin)
    call(run)
    assert "up to date" not in call(run, *options)[2]
    assert "up to date" in call(run, *options)[2]

    plugin.write_text(plugin.read_text() + "# edited\n")

    assert "up to date" not in call(run, *options)[2]


def test_several_runs_need_a_folder_of_their_own(run: Path, tmp_path: Path, call: Call) -> None:
    other = record(tmp_path / "other", "pni")
    before = times(tmp_path)

    code, _, said = call(run, other)

    assert code == 2
    assert "--out" in said
    assert times(tmp_path) == before


def test_several_runs_become_one_report(run: Path, tmp_path: Path, call: Call, drawn: list[Any]) -> None:
    record(run, "vanilla", severity=3)
    other = record(tmp_path / "other", "pni")
    record(other, "vanilla", severity=3, wrong=7)
    out = tmp_path / "both"

    code, shown, said = call(run, other, "--out", out)

    assert code == 0
    assert (out / "index.html").read_text() == "run,other"
    assert "pni" in (out / "tables" / "summary.md").read_text()
    assert (
        "conflict: vanilla (seed 0), cifar10, resnet18, clean, clean, severity 3, preprocess none: of 20 images right "
        "in run 15, other 13; 2 predicted differently; that of run, recorded first, counts."
    ) in said
    contested = "Contested: runs recorded different predictions of 1 cell; those recorded first count."
    assert contested in (out / "tables" / "summary.md").read_text()
    assert contested in " ".join(shown.split())
    assert not (run / "tables").exists()


def test_a_network_trained_again_elsewhere_is_said_in_the_terminal_and_on_the_page(tmp_path: Path, call: Call) -> None:
    folders = [record(tmp_path / name, "vanilla", weights=name) for name in ("a", "b")]

    _, _, said = call(*folders, "--out", tmp_path / "both", "--no-figures")

    assert (
        "conflict: vanilla (seed 0), cifar10, resnet18: runs a and b trained it to other weights; those of b, used "
        "last, count; left out: 1 cell of a.\n"
    ) in said
    page = (tmp_path / "both" / "index.html").read_text()
    assert "<strong>1 network trained to other weights by other runs.</strong>" in page
    assert "<td>b</td><td>a: 1</td>" in page


def test_only_what_is_asked_for_is_made(run: Path, call: Call, drawn: list[Any]) -> None:
    call(run, "--table", "summary", "--figure", "overview,severity", "--no-page")

    assert {path for path in times(run) if path.startswith("tables")} == {
        f"tables/summary{ending}" for ending in (".md", ".csv", ".tex", ".html")
    }
    assert drawn == [("draw", ["overview", "severity"])]
    call(run, "--no-figures")
    assert drawn[1:] == [("page", [], drawn[-1][2])]


def test_figures_wanted_and_not_wanted_are_refused(run: Path, call: Call) -> None:
    code, _, said = call(run, "--figure", "dots", "--no-figures")
    assert code == 2
    assert "contradict" in said


def test_an_unknown_table_changes_nothing(run: Path, call: Call) -> None:
    call(run)
    before = times(run)

    code, _, said = call(run, "--table", "tabel1")

    assert code == 2
    assert "Did you mean table1" in said
    assert times(run) == before


@pytest.mark.parametrize("name", ["index.html", "tables/summary.csv", "figures/dots.md", "report.json"])
def test_a_file_of_something_else_is_not_overwritten(
    run: Path, tmp_path: Path, call: Call, drawn: list[Any], name: str
) -> None:
    out = tmp_path / "site"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text('{"of": "mine"}')

    code, _, said = call(run, "--out", out, *(["--no-page"] if name == "report.json" else []))

    assert code == 2
    assert f"found {name}, which no report.json there names" in said
    assert f"or delete {name.partition('/')[0]} if nobody needs it" in said
    assert times(out).keys() == {name}
    assert (out / name).read_text() == '{"of": "mine"}'


def test_files_beside_a_report_are_never_touched(run: Path, tmp_path: Path, call: Call, drawn: list[Any]) -> None:
    out = tmp_path / "site"
    call(run, "--out", out, "--no-page")
    notes, page = out / "tables" / "notes.csv", out / "index.html"
    notes.write_text("mine")
    page.write_text("my site")
    record(run, "pni")

    assert call(run, "--out", out, "--no-page")[0] == 0
    assert call(run, "--out", out)[0] == 2
    assert (notes.read_text(), page.read_text()) == ("mine", "my site")


def test_what_was_made_from_something_else_does_not_stay_beside_a_new_report(
    run: Path, call: Call, drawn: list[Any]
) -> None:
    call(run)
    record(run, "pni")

    _, _, said = call(run, "--table", "summary", "--no-figures", "--no-page")

    tables = {f"tables/summary{ending}" for ending in (".md", ".csv", ".tex", ".html")}
    assert {path for path in times(run) if "sqlite" not in path} - {"run.lock"} == {*tables, "report.json"}
    assert "files of the report before, which was made from something else" in said
    assert set(json.loads((run / "report.json").read_text())["files"]) == tables


def test_what_was_made_from_the_same_stays_beside_what_is_asked_for(run: Path, call: Call, drawn: list[Any]) -> None:
    call(run)
    before = times(run).keys()

    _, _, said = call(run, "--table", "summary", "--no-figures", "--no-page")

    assert times(run).keys() == before
    assert "deleted" not in said
    assert {"index.html", "figures/dots.png"} <= set(json.loads((run / "report.json").read_text())["files"])


def test_a_manifest_deletes_nothing_outside_its_folder(run: Path, tmp_path: Path, call: Call, drawn: list[Any]) -> None:
    other = tmp_path / "other.txt"
    other.write_text("mine")
    call(run)
    found = json.loads((run / "report.json").read_text())
    files = [*found["files"], "../other.txt", str(other)]
    (run / "report.json").write_text(json.dumps({**found, "source": "", "files": files}))

    assert "deleted" in call(run, "--no-page", "--no-figures")[2]
    assert other.read_text() == "mine"


def test_what_was_asked_for_and_cannot_be_made_is_said_each_time(run: Path, call: Call, drawn: list[Any]) -> None:
    for _ in range(2):
        code, _, said = call(run, "--table", "summary,table6", "--figure", "figure5", "--no-page")

        assert code == 1
        assert "not made, for want of what they show: table6, figure5." in said


def test_only_what_was_written_is_announced(run: Path, call: Call) -> None:
    code, shown, said = call(run, "--table", "table6", "--no-figures", "--no-page")

    assert (code, shown.strip()) == (1, "")
    assert "made:" not in said
    assert not (run / "tables").exists()


def test_failures_are_told_with_the_run_they_happened_in(run: Path, tmp_path: Path, call: Call) -> None:
    _fail(run)
    other = record(tmp_path / "other", "pni")

    assert "failed: sat, clean: no memory" in call(run)[2]
    assert "failed: run: sat, clean: no memory" in call(run, other, "--out", tmp_path / "out")[2]


def test_a_run_with_failures_only_says_these_and_writes_nothing(tmp_path: Path, call: Call) -> None:
    run = record(tmp_path / "run")
    _fail(run)

    code, shown, said = call(run)

    assert (code, shown) == (0, "")
    assert "failed: sat, clean: no memory" in said
    assert not (run / "tables").exists()


def test_a_folder_that_cannot_be_written_is_named(run: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "file").write_text("")

    code, _, said = call(run, "--out", tmp_path / "file" / "out")

    assert code == 2
    assert "cannot be written" in said


def test_the_manifest_names_every_file_of_the_report(run: Path, call: Call, drawn: list[Any]) -> None:
    call(run)
    named = set(json.loads((run / "report.json").read_text())["files"])
    made = {path for path in times(run) if path.startswith(("tables", "figures")) or path == "index.html"}
    assert named == made
