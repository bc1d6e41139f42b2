"""The report of one or several runs: tables, figures and a page, from their records alone; no model is opened."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from harness import __version__
from harness.errors import UserError
from harness.options import DEFAULT_OUT, FILE, FOLDER

STAMP, PAGE = "report.json", "index.html"
MOST_LINES = 5
"""Of conflicts told one by one."""
_DRAWN_BY = ("matplotlib", "numpy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """What a report holds: the tables and figures of these names (None for all, () for none), and the page or not."""

    tables: Sequence[str] | None = None
    figures: Sequence[str] | None = None
    page: bool = True


@click.command()
@click.argument("runs", metavar="[RUN]…", nargs=-1, type=FOLDER)
@click.option("--out", type=FOLDER, help="Where the report goes; by default into RUN, where that is one.")
@click.option("--table", "tables", metavar="A,B,…", help="Only these tables.")
@click.option("--figure", "figures", metavar="A,B,…", help="Only these figures.")
@click.option("--no-figures", is_flag=True, help="No figures.")
@click.option("--no-page", is_flag=True, help="No page.")
@click.option("--plugin", type=FILE, multiple=True, help="A Python file that registers further tables or figures.")
def report(
    runs: tuple[Path, ...],
    out: Path | None,
    tables: str | None,
    figures: str | None,
    no_figures: bool,
    no_page: bool,
    plugin: tuple[Path, ...],
) -> int:
    """Make tables, figures and the page again from the records of runs; no model is opened.

    Several runs, from several machines, become one report. Where records and options are those of the report that
    is there already, it is left as it is.
    """
    from harness.registry import load_plugin
    from harness.spec import split_list

    if figures is not None and no_figures:
        raise UserError("--figure and --no-figures contradict each other; give one of them.")
    for path in plugin:
        load_plugin(path)
    contents = Contents(
        tables=split_list(tables) if tables else None,
        figures=() if no_figures else split_list(figures) if figures else None,
        page=not no_page,
    )
    make_report(runs or (out or DEFAULT_OUT,), out, contents)
    return 0


def make_report(runs: Sequence[Path], out: Path | None = None, contents: Contents | None = None) -> None:
    """Print the tables, and write the report unless it is there already.

    out: a folder; None for that of the only run. Raises: UserError for several runs without `out`, records that
    cannot be read, an unknown name, or a folder that cannot be written.
    """
    from rich.console import Console

    from harness.packages import load_package

    reports, contents = load_package("reports"), contents or Contents()
    target = _target(runs, out)
    collection = _collected(runs)
    if collection is None:
        return
    tables = reports.build(collection.cells, contents.tables)
    reports.show(tables, Console())
    stamp = _stamp(collection, contents)
    if _is_current(target, stamp):
        _say(f"the report in {target} is up to date; nothing was written.")
        return
    _write(target, stamp, collection, tables, contents)


def _say(text: str) -> None:
    """One line on standard error; standard output has the tables alone."""
    click.echo(text, err=True)


def _target(runs: Sequence[Path], out: Path | None) -> Path:
    if out is None and len({run.resolve() for run in runs}) > 1:
        raise UserError(f"a report of {len(runs)} runs needs a folder of its own. Name it with --out.")
    return out or runs[0]


def _collected(runs: Sequence[Path]) -> Any:
    """The runs as one, what went wrong in them said; None where there is nothing else to say of them."""
    from harness.packages import load_package

    collection = load_package("reports.collection")
    try:
        found = collection.collect(runs)
    except collection.NothingFinishedError as error:
        if not error.failures:
            raise
        _say_failures(error.failures, several=len(runs) > 1)
        return None
    _say_failures(found.failures, several=len(found.runs) > 1)
    _say_conflicts(found.conflicts)
    _say_retrained(found.retrained)
    return found


def _say_failures(failures: Iterable[Any], *, several: bool) -> None:
    for failure in failures:
        where = f"{failure.run}: " if several else ""
        _say(f"failed: {where}{failure.shown.get('defense')}, {failure.shown.get('condition')}: {failure.reason}")


def _say_conflicts(conflicts: Sequence[Any]) -> None:
    for each in conflicts[:MOST_LINES]:
        counts = ", ".join(f"{run} {correct}" for run, correct in each.correct.items())
        _say(
            f"conflict: {each.shown.get('defense')}, {each.shown.get('condition')}: of {each.images} images right in "
            f"{counts}; {each.differing} predicted differently; the first counts."
        )
    if len(conflicts) > MOST_LINES:
        _say(f"and {len(conflicts) - MOST_LINES} further conflicts; the page shows them all.")


def _say_retrained(retrained: Iterable[Any]) -> None:
    for each in retrained:
        runs = sorted({*each.counted, *each.left_out})
        left_out = " and ".join(
            f"{count:,} cell{'' if count == 1 else 's'} of {run}" for run, count in each.left_out.items()
        )
        _say(
            f"conflict: {each.shown['defense']} (seed {each.shown['seed']}), {each.shown['dataset']}, "
            f"{each.shown['backbone']}: runs {' and '.join(runs)} trained it to other weights; those of "
            f"{' and '.join(each.counted)}, used last, count; left out: {left_out}."
        )


def _write(target: Path, stamp: str, collection: Any, tables: Sequence[Any], contents: Contents) -> None:
    """Write everything, and last what says from what it was made: an interrupted report is written anew."""
    from harness.packages import load_package

    if contents.page:
        _refuse_foreign_page(target)
    gallery = load_package("reports.gallery")
    drawn = gallery.draw(collection, contents.figures) if contents.figures != () else []
    _save_stamp(target, "", [])
    files = {table.name: load_package("reports").write([table], target / "tables") for table in tables}
    _say(f"tables as Markdown, CSV, LaTeX and HTML: {target / 'tables'}")
    if drawn:
        files |= {each.name: gallery.write([each], target / "figures") for each in drawn}
        _say(f"figures as PNG, PDF and SVG: {target / 'figures'}")
    written = [path for paths in files.values() for path in paths]
    links = {name: [path.relative_to(target).as_posix() for path in paths] for name, paths in files.items()}
    if contents.page:
        pictures = [(each.name, each.title, each.caption, _bitmap(files[each.name])) for each in drawn]
        write_page = load_package("reports.page").write_page
        written.append(write_page(collection, target / PAGE, tables=tables, figures=pictures, links=links))
        _say(f"page: {target / PAGE}")
    _save_stamp(target, stamp, [path.relative_to(target).as_posix() for path in written])


def _bitmap(files: Iterable[Path]) -> bytes:
    return next(path for path in files if path.suffix == ".png").read_bytes()


def _stamp(collection: Any, contents: Contents) -> str:
    """A digest of all that a report depends on."""
    from harness.cache import digest_of
    from harness.packages import ROOT
    from harness.registry import figures, tables

    exhibits = {name: _digest([collection.exhibits.path(name)]) for name in collection.exhibits}
    code = [*sorted((ROOT / "reports").rglob("*.*")), ROOT / "harness" / "metrics.py", ROOT / "harness" / "figures.py"]
    return digest_of(
        {
            "records": collection.digest,
            "exhibits": exhibits,
            "contents": dataclasses.asdict(contents),
            "harness": __version__,
            "code": _digest(path for path in code if path.suffix != ".pyc"),
            "plugins": {each: kind.fingerprint(each) for kind in (tables, figures) for each in kind.names()},
            "drawn by": {name: metadata.version(name) for name in _DRAWN_BY},
        }
    )


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path.name} {len(content)} ".encode() + content)
    return digest.hexdigest()


def _is_current(target: Path, stamp: str) -> bool:
    """Whether the report that was made from the same is there, all its files with it."""
    found = _read_stamp(target)
    return found.get("stamp") == stamp and all((target / name).is_file() for name in found["files"])


def _read_stamp(target: Path) -> Mapping[str, Any]:
    """What the report that is there was made from; {} where there is none."""
    try:
        found = json.loads((target / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("files"), list) else {}


def _save_stamp(target: Path, stamp: str, files: Sequence[str]) -> None:
    path = target / STAMP
    temporary = path.with_name(f".{STAMP}.tmp")
    try:
        target.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"stamp": stamp, "files": files}, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"the report cannot be written to {target}: {error.strerror}. Choose another --out.") from error


def _refuse_foreign_page(target: Path) -> None:
    if (target / PAGE).exists() and not _read_stamp(target):
        raise UserError(
            f"expected an earlier report or none in {target}, found an {PAGE} of something else. Choose another --out."
        )
