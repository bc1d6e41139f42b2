"""The recorded cells as the tables read them: typed, in a fixed order, superseded ones left out."""

from __future__ import annotations

import types
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.errors import HarnessError, UserError
from harness.records.exhibits import Exhibit

if TYPE_CHECKING:
    import pandas as pd


class Group(NamedTuple):
    """Cells that may be compared: the same test images, the same training preset, the same form of the suite.

    variant: the suite's parameters, "limit=200" for "adversarial:limit=200" · data: see `Cell`.
    """

    family: str
    dataset: str
    data: str
    images: int
    preset: str
    variant: str


class Cell(NamedTuple):
    """One recorded cell, a row of the records' frame; text that does not apply is "" and numbers are None.

    family: the paper's data set it belongs to, or "" · weights: a digest of the network's weights · data: of the
    test images taken, which `Cells` leaves empty where the name and number of the images tell enough ·
    epochs, train_images, amp: of the training · altered: whether that was other than its preset's · gradient: how
    an adaptive attacker got through the preprocessing, "exact" or "bpda" for example · draws: gradients averaged per
    step · stage: of an attack in several, each of which takes over what the ones before fooled · transfer_from: the
    defense that the examples were made on · details: what else was noted, as JSON · device: what it
    was computed on.
    """

    identity: str
    dataset: str
    family: str
    backbone: str
    defense: str
    seed: int
    suite: str
    condition: str
    severity: int | None
    threat: str
    attack: str
    epsilon: float | None
    epsilon_space: str
    norm: str
    preprocess: str
    preset: str
    source: str
    n_images: int
    n_correct: int
    weights: str = ""
    data: str = ""
    epochs: int | None = None
    train_images: int | None = None
    amp: bool = False
    altered: bool = False
    gradient: str = ""
    draws: int = 1
    stage: str = ""
    transfer_from: str = ""
    details: str = ""
    device: str = ""

    @property
    def group(self) -> Group:
        """What it may be compared within."""
        variant = self.suite.partition(":")[2]
        return Group(self.family, self.dataset, self.data, self.n_images, self.preset, variant)

    @property
    def preprocessed(self) -> bool:
        """Whether something was done to the test image before the network."""
        return self.preprocess not in ("", "none")

    @property
    def disturbance(self) -> tuple[Any, ...]:
        """What was done to the images, for counting which conditions a mean is over."""
        return self.condition, self.severity or 0, self.source, self.threat, self.attack, self.epsilon or 0.0

    @property
    def network(self) -> tuple[Any, ...]:
        """Which trained network tables would take it for."""
        return self.dataset, self.family, self.data, self.preset, self.backbone, self.defense, self.seed

    @property
    def setting(self) -> tuple[Any, ...]:
        """All that tables tell apart."""
        scored = (self.n_images, self.suite, self.epsilon_space, self.norm, self.preprocess)
        return *self.network, *scored, *self.disturbance


REQUIRED = tuple(field for field in Cell._fields if field not in Cell._field_defaults)
NO_EXHIBITS: Mapping[str, Exhibit] = types.MappingProxyType({})
NONE_UNFINISHED: Mapping[str, tuple[int, int]] = types.MappingProxyType({})
_KINDS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("seed", "severity", "n_images", "n_correct", "epochs", "train_images", "draws"), int),
    **dict.fromkeys(("amp", "altered"), bool),
    "epsilon": float,
}


