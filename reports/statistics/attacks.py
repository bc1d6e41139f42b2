"""What tables know of attacks: the stages of AutoAttack, and what counts as having been attacked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

from harness.spec import Spec

from ..collect.cells import Cell, base_name

AUTOATTACK = {
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
}
"""The stages of each version, in order. `harness.attacks.autoattack` has them too, but loads PyTorch."""
ALIKE = ("standard", "rand")
"""Versions that count as one attack: the second is what the first is replaced by where a model draws random numbers."""


def stage_place(cell: Cell) -> int:
    """Which of its attack's stages it is, from 0 on; of a result −1."""
    order = _order(cell)
    return order.index(cell.stage) if cell.stage in order[:-1] else -1


def is_result(cell: Cell) -> bool:
    """Whether no stage of its attack comes after it."""
    return stage_place(cell) < 0


def furthest(cells: Iterable[Cell]) -> list[Cell]:
    """Of each attack in stages only the last of those given, which took on what the ones before it left."""
    last: dict[Hashable, Cell] = {}
    for cell in cells:
        key = _evaluation(cell)
        if key not in last or _progress(cell) > _progress(last[key]):
            last[key] = cell
    return list(last.values())


def attack_name(cell: Cell) -> tuple[str, str]:
    """The attack, by whichever way and in whichever form suits the model; for an unfinished one, its stage too."""
    alike = base_name(cell.attack) == "autoattack" and _version(cell) in ALIKE
    return ("autoattack" if alike else cell.attack), ("" if is_result(cell) else cell.stage)


def covered(chosen: Sequence[Cell], row: Sequence[Cell]) -> tuple[int, int]:
    """How many attacks the chosen cells hold the results of, each by every way it took, and how many they should.

    They should those of all attacks of the row, by every way that these took there through the same preprocessing;
    ways through another preprocessing are none of theirs.
    """
    done, same = _ways(chosen), _ways([cell for cell in row if cell.preprocess == chosen[0].preprocess])
    everything = {_aim(cell) for cell in row}
    return sum(map(len, done.values())), sum(len(same.get(aim, {""})) for aim in everything)


def _ways(cells: Iterable[Cell]) -> dict[Hashable, set[str]]:
    """By attack and radius, the ways of those cells that are results."""
    found: dict[Hashable, set[str]] = defaultdict(set)
    for cell in filter(is_result, cells):
        found[_aim(cell)].add(cell.gradient)
    return dict(found)


def _aim(cell: Cell) -> Hashable:
    return attack_name(cell)[0], cell.epsilon


def _order(cell: Cell) -> tuple[str, ...]:
    return AUTOATTACK.get(_version(cell), ()) if base_name(cell.attack) == "autoattack" else ()


def _version(cell: Cell) -> str:
    return Spec.parse(cell.attack).parameters.get("version", "standard")


def _progress(cell: Cell) -> int:
    return len(_order(cell)) if is_result(cell) else stage_place(cell)


def _evaluation(cell: Cell) -> Hashable:
    """What the stages of one attack have in common; a cell that is no such stage stands for itself."""
    if cell.stage not in _order(cell):
        return cell.identity
    return cell._replace(condition=cell.gradient).setting
