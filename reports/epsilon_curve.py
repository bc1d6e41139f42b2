"""Accuracy against ε, a line per attack: the picture beside the masking checks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UserError
from harness.figures import save_figure
from harness.metrics import show_epsilon, wilson

from .cells import Cell, Cells, base_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = {
    "fgsm": ("FGSM", "#E69F00", "^", "-"),
    "pgd": ("PGD-20", "#0072B2", "o", "-"),
    "effort": ("PGD, more effort", "#000000", "*", ""),
    "apgd": ("APGD", "#009E73", "D", ""),
    "square": ("Square (black box)", "#CC79A7", "s", ""),
    "transfer": ("PGD, transferred", "#D55E00", "X", ""),
}
"""By attack: name, a colour that any colour vision tells from the others (Okabe and Ito), marker and line."""
_INK, _FAINT = "#333333", "#DDDDDD"
_WIDTH, _HEIGHT = 5.2, 3.8


def draw(cells: Cells) -> Figure | None:
    """A panel per defended network, from the suite `masking`; None when that was not run."""
    panels: dict[tuple[str, ...], list[Cell]] = defaultdict(list)
    for cell in cells.of_suite("masking"):
        if cell.preprocessed and cell.epsilon:
            panels[cell.dataset, cell.backbone, cell.defense, str(cell.seed), cell.preprocess].append(cell)
    if not panels:
        return None
    from matplotlib.figure import Figure

    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows), layout="constrained")
    for number, (names, members) in enumerate(sorted(panels.items()), 1):
        dataset, backbone, defense, seed, preprocess = names
        axes = figure.add_subplot(rows, columns, number)
        axes.set_title(f"{defense}, {preprocess} in front\n{dataset}, {backbone}, seed {seed}", fontsize=9, loc="left")
        _draw(axes, members)
    return figure


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write the figure as PNG and PDF; the same figure gives the same bytes. Raises: UserError when it cannot."""
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        return save_figure(figure, stem)
    except OSError as error:
        raise UserError(f"the figure {stem} cannot be written: {error.strerror}. Choose another --out.") from error


def _draw(axes: Axes, members: Sequence[Cell]) -> None:
    lines: dict[str, list[Cell]] = defaultdict(list)
    for cell in members:
        if (kind := _kind(cell)) is not None:
            lines[kind].append(cell)
    for kind in sorted(lines, key=list(STYLES).index):
        _draw_line(axes, kind, sorted(lines[kind], key=lambda cell: cell.epsilon or 0))
    radii = sorted({cell.epsilon for cell in members if cell.epsilon})
    axes.set_xscale("log")
    axes.set_xticks(radii, [show_epsilon(radius).removesuffix("/255") for radius in radii], fontsize=8)
    axes.minorticks_off()
    axes.set_ylim(-3, 103)
    axes.set_xlabel(f"ε ({members[0].epsilon_space}, of 255)", color=_INK, fontsize=9)
    axes.set_ylabel("accuracy in percent", color=_INK, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color=_FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


def _draw_line(axes: Axes, kind: str, members: Sequence[Cell]) -> None:
    name, colour, marker, line = STYLES[kind]
    shares = [100 * cell.n_correct / cell.n_images for cell in members]
    intervals = [wilson(cell.n_correct, cell.n_images) for cell in members]
    below = [max(0.0, share - 100 * interval.low) for share, interval in zip(shares, intervals, strict=True)]
    above = [max(0.0, 100 * interval.high - share) for share, interval in zip(shares, intervals, strict=True)]
    axes.errorbar(
        [cell.epsilon or 0 for cell in members],
        shares,
        yerr=[below, above],
        label=name,
        color=colour,
        marker=marker,
        linestyle=line or "none",
        markersize=5,
        linewidth=1.4,
        elinewidth=0.8,
        capsize=2,
    )


def _kind(cell: Cell) -> str | None:
    if cell.threat == "transfer":
        return "transfer"
    if cell.attack.startswith("pgd:"):
        return "effort"
    return base_name(cell.attack) if base_name(cell.attack) in STYLES else None
