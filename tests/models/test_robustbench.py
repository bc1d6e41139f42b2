"""RobustBench, both ways: its models here, our models there, and the same files scored alike."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.rounding import decided
from torch import nn

import harness
from datasets._official import CifarC
from harness.attacks.base import Budget
from harness.attacks.gradient import PGD
from harness.cache import ArrayCache
from harness.config import RunConfig
from harness.contracts.dataset import Dataset
from harness.contracts.model import ExternalModel, NormalizedModel, Pipeline
from harness.errors import UserError
from harness.evaluation.runner import Outcome, run
from harness.models import robustbench as adapter
from harness.models.robustbench import ZooName
from harness.records.database import Records
from harness.registry import attacks, datasets
from harness.types import Split
from reports import build
from reports.collect.collection import collect

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # RobustBench's and its dependencies' own
    pytest.mark.skipif(importlib.util.find_spec("robustbench") is None, reason="needs RobustBench"),
]


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("autoattack", "autoattack.state"):
            patch.delitem(sys.modules, name, raising=False)
        yield adapter.imported()


class Tiny(nn.Module):
    """A classifier of ten classes that looks at coarse colours; it normalises by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 10))

    def forward(self, images):
        return self.layers(images * 4 - 2)


@pytest.fixture
def zoo(bench, tmp_path: Path, monkeypatch) -> str:
    """A model of the zoo whose weights the user has; the text that names it."""
    dataset, threat = bench.enums.BenchmarkDataset("cifar10"), bench.enums.ThreatModel("Linf")
    monkeypatch.setitem(bench.models[dataset][threat], "Tiny2026", {"model": Tiny, "gdrive_id": "none"})
    folder = tmp_path / "models" / "cifar10" / "Linf"
    folder.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save({"state_dict": Tiny().state_dict()}, folder / "Tiny2026.pt")
    return f"robustbench:Tiny2026,models={tmp_path / 'models'}"


class Ten(Dataset):
    """Forty images that are called CIFAR-10."""

    name = family = "cifar10"
    classes = tuple("abcdefghij")
    mean, std = (0.5,) * 3, (0.25,) * 3

    def __init__(self, *, data_root: Path, cache: ArrayCache) -> None:
        self.data_root = data_root

    def test(self) -> Split:
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (40, 3, 4, 4), dtype=np.uint8).repeat(8, 2).repeat(8, 3)
        return Split(images=images, labels=np.arange(40) % 10, indices=np.arange(40), digest="e" * 64)

    train = test


@pytest.fixture
def config(tmp_path: Path, register) -> RunConfig:
    register(datasets, "ten", Ten)
    return RunConfig(dataset="ten", suites=("clean",), device="cpu", out=tmp_path / "out")


@pytest.fixture
def cache(tmp_path: Path) -> ArrayCache:
    return ArrayCache(tmp_path / "cache")


# Their models here


def test_a_model_of_the_zoo_is_scored_behind_any_preprocessing(config, cache, zoo, bench) -> None:
    chosen = RunConfig(
        **{
            **vars(config),
            "checkpoint": Path(zoo),
            "defenses": None,
            "preprocess": "virolbi:level=0.3",
            "suites": ("clean", "adversarial:attacks=pgd,gradients=bpda"),
            "epsilons": (8 / 255,),
        }
    )

    outcome = run(chosen, cache)

    assert outcome == Outcome(evaluated=5, skipped=0, failed=0)
    with Records.open(chosen.out) as records:
        frame = records.frame()
        raw = frame[(frame.suite == "clean") & (frame.preprocess == "none")].identity.item()
        found = records.predictions(raw)
    assert set(frame.backbone) == {"robustbench"}
    assert set(frame.defense) == {"robustbench:Tiny2026"}
    assert set(frame.preprocess) == {"none", "virolbi:level=0.3"}
    split = Ten(data_root=Path(), cache=cache).test()
    folder = Path(zoo.partition("models=")[2])
    theirs = bench.utils.load_model("Tiny2026", model_dir=folder, dataset="cifar10", threat_model="Linf")
    expected, sure = decided(theirs, torch.from_numpy(split.images).float() / 255)
    assert sure.sum() > 35
    assert np.array_equal(found[sure], expected[sure])


def test_a_model_of_the_zoo_is_under_its_own_name_and_beside_no_number_of_the_paper(config, cache, zoo) -> None:
    chosen = RunConfig(**{**vars(config), "checkpoint": Path(zoo), "defenses": None, "preprocess": "blur"})

    run(chosen, cache)

    (table,) = build(collect([chosen.out]).cells, ["summary"])
    assert [column.name for column in table.columns] == ["robustbench:Tiny2026"]
    assert [row.entries[0].paper for row in table.rows] == [None, None]
    assert "paper" not in " ".join(table.caption)


