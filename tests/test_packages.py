"""Our packages are found by where they lie, beside foreign ones of the same name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.packages import ROOT, is_ours, load_modules

FOREIGN = 'def load_dataset(name):\n    return f"theirs: {name}"\n'


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder with another `datasets` package, as Hugging Face's library would be in site-packages."""
    package = tmp_path / "site" / "datasets"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FOREIGN)
    return package.parent


def _python(code: str, path: list[Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def test_a_foreign_package_of_the_same_name_stays_usable_beside_ours(foreign: Path, tmp_path: Path) -> None:
    code = """
from harness.registry import datasets as registry
import datasets
assert datasets.load_dataset("x") == "theirs: x"
data = registry.create("shapes")
assert len(data.test()) == 1000
from datasets import load_dataset
import sys
assert sys.modules["datasets"] is datasets
print(type(data).__module__, *registry.names())
"""
    done = _python(code, [foreign, ROOT], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        "harness_datasets.shapes", "cifar10", "cifar100", "imagefolder", "imagenet100", "parquet", "shapes"
    ]  # fmt: skip


PLUGIN = """
import numpy as np
from harness.contracts.dataset import Dataset
from harness.registry import datasets
from harness.types import Split

@datasets.register("dots")
class Dots(Dataset):
    name, classes, mean, std = "dots", ("a", "b"), (0.5,), (0.2,)

    def load(self, split):
        images, labels = np.zeros((4, 1, 8, 8), np.uint8), np.arange(4) % 2
        return Split(images=images, labels=labels, indices=np.arange(4), digest=split)
"""


@pytest.mark.parametrize("ours_first", [False, True])
def test_a_data_set_from_outside_has_the_base_class_of_ours(foreign: Path, tmp_path: Path, ours_first: bool) -> None:
    (tmp_path / "dots.py").write_text(PLUGIN)
    code = """
from harness.registry import datasets, load_plugin
load_plugin("dots.py")
data = datasets.create("dots")
assert type(data).__base__ is type(datasets.create("shapes")).__base__
print(len(data.test()), data.official("fog", 1))
"""
    path = [ROOT, foreign] if ours_first else [foreign, ROOT]
    done = _python(code, path, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["4", "None"]


def test_who_asks_ours_for_theirs_gets_a_clear_line(foreign: Path, tmp_path: Path) -> None:
    done = _python("from datasets import load_dataset", [ROOT, foreign], tmp_path)
    assert done.returncode == 1
    assert "belongs to Hugging Face's library, but the robustness harness's own" in done.stderr.splitlines()[-1]


def test_ours_is_the_plain_package_where_nothing_is_in_the_way(tmp_path: Path) -> None:
    code = "from harness.packages import load_modules; print(load_modules('datasets')[0].__name__)"
    done = _python(code, [ROOT], tmp_path)
    assert done.stdout.strip() == "datasets.cifar", done.stderr


def test_modules_are_loaded_from_beside_the_harness() -> None:
    assert {Path(str(module.__file__)).parent for module in load_modules("harness.suites")} == {ROOT / "harness/suites"}


def test_a_star_stands_for_the_packages_that_have_what_follows() -> None:
    names = [module.__name__ for module in load_modules("defenses.*.commands")]
    assert names == ["defenses.virolbi.commands.bench", "defenses.virolbi.commands.smooth"]


def test_private_modules_are_not_discovered() -> None:
    names = [module.__name__ for module in load_modules("datasets")]
    assert "datasets.shapes" in names
    assert names == sorted(names)
    assert not [name for name in names if "._" in name]


@pytest.mark.parametrize(
    ("file", "ours"),
    [
        ("datasets/shapes.py", True),
        ("defenses/virolbi/smoothing.py", True),
        ("a_plugin.py", False),
        ("tests/x.py", False),
    ],
)
def test_what_lies_beside_our_packages_is_not_ours(file: str, ours: bool) -> None:
    assert is_ours(ROOT / file) is ours
