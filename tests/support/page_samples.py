"""What the tests of the page share: collections drawn from a generator, as a run would record them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import numpy as np

from harness.records.exhibits import Exhibits
from harness.records.schema import Details, Record
from reports import Cells
from reports.collect.collection import Collection, Conflict, Failure

from .record_samples import make_record

EVIL = "<img src=x onerror=alert(1)></script><!--"
ENVIRONMENT = {"harness": "0.5", "device": "a test's CPU", "threads": 2}
RECIPE = {"epochs": 12, "optimiser": "SGD"}


class Recorder:
    """Records with outcomes drawn at random, every image the harder the higher its number."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    @property
    def outcomes(self) -> dict[str, np.ndarray]:
        """By identity, which images were right."""
        return {record.identity: record.correct() for record in self.records}

    def add(self, accuracy: float, *, n_images: int = 200, **given: Any) -> None:
        number = len(self.records)
        hardness = np.linspace(0.7, 1.3, n_images)
        correct = np.random.default_rng(number).random(n_images) * hardness < accuracy
        usual = {"preset": "quick", "environment": "here", "device": str(ENVIRONMENT["device"])}
        details = given.pop("details", Details())
        trained = dataclasses.replace(details, trained=details.trained or RECIPE)
        self.records.append(make_record(f"{number:05d}", correct, **{**usual, **given}, details=trained))

    def attack(self, accuracy: float, attack: str, epsilon: int, threat: str, **given) -> None:
        named = {"suite": "adversarial", "attack": attack, "threat": threat, "norm": "Linf", "epsilon_space": "pixel"}
        self.add(accuracy, **{**named, "condition": f"{attack} eps={epsilon}/255", "epsilon": epsilon / 255, **given})

    def cells(self) -> Cells:
        return Cells(self.records)

    def collection(self, **given: Any) -> Collection:
        return Collection(
            runs=("demo",),
            cells=self.cells(),
            exhibits=Exhibits(),
            environments={"here": ENVIRONMENT},
            **given,
        )


def sample() -> Recorder:
    """Two data sets, two seeds of some, every suite, masking checks, and a defense whose name is an attack itself."""
    recorder = Recorder()
    for place, defense in enumerate(("vanilla", "blur", "virolbi_fixed", EVIL)):
        for preprocess in ("none", "blur" if defense == "blur" else "virolbi"):
            for seed in (0, 1) if defense != EVIL else (0,):
                _record(recorder, 0.8 - 0.1 * place, defense=defense, preprocess=preprocess, seed=seed)
    recorder.add(0.4, defense="vanilla", dataset="cifar100", family="cifar100")
    return recorder


def _record(recorder: Recorder, accuracy: float, **given) -> None:
    recorder.add(accuracy, **given, details=Details(flags=("the gradient is zero",)))
    for condition in ("gaussian_noise", "shot_noise"):
        for severity in range(1, 6):
            severe = {"suite": "corruption", "condition": condition, "severity": severity, "source": "generated"}
            recorder.add(accuracy - 0.05 * severity, **severe, **given)
    for scale in ("1/2", "1/4"):
        recorder.add(accuracy / 2, suite="low_resolution", condition=f"scale={scale}", **given)
    if given["defense"] != EVIL:
        _attack(recorder, accuracy, **given)


def _attack(recorder: Recorder, accuracy: float, **given) -> None:
    threats = ("bare", "adaptive") if given["preprocess"] != "none" else ("bare",)
    for threat in threats:
        for attack, factor in (("fgsm", 0.5), ("pgd", 0.3)):
            for epsilon in (8, 16):
                recorder.attack(accuracy * factor * 8 / epsilon, attack, epsilon, threat, **given)
    if "adaptive" in threats:
        for epsilon in (1, 8, 64):
            recorder.attack(accuracy / epsilon, "pgd", epsilon, "adaptive", **given, suite="masking")


def failed() -> dict[str, Any]:
    """A failure and a conflict, for `Recorder.collection`."""
    record = make_record("x", np.arange(200) < 120, defense=EVIL, seed=3)
    return {
        "failures": (Failure("run-a", record, "out of memory <b>"),),
        "conflicts": (Conflict(record, {"run-a": 120, "run-b": 118}, 4),),
    }


def large(defenses: int, conditions: int, images: int = 10_000) -> Recorder:
    """As many cells as defenses times conditions, half of them preprocessed."""
    recorder = Recorder()
    for defense in range(defenses):
        for number in range(conditions):
            preprocess, place = ("none", "virolbi")[number % 2], number // 2
            severe = {"suite": "corruption", "condition": f"corruption_{place // 5}", "severity": place % 5 + 1}
            recorder.add(
                0.4 + 0.02 * defense, **severe, defense=f"defense_{defense}", preprocess=preprocess, n_images=images
            )
    return recorder


def scores(data: dict, seed: int | None = None) -> Iterator[tuple[tuple[str, str, str, str], dict, list[float]]]:
    """(data set, backbone, defense, preprocessing), column and number of all that the leaderboard holds."""
    (part,) = [part for part in data["scores"] if part["seed"] == seed]
    names = [data[name] for name in ("datasets", "backbones", "defenses", "preprocessings")]
    for entry, values in part["values"].items():
        key = tuple(known[place] for known, place in zip(names, data["entries"][int(entry)], strict=True))
        for column, numbers in values.items():
            yield key, data["columns"][int(column)], numbers


class Reader(HTMLParser):
    """What a browser finds: every tag with its attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.raw: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            tag, attributes = self.tags[-1]
            key = attributes.get("id", tag)
            self.raw[key] = self.raw.get(key, "") + data


def data_of(page: str) -> dict[str, Any]:
    """What the page's script works on."""
    return json.loads(Reader(page).raw["data"])