def test_examples_transferred_from_a_model_of_the_zoo_name_it(config, cache, zoo) -> None:
    chosen = RunConfig(
        **{
            **vars(config),
            "suites": ("adversarial:attacks=fgsm,threats=transfer",),
            "defenses": ("vanilla",),
            "epochs": 1,
            "transfer_from": Path(zoo),
        }
    )

    run(chosen, cache)

    with Records.open(chosen.out) as records:
        frame = records.frame()
    assert set(frame.transfer_from) == {"robustbench:Tiny2026"}
    assert set(frame.defense) == {"vanilla"}


def test_the_ball_of_a_zoo_model_is_measured_by_the_data_sets_std(zoo) -> None:
    wanted = ZooName.parse(zoo)

    model = ExternalModel(adapter.load_zoo_model(wanted, "cifar10"), (0.5,) * 3, (0.25,) * 3)

    assert model.std.flatten().tolist() == [0.25] * 3
    assert not model.network.training
    image = torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(image), model.network(image))


@pytest.mark.parametrize(
    ("text", "family", "message"),
    [
        (
            "robustbench:Standrd",
            "cifar10",
            r"unknown model of RobustBench \(cifar10, Linf\) 'Standrd'.*Did you mean Standard",
        ),
        ("robustbench:Standard", "shapes", "RobustBench's models for cifar10.*family 'shapes'"),
        (
            "robustbench:Standard_R50",
            "imagenet100",
            "family 'imagenet100'. Its models for ImageNet are not supported",
        ),
        (
            "robustbench:Tiny2026,models=/nowhere/at/all",
            "cifar10",
            "the weights of robustbench:Tiny2026 could not be loaded",
        ),
    ],
)
def test_what_the_zoo_cannot_give_is_one_line(text, family, message, zoo, monkeypatch, bench) -> None:
    def no_network(*_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(bench.utils, "download_gdrive_new", no_network)
    with pytest.raises(UserError, match=message):
        adapter.load_zoo_model(ZooName.parse(text), family)


@pytest.mark.parametrize("text", ["robustbench:threat=Linf", "robustbench:A,treat=L2", "robustbench:"])
def test_a_malformed_name_is_refused(text) -> None:
    with pytest.raises(UserError, match="expected"):
        ZooName.parse(text)
    assert ZooName.parse("runs/robustbench.pt") is None
    with pytest.raises(UserError, match="unknown threat model of RobustBench 'L1'"):
        ZooName.parse("robustbench:A,threat=L1")


def test_a_zoo_model_is_not_trained_by_a_defense(config, cache, zoo) -> None:
    chosen = RunConfig(**{**vars(config), "checkpoint": Path(zoo), "defenses": ("virolbi_fixed",)})

    with pytest.raises(UserError, match="come trained and take no defense, got --defense virolbi_fixed"):
        run(chosen, cache)


# Our models there


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A checkpoint of virolbi_fixed."""
    folder = tmp_path_factory.mktemp("trained")
    config = RunConfig(
        defenses=("virolbi_fixed",), suites=("clean",), epochs=2, train_limit=128, limit=8, device="cpu", out=folder
    )
    run(config, ArrayCache(folder / "cache"))
    return next((folder / "checkpoints").glob("*.pt"))


def test_a_checkpoint_loads_as_a_plain_module(trained) -> None:
    model = harness.load(trained)

    assert isinstance(model, NormalizedModel)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model.std.ne(1).all()
    with torch.no_grad():
        logits = model(torch.rand(5, 3, 32, 32))
    assert logits.shape[0] == 5


def test_its_preprocessing_may_come_along(trained) -> None:
    images = torch.rand((3, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    bare, own, other = (harness.load(trained, preprocess=name) for name in (None, "own", "blur"))

    assert isinstance(own, Pipeline)
    assert own.preprocessor.label == "virolbi"
    assert other.preprocessor.label == "blur"
    with torch.no_grad():
        assert torch.equal(own(images), bare(own.preprocessor(images).images))
    point = images.clone().requires_grad_()
    own(point).sum().backward()
    assert point.grad.abs().sum() > 0


@pytest.mark.parametrize("preprocess", [None, "own"])
def test_robustbench_evaluates_our_model_unchanged(trained, preprocess, bench, monkeypatch) -> None:
    model = harness.load(trained, preprocess=preprocess)
    images = torch.rand((6, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = model(images).argmax(1)
    labels[:2] = (labels[:2] + 1) % 5  # wrong from the start
    monkeypatch.setattr(bench.evaluation, "load_clean_dataset", lambda *_: (images, labels))

    clean, robust = bench.evaluation.benchmark(
        model, n_examples=6, dataset="cifar10", threat_model="Linf", eps=0.5, batch_size=6
    )

    assert clean == pytest.approx(4 / 6)
    assert robust == 0.0


COUNT = 16
"""Images that both attack."""


def test_robustbench_finds_what_we_find_where_some_images_hold(bench, monkeypatch) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ExternalModel(Tiny(), (0.5,) * 3, (0.25,) * 3).eval()
    images, labels, epsilon = at_half(model)
    labels[:2] = (labels[:2] + 1) % 10  # wrong from the start
    monkeypatch.setattr(bench.evaluation, "load_clean_dataset", lambda *_: (images, labels))

    clean, robust = bench.evaluation.benchmark(
        model, n_examples=COUNT, dataset="cifar10", threat_model="Linf", eps=epsilon, batch_size=COUNT
    )

    budget = Budget.of(epsilon, "pixel", torch.ones(3, 1, 1))
    result = attacks.create("autoattack")(model, images, labels, budget, seed=0, indices=np.arange(COUNT))
    with torch.no_grad():
        ours = float((model(result.images).argmax(1) == labels).float().mean())
    assert clean == pytest.approx((COUNT - 2) / COUNT)
    assert 0.2 < robust < 0.8
    assert robust == pytest.approx(ours, abs=1.01 / COUNT)  # one image, since random starts differ


def at_half(model: nn.Module) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Images that a model has all right, and a radius between those that it takes to fool them."""
    images = torch.rand((COUNT, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = model(images).argmax(1)
    for epsilon in np.geomspace(1e-4, 0.5, 25):
        budget = Budget.of(float(epsilon), "pixel", torch.ones(3, 1, 1))
        found = PGD(loss="margin")(model, images, labels, budget, seed=0, indices=np.arange(COUNT))
        with torch.no_grad():
            if (model(found).argmax(1) != labels).sum() >= COUNT // 2:
                return images, labels, float(epsilon)
    raise AssertionError("nothing fools this model")


class Many(Ten):
    """A test split of 10,000, as large as RobustBench takes it to be, with official corruptions beside it."""

    def test(self) -> Split:
        images = np.broadcast_to(np.zeros((3, 32, 32), np.uint8), (10_000, 3, 32, 32))
        return Split(images=images, labels=np.arange(10_000) % 10, indices=np.arange(10_000), digest="f" * 64)

    @property
    def files(self) -> CifarC:
        return CifarC(self.data_root / "CIFAR-10-C", np.arange(10_000) % 10)

    def official(self, corruption: str, severity: int) -> str | None:
        return self.files.fingerprint(corruption, severity)

    def corrupted(self, corruption: str, severity: int, indices: np.ndarray) -> np.ndarray:
        return self.files.images(corruption, severity, indices)


@pytest.mark.parametrize("severity", [4])
def test_corrupted_files_are_read_and_scored_as_robustbench_does(
    config, cache, zoo, bench, tmp_path, severity, register
) -> None:
    register(datasets, "many", Many)
    folder, rows = tmp_path / "CIFAR-10-C", slice(10_000 * (severity - 1), 10_000 * severity)
    folder.mkdir()
    pictures = np.lib.format.open_memmap(folder / "fog.npy", mode="w+", dtype=np.uint8, shape=(50_000, 32, 32, 3))
    coarse = np.random.default_rng(severity).integers(0, 256, (10_000, 4, 4, 3), dtype=np.uint8)
    pictures[rows] = coarse.repeat(8, 1).repeat(8, 2)  # the rest of the file stays a hole
    pictures.flush()
    np.save(folder / "labels.npy", np.arange(50_000) % 10)
    whole = dataclasses.replace(
        config, corruptions=("fog",), suites=(f"corruption:severities={severity}",), limit=10_000
    )
    given = {"dataset": "many", "data_root": tmp_path, "checkpoint": Path(zoo), "defenses": None, "preprocess": "blur"}

    assert run(dataclasses.replace(whole, **given), cache).failed == 0

    with Records.open(config.out) as records:
        frame = records.frame()
        ours = records.correct(frame[frame.preprocess == "none"].identity.item()).mean()
    assert set(frame.source) == {"official"}
    images, labels = sys.modules["robustbench.data"].load_cifar10c(10_000, severity, str(tmp_path), False, ["fog"])
    model = adapter.load_zoo_model(ZooName.parse(zoo), "cifar10")
    assert 0.05 < ours < 0.5
    _, sure = decided(model, images)
    assert sure.mean() > 0.99
    theirs = bench.utils.clean_accuracy(model, images, labels, batch_size=1000)
    assert ours == pytest.approx(theirs, abs=1e-9 + (1 - sure.mean()))  # of the rest, rounding decides
