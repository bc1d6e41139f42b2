"""The report of one or several runs: tables, figures and a page, from their records alone; no model is opened."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from harness import __version__
from harness.cache import digest_of
from harness.errors import UserError
from harness.packages import ROOT
from harness.records.schema import Record
from harness.registry import figures, tables

from .collect.collection import NothingFinishedError, collect
from .figures import gallery
from .formats.files import file_names, show, write
from .manifest import Manifest, is_current, read_manifest, refuse_foreign, remove_stale, save_manifest
from .page import write_page
from .tables.engine.build import build

if TYPE_CHECKING:
    from harness.registry import Registry

PAGE = "index.html"
MOST_LINES = 5
"""Of conflicts told one by one."""
_DRAWN_BY = ("matplotlib", "numpy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What a report holds."""

    tables: Sequence[str] | None = None
    """Their names; None for all, () for none."""
    figures: Sequence[str] | None = None
    """Their names; None for all, () for none."""
    page: bool = True


def make_report(runs: Sequence[Path], out: Path | None = None, options: ReportOptions | None = None) -> Sequence[str]:
    """Print the tables, and write the report unless it is there already.

    out: a folder; None for that of the only run. Files of an earlier report are replaced, or deleted where they
    were made from something else; no other file is touched.

    Returns the names of tables and figures that were asked for and cannot be made of what was run. Raises: UserError
    for several runs without `out`, records that cannot be read, an unknown name, or a folder that cannot be written
    or has files of these names that are no report's.
    """
    options = options or ReportOptions()
    target = _target(runs, out)
    collection = _collected(runs)
    if collection is None:
        return ()
    made = build(collection.cells, options.tables)
    show(made, Console())
    manifest, earlier = _manifest(collection, options, _missing(tables, options.tables, made)), read_manifest(target)
    if earlier and is_current(target, earlier, manifest.digest):
        _say(f"the report in {target} is up to date; nothing was written.")
    else:
        earlier = _write(target, manifest, collection, made, options)
    if earlier.missing:
        _say(f"not made, for want of what they show: {', '.join(earlier.missing)}.")
    return earlier.missing


def _say(text: str) -> None:
    """One line on standard error; standard output has the tables alone."""
    click.echo(text, err=True)


def _target(runs: Sequence[Path], out: Path | None) -> Path:
    if out is None and len({run.resolve() for run in runs}) > 1:
        raise UserError(f"a report of {len(runs)} runs needs a folder of its own. Name it with --out.")
    return out or runs[0]


def _collected(runs: Sequence[Path]) -> Any:
    """The runs as one, what went wrong in them said; None where there is nothing else to say of them."""

    try:
        collection = collect(runs)
    except NothingFinishedError as error:
        if not error.failures:
            raise
        _say_failures(error.failures, several=len(runs) > 1)
        return None
    _say_failures(collection.failures, several=len(collection.runs) > 1)
    _say_conflicts(collection.conflicts)
    _say_conflicting(collection.conflicting)
    _say_unfinished(collection.unfinished)
    return collection


def _say_failures(failures: Iterable[Any], *, several: bool) -> None:
    for failure in failures:
        where = f"{failure.run}: " if several else ""
        _say(f"failed: {where}{failure.description.defense}, {failure.description.condition}: {failure.reason}")


def _say_conflicts(conflicts: Sequence[Any]) -> None:
    for each in conflicts[:MOST_LINES]:
        counts = ", ".join(f"{run} {correct}" for run, correct in each.correct.items())
        _say(
            f"conflict: {_cell_text(each.record)}: of {each.record.n_images} images right in {counts}; "
            f"{each.differing} predicted differently; that of {next(iter(each.correct))}, recorded first, counts."
        )
    if len(conflicts) > MOST_LINES:
        _say(f"and {len(conflicts) - MOST_LINES} further conflicts; the page shows them all.")


def _cell_text(record: Record) -> str:
    """Which cell it is, in full: “blur (seed 0), cifar10, resnet18, corruption, fog, severity 3, preprocess blur”."""
    named = {"severity": "severity ", "threat": "threat ", "preprocess": "preprocess "}
    values = {name: getattr(record, name) for name in ("dataset", "backbone", "suite", "condition", *named)}
    known = [f"{named.get(name, '')}{value}" for name, value in values.items() if value not in (None, "")]
    return ", ".join([f"{record.defense} (seed {record.seed})", *known])


