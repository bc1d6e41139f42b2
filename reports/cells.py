"""The recorded cells as the tables read them: typed, in a fixed order, superseded ones left out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.errors import HarnessError, UserError

if TYPE_CHECKING:
    import pandas as pd


class Group(NamedTuple):
    """Cells that may be compared: the same test images, the same training preset, the same form of the suite.

    variant: the suite's parameters, "limit=200" for "adversarial:limit=200".
    """

    family: str
    dataset: str
    images: int
    preset: str
    variant: str


class Cell(NamedTuple):
    """One recorded cell, a row of the records' frame; text that does not apply is "" and numbers are None.

    family: the paper's data set it belongs to, or "" · weights: a digest of the network's weights where the
    records give one.
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

    @property
    def group(self) -> Group:
        """What it may be compared within."""
        return Group(self.family, self.dataset, self.n_images, self.preset, self.suite.partition(":")[2])

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
        return self.dataset, self.family, self.preset, self.backbone, self.defense, self.seed

    @property
    def setting(self) -> tuple[Any, ...]:
        """All that tables tell apart."""
        scored = (self.n_images, self.suite, self.epsilon_space, self.norm, self.preprocess)
        return *self.network, *scored, *self.disturbance


REQUIRED = tuple(field for field in Cell._fields if field != "weights")
_KINDS = {"seed": int, "severity": int, "n_images": int, "n_correct": int, "epsilon": float}


class Cells:
    """What tables are made from; nothing here opens a model.

    frame: one row per finished cell, in the order of recording, with at least the columns `REQUIRED`; a column
    `weights` is used where there is one · correct: an identity to [N] bool, images in the same order for the
    same data and N.

    Cells that tables cannot tell apart (a network trained again with other epochs, say) are not mixed: of several
    networks, and of several cells, the one recorded last counts, and `superseded` says how many were left out.
    Raises: UserError when there are no cells.
    """

    def __init__(self, frame: pd.DataFrame, correct: Callable[[str], np.ndarray]) -> None:
        missing = [name for name in REQUIRED if name not in frame.columns]
        if missing:
            raise HarnessError(f"the records lack the columns {', '.join(missing)}.")
        if frame.empty:
            raise UserError("no recorded cells to make tables from. Run `python -m harness run` first.")
        recorded = _read(frame)
        latest = _latest(recorded)
        self.superseded = len(recorded) - len(latest)
        self._cells = tuple(sorted(latest, key=_order))
        self._read_correct = functools.cache(correct)

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
    kind: Callable[[Any], Any] = _KINDS.get(name, str)
    empty = "" if kind is str else None
    return [empty if gone else kind(value) for value, gone in zip(column.tolist(), absent, strict=True)]


def _latest(cells: Iterable[Cell]) -> list[Cell]:
    cells = list(cells)
    network = {cell.network: cell.weights for cell in cells}
    current = [cell for cell in cells if cell.weights == network[cell.network]]
    return list({cell.setting: cell for cell in current}.values())


def _order(cell: Cell) -> tuple[Any, ...]:
    return *cell.setting, cell.identity
