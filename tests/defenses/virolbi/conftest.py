"""A folder of pictures, and a smoother that notes what it is given."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.picture_folders import Recorder, picture


@pytest.fixture
def smoother() -> Recorder:
    return Recorder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures at two depths, and files that are none."""
    source = tmp_path / "in"
    (source / "deep" / "er").mkdir(parents=True)
    picture("RGB").save(source / "a.png")
    picture("L").save(source / "deep" / "b.PNG")
    picture("RGB").save(source / "deep" / "er" / "c.jpg")
    (source / "notes.txt").write_text("no picture")
    (source / "folder.png").mkdir()
    return source
