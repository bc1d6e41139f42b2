"""The wheel, installed as a user installs it, beside packages of others that have our folders' names."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from numba.core.caching import _CacheLocator

from harness.packages import ROOT
from harness.records.database import FILE_NAME

FOREIGN = {
    "datasets/__init__.py": 'def load_dataset(name):\n    return f"theirs: {name}"\n',
    "tests/__init__.py": "",
    "tests/utils.py": 'WHOSE = "theirs"\n',
}
"""What Hugging Face's `datasets` and RobustBench's `tests` put into site-packages, in small."""

PLUGIN = """
import datasets, harness, tests.utils
from harness.registry import datasets as registry
ours = registry.create("shapes")
print(harness.__file__, type(ours).__module__, "|", datasets.load_dataset("x"), "|", tests.utils.WHOSE)
"""
"""A user's file, in one process with the harness, that asks for ours and for theirs."""

RUN = [
    *("run", "--defense", "virolbi_fixed", "--dataset", "shapes", "--suite", "clean,frequency"),
    *("--epochs", "1", "--train-limit", "64", "--limit", "8", "--plugin", "plugin.py", "--out", "out"),
]


class Installed(NamedTuple):
    """An environment that holds our wheel."""

    python: Path
    packages: Path
    """Its site-packages."""
    folder: Path
    """An empty folder to work in."""

    def __call__(self, *arguments: str) -> str:
        """What Python prints when it is started there with these arguments; nothing of the checkout is on its path."""
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return run(self.python, *arguments, cwd=self.folder, env=environment)


def run(*command: object, **options: object) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=600, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _share_compiled_kernels(packages: Path) -> None:
    """Give the installed files what Numba compiled for the checkout's: it knows a file by its time, size or content.

    Compiling takes half a minute, which happens here only where nothing has been compiled yet.
    """
    for kept in (ROOT / "defenses").rglob("__pycache__/defenses-numba/*"):
        folder = kept.parents[2]
        theirs = packages / folder.relative_to(ROOT)
        for source in folder.glob("*.py"):
            time = source.stat().st_mtime_ns
            os.utime(theirs / source.name, ns=(time, time))
        name = _CacheLocator.get_suitable_cache_subpath(str(theirs / "module.py"))
        shutil.copytree(kept, theirs / "__pycache__" / "defenses-numba" / name, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    pytest.importorskip("pip", reason="pip is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """The wheel in a new environment: beside foreign packages, which must stay as they were, and all it depends on."""
    home = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", home)
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    for name, content in FOREIGN.items():
        (packages / name).parent.mkdir(exist_ok=True)
        (packages / name).write_text(content)
    offline = ("--no-deps", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, "install", *offline, wheel)
    outside = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "outside.pth").write_text("\n".join(outside))  # an editable install's .pth in there is not followed
    _share_compiled_kernels(packages)

    yield Installed(python, packages, tmp_path_factory.mktemp("work"))
    assert {name: (packages / name).read_text() for name in FOREIGN} == FOREIGN


def test_the_wheel_has_no_names_of_others(wheel: Path) -> None:
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    (info,) = [name for name in top if name.endswith(".dist-info")]
    assert top - {info} == {"harness", "defenses", "reports", "harness_datasets"}


def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    of_the_checkout = {
        path.relative_to(ROOT).as_posix().replace("datasets/", "harness_datasets/", 1 if top == "datasets" else 0)
        for top in ("harness", "defenses", "datasets", "reports")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert of_the_checkout <= set(zipfile.ZipFile(wheel).namelist())


def test_the_main_command_runs_from_the_wheel_and_leaves_others_their_names(installed: Installed) -> None:
    (installed.folder / "plugin.py").write_text(PLUGIN)

    printed = installed("-m", "harness", *RUN)

    ours = installed.packages / "harness" / "__init__.py"
    assert printed.startswith(f"{ours} harness_datasets.shapes | theirs: x | theirs\n")
    with sqlite3.connect(installed.folder / "out" / FILE_NAME) as connection:
        cells = list(connection.execute("SELECT status, spec FROM cells"))
    assert {status for status, _ in cells} == {"done"}
    assert {json.loads(spec)["suite"] for _, spec in cells} == {"clean", "frequency"}


def test_code_beside_ours_in_site_packages_is_known_by_its_content(installed: Installed) -> None:
    (installed.packages / "a_plugin.py").write_text(
        "from harness.registry import suites\n@suites.register('of_others')\nclass Mine:\n    'A suite of others.'\n"
    )
    code = (
        "import a_plugin; from harness.registry import suites\n"
        "print(suites.fingerprint('clean'), suites.fingerprint('of_others').count(':'))"
    )
    assert installed("-c", code).split() == ["1", "1"]
