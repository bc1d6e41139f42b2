"""RobustBench: its zoo's models for this harness, and its own evaluation for any model."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from harness.attacks.autoattack_package import stand_in
from harness.errors import UserError, unknown_name
from harness.spec import Spec

SCHEME = "robustbench"
ZOO_THREATS = ("Linf", "L2", "corruptions")
DATASETS = ("cifar10", "cifar100")
"""Families of data sets that the zoo has models for; the zoo uses the same names."""


class ZooName(NamedTuple):
    """A model of the zoo as `--checkpoint` names it: `robustbench:NAME,threat=Linf,models=DIR`."""

    name: str
    threat: str
    """The part of the zoo that it is in, one of `ZOO_THREATS`."""
    folder: Path
    """Of the weights, `models` by default; they lie at FOLDER/DATASET/THREAT/NAME.pt."""

    @classmethod
    def parse(cls, text: str) -> ZooName | None:
        """The name in a checkpoint's text; None where it is a file. Raises: UserError for a malformed one."""
        if text.partition(":")[0] != SCHEME:
            return None
        spec = Spec.parse(text)
        extra = sorted(spec.parameters.keys() - {"threat", "models"})
        if spec.positional is None or extra:
            raise UserError(f"expected {SCHEME}:NAME,threat=Linf,models=DIR, got {text!r}.")
        threat = spec.parameters.get("threat", ZOO_THREATS[0])
        if threat not in ZOO_THREATS:
            raise unknown_name("threat model of RobustBench", threat, ZOO_THREATS)
        return cls(spec.positional, threat, Path(spec.parameters.get("models", "models")))

    @property
    def label(self) -> str:
        """As tables show it."""
        return f"{SCHEME}:{self.name}" + ("" if self.threat == ZOO_THREATS[0] else f",threat={self.threat}")


def load_zoo_model(wanted: ZooName, family: str) -> nn.Module:
    """A model of the zoo, [0,1] in and logits out, in evaluation mode.

    Raises: UserError without RobustBench, for a data set or name it does not have, and for weights that are not in the
    folder and cannot be downloaded.
    """
    bench = imported()
    if family not in DATASETS:
        raise UserError(
            f"expected a data set that RobustBench's models for {' or '.join(DATASETS)} are made for, got one of the "
            f"family {family!r}. Its models for ImageNet are not supported."
        )
    dataset, threat = bench.enums.BenchmarkDataset(family), bench.enums.ThreatModel(wanted.threat)
    known = bench.models.get(dataset, {}).get(threat, {})
    timm_name = f"{wanted.name.lower().replace('-', '_')}_{dataset.value.lower()}_{threat.value.lower()}"
    if wanted.name not in known and not bench.utils.timm.is_model(timm_name):
        raise unknown_name(f"model of RobustBench ({dataset.value}, {threat.value})", wanted.name, known)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model: nn.Module = bench.utils.load_model(
                wanted.name, model_dir=wanted.folder, dataset=dataset, threat_model=threat
            )
    except Exception as error:  # the zoo downloads, unpickles and builds, each with errors of its own
        place = wanted.folder / dataset.value / threat.value / f"{wanted.name}.pt"
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"the weights of {wanted.label} could not be loaded: {reason} Put them at {place}, or name another folder: "
            f"{wanted.label},models=DIR."
        ) from error
    return model.eval()


def zoo_version() -> str:
    """The version of RobustBench that is installed."""
    return importlib.metadata.version("robustbench")


class _RobustBench(NamedTuple):
    enums: Any
    models: Any
    utils: Any
    evaluation: Any


def imported() -> _RobustBench:
    """RobustBench's modules, with AutoAttack under the name that they import. Raises: UserError without them."""
    if importlib.util.find_spec("robustbench") is None:
        raise UserError(
            "RobustBench is not installed. Install it with: python -m pip install robustbench 'setuptools<81'"
        )
    stand_in()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _RobustBench(
            importlib.import_module("robustbench.model_zoo.enums"),
            importlib.import_module("robustbench.model_zoo").model_dicts,
            importlib.import_module("robustbench.utils"),
            importlib.import_module("robustbench.eval"),
        )