def _say_conflicting(conflicting: Iterable[Any]) -> None:
    for each in conflicting:
        runs = sorted({*each.counted, *each.left_out})
        left_out = " and ".join(
            f"{count:,} cell{'' if count == 1 else 's'} of {run}" for run, count in each.left_out.items()
        )
        _say(
            f"conflict: {each.last.defense} (seed {each.last.seed}), {each.last.dataset}, {each.last.backbone}: "
            f"runs {' and '.join(runs)} trained it to other weights; those of "
            f"{' and '.join(each.counted)}, used last, count; left out: {left_out}."
        )


def _say_unfinished(runs: Mapping[str, tuple[int, int]]) -> None:
    for run, (done, planned) in runs.items():
        _say(f"{run} is incomplete: {done:,} of {planned:,} planned cells are recorded.")


def _write(
    target: Path, manifest: Manifest, collection: Any, tables: Sequence[Any], options: ReportOptions
) -> Manifest:
    """Write everything, and last the manifest: an interrupted report is written anew."""

    drawn = gallery.draw(collection, options.figures) if options.figures != () else []
    names = [f"tables/{name}" for name in file_names(tables)]
    names += [f"figures/{name}" for name in gallery.file_names(drawn)]
    names += [PAGE] if options.page else []
    refuse_foreign(target, names)
    before = read_manifest(target)
    save_manifest(target, Manifest(files=tuple(dict.fromkeys([*names, *(before.files if before else ())]))))
    _write_files(target, collection, tables, drawn, options)
    kept, deleted = remove_stale(target, before, manifest.source, names)
    if deleted:
        _say(f"deleted: {len(deleted):,} files of the report before, which was made from something else.")
    missing = (*manifest.missing, *_missing(figures, options.figures, drawn))
    manifest = dataclasses.replace(manifest, files=(*names, *kept), missing=missing)
    save_manifest(target, manifest)
    return manifest


def _write_files(
    target: Path, collection: Any, tables: Sequence[Any], drawn: Sequence[Any], options: ReportOptions
) -> None:

    files = {each.name: write([each], target / "tables") for each in tables}
    if tables:
        _say(f"tables as Markdown, CSV, LaTeX and HTML: {target / 'tables'}")
    files |= {each.name: gallery.write([each], target / "figures") for each in drawn}
    if drawn:
        _say(f"figures as PNG, PDF and SVG: {target / 'figures'}")
    if options.page:
        links = {name: [path.relative_to(target).as_posix() for path in paths] for name, paths in files.items()}
        pictures = [(each.name, each.title, each.caption, _bitmap(files[each.name])) for each in drawn]
        write_page(collection, target / PAGE, tables=tables, figures=pictures, links=links)
        _say(f"page: {target / PAGE}")


def _missing(kind: Registry, asked: Sequence[str] | None, made: Iterable[Any]) -> list[str]:
    """The names asked for under which nothing was made; none where all that can be made was asked for."""
    names = {each.name for each in made}
    return [name for name in asked or () if kind.canonical(name) not in names]


def _bitmap(files: Iterable[Path]) -> bytes:
    return next(path for path in files if path.suffix == ".png").read_bytes()


def _manifest(collection: Any, options: ReportOptions, missing: Sequence[str]) -> Manifest:
    """What says that a report is of this collection and has these options."""

    source = _source(collection)
    digest = digest_of({"source": source, "contents": dataclasses.asdict(options)})
    return Manifest(digest=digest, source=source, missing=tuple(missing))


def _source(collection: Any) -> str:
    """A digest of all that the files of a report depend on."""

    exhibits = {name: _digest([collection.exhibits.path(name)]) for name in collection.exhibits}
    code = [*sorted((ROOT / "reports").rglob("*.*")), ROOT / "harness" / "metrics.py", ROOT / "harness" / "figures.py"]
    return digest_of(
        {
            "records": collection.digest,
            "exhibits": exhibits,
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