class Cells:
    """What tables are made from; nothing here opens a model.

    frame: one row per finished cell, in the order of their last use, with at least the columns `REQUIRED`; the
    other fields of `Cell` are used where there are columns of them · correct: an identity to [N] bool, images in
    the same order for the same data and N · exhibits: what was measured beside them, Table 7's seconds for example ·
    contested: the identities of those that several runs recorded with different predictions · unfinished: by run, how
    many of its planned cells are recorded and how many there are.

    Cells that tables cannot tell apart (a network trained again with other epochs, say) are not mixed: of several
    networks, and of several cells, the one used last counts, and `superseded` says how many were left out;
    `recorded` has them all, in the order of their last use. Seeds whose networks have equal weights are one network,
    taken for the lowest of these seeds; `twins` holds them.
    Raises: UserError when there are no cells.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        correct: Callable[[str], np.ndarray],
        exhibits: Mapping[str, Exhibit] = NO_EXHIBITS,
        contested: Iterable[str] = (),
        unfinished: Mapping[str, tuple[int, int]] = NONE_UNFINISHED,
    ) -> None:
        missing = [name for name in REQUIRED if name not in frame.columns]
        if missing:
            raise HarnessError(f"the records lack the columns {', '.join(missing)}.")
        if frame.empty:
            raise UserError("no recorded cells to make tables from. Run `python -m harness run` first.")
        self.recorded = tuple(_without_needless_data(_read(frame)))
        latest = _latest(self.recorded)
        self.superseded = len(self.recorded) - len(latest)
        self.twins = _twins(latest)
        self._cells = tuple(sorted(_as_one(latest, self.twins), key=_order))
        self._read_correct = correct
        self.exhibits = exhibits
        self.contested = frozenset(contested)
        self.unfinished = unfinished

    def __repr__(self) -> str:
        return f"<Cells: {len(self._cells)} current, {self.superseded} superseded>"

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._cells)

    def of_suite(self, name: str) -> list[Cell]:
        """The cells of one suite, whatever its parameters."""
        return [cell for cell in self._cells if base_name(cell.suite) == name]

    def correct(self, cell: Cell) -> np.ndarray:
        """Which images were classified correctly: [N] bool. Raises: HarnessError when they are not N."""
        found = self._read_correct(cell.identity)
        if found.shape != (cell.n_images,):
            raise HarnessError(f"cell {cell.identity} should have {cell.n_images} outcomes, found shape {found.shape}.")
        return found


def base_name(label: str) -> str:
    """A label without its parameters, "virolbi_fixed" for "virolbi_fixed:nu=16"."""
    return label.partition(":")[0]


def _read(frame: pd.DataFrame) -> list[Cell]:
    names = [name for name in Cell._fields if name in frame.columns]
    columns = [_values(name, frame[name]) for name in names]
    return [Cell(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]


def _values(name: str, column: pd.Series) -> list[Any]:
    absent = column.isna().tolist()
    kind = _KINDS.get(name, str)
    empty = Cell._field_defaults.get(name, "" if kind is str else None)
    return [empty if gone else kind(value) for value, gone in zip(column.tolist(), absent, strict=True)]


def _without_needless_data(cells: list[Cell]) -> list[Cell]:
    """The digests kept for those data sets only under whose name and number of images there are several.

    A digest depends on how many images are taken, so that 128 and 256 of the same ones have different digests.
    """
    digests: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for cell in cells:
        digests[cell.dataset, cell.family, cell.n_images].add(cell.data)
    doubtful = {key[:2] for key, found in digests.items() if len(found) > 1}
    return [cell if (cell.dataset, cell.family) in doubtful else cell._replace(data="") for cell in cells]


def _latest(cells: Sequence[Cell]) -> list[Cell]:
    network = {cell.network: cell.weights for cell in cells}
    current = [cell for cell in cells if cell.weights == network[cell.network]]
    return list({cell.setting: cell for cell in current}.values())


def _twins(cells: Iterable[Cell]) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """From `Cell.network` to all the seeds under which its weights were scored, where these are several."""
    seeds: dict[tuple[Any, ...], set[int]] = defaultdict(set)
    for cell in cells:
        if cell.weights:
            seeds[*cell.network[:-1], cell.weights].add(cell.seed)
    several = {key: tuple(sorted(found)) for key, found in seeds.items() if len(found) > 1}
    return {(*key[:-1], seed): found for key, found in several.items() for seed in found}


def _as_one(cells: Iterable[Cell], twins: Mapping[tuple[Any, ...], tuple[int, ...]]) -> list[Cell]:
    merged = [cell._replace(seed=min(twins.get(cell.network, (cell.seed,)))) for cell in cells]
    return list({cell.setting: cell for cell in merged}.values())


def _order(cell: Cell) -> tuple[Any, ...]:
    return *cell.setting, cell.identity
