"""A run to report, the report command, and doubles of gallery and page that cost no time."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.report_command import Call, record

from harness import __main__ as cli
from reports.figures import gallery


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return record(tmp_path / "run", "vanilla", "blur")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Call:
    """The command in this process: its exit code, standard output and standard error."""

    def called(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", "report", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return called


class Figure:
    """A figure of the gallery, without its drawing."""

    name, title, caption = "dots", "Dots", "What is shown."


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stands in for gallery and page, writing one file each; collects what they were asked for."""
    asked: list[Any] = []

    def draw(collection: Any, names: Sequence[str] | None = None) -> list[Figure]:
        asked.append(("draw", names))
        return [Figure()]

    def write(figures: Sequence[Figure], folder: Path) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / "dots.png", folder / "dots.md"]
        for path in paths:
            path.write_bytes(b"picture")
        return paths

    def write_page(collection: Any, path: Path, *, tables: Any, figures: Any = (), links: Any = None) -> Path:
        asked.append(("page", figures, links))
        path.write_text(",".join(collection.runs))
        return path

    def file_names(figures: Sequence[Figure]) -> list[str]:
        return ["dots.png", "dots.md"] if figures else []

    for double in (draw, write, file_names):
        monkeypatch.setattr(gallery, double.__name__, double)
    monkeypatch.setattr("reports.make.write_page", write_page)
    return asked
