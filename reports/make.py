"""The report of one or several runs: tables, figures and a page, from their records alone; no model is opened."""

from __future__ import annotations

import dataclasses
import hashlib
import shlex
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal

from rich.console import Console

from harness import __version__
from harness.cache import digest_of
from harness.errors import UserError
from harness.files import file_name
from harness.packages import ROOT
from harness.registry import Registry, figures, tables

from .collect.collection import Collection, NothingFinishedError, collect
from .figures import gallery
from .formats.files import file_names, write
from .formats.terminal import to_terminal
from .manifest import Manifest, is_current, read_manifest, refuse_foreign, remove_stale, save_manifest
from .messages import say, say_failures, say_files, say_missing, say_next, say_problems
from .page import write_page
from .tables.engine.base import Table
from .tables.engine.build import FIRST, build

PAGE = "index.html"
DRAWN_BY = ("matplotlib", "numpy")
"""The packages whose versions change how figures look."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What a report contains, and what of it is printed. Raises: UserError for an unknown name."""

    tables: Sequence[str] | None = None
    """Make these tables only; None makes all that the records allow."""
    figures: Sequence[str] | None = None
    """Draw these figures only; None draws all that the records allow, () none."""
    page: bool = True
    plugins: Sequence[Path] = ()
    """Files that register further tables and figures; the command proposed next names them."""
    printed: Sequence[str] | Literal["all"] | None = None
    """Print these tables, and make them even if `tables` does not name them. None prints `tables`, else the summary."""

    def __post_init__(self) -> None:
        for kind, names in ((tables, self.tables), (tables, self.printed_names), (figures, self.figures)):
            for name in names or ():
                kind.canonical(name)

    @property
    def printed_names(self) -> Sequence[str]:
        """The tables to print that were asked for by name, each once."""
        if self.printed is None or self.printed == "all":
            return ()
        return tuple(dict.fromkeys(map(tables.canonical, self.printed)))


def make_report(runs: Sequence[Path], out: Path | None = None, options: ReportOptions | None = None) -> Sequence[str]:
    """Print tables, write the report unless it is up to date, and say what to run next.

    out: a folder; None for that of the only run. Files of an earlier report are replaced, or deleted where they
    were made from something else; no other file is touched.

    Returns the names of the tables and figures asked for that cannot be made from the records. Raises: UserError for
    several runs without `out`, for records that cannot be read, and for a folder that cannot be written or holds
    other files of these names.
    """
    options = options or ReportOptions()
    target = _target(runs, out)
    collection = _collect(runs)
    if collection is None:
        return ()
    made = _build(collection, options)
    printed = _printed(made, options)
    _print(printed, target / "tables")
    manifest = _write_if_changed(target, collection, made, options)
    missing = tuple(dict.fromkeys([*manifest.missing, *_missing(tables, options.printed_names, made)]))
    say_missing(missing)
    if options.tables is None:
        names = [[table.name for table in each] for each in (made, printed)]
        say_next(_command(runs, out, options.plugins), {record.defense for record in collection.cells}, *names)
    return missing


def _target(runs: Sequence[Path], out: Path | None) -> Path:
    if out is None and len({run.resolve() for run in runs}) > 1:
        raise UserError(f"a report of {len(runs)} runs needs a folder of its own. Name it with --out.")
    return out or runs[0]


def _collect(runs: Sequence[Path]) -> Collection | None:
    """The merged runs, after saying what went wrong in them; None where all cells failed."""
    try:
        collection = collect(runs)
    except NothingFinishedError as error:
        if not error.failures:
            raise
        say_failures(error.failures, several=len(runs) > 1)
        return None
    say_problems(collection)
    return collection


def _build(collection: Collection, options: ReportOptions) -> list[Table]:
    """The tables of the report, then those that `printed` adds. All are written."""
    made = build(collection.cells, options.tables)
    names = {table.name for table in made}
    return [*made, *build(collection.cells, [name for name in options.printed_names if name not in names])]


def _printed(made: Sequence[Table], options: ReportOptions) -> list[Table]:
    """The tables to print, in the order asked for; by default the summary, else the first table."""
    if options.printed == "all" or (options.printed is None and options.tables is not None):
        return list(made)
    by_name = {table.name: table for table in made}
    if options.printed is None:
        return [by_name[FIRST]] if FIRST in by_name else list(made[:1])
    return [by_name[name] for name in options.printed_names if name in by_name]


def _print(printed: Iterable[Table], folder: Path) -> None:
    console = Console()
    for number, table in enumerate(printed):
        if number:
            console.print()
        console.print(to_terminal(table, console.width, folder / f"{file_name(table.name)}.md"))


def _write_if_changed(target: Path, collection: Collection, made: Sequence[Table], options: ReportOptions) -> Manifest:
    """The manifest of the report in `target`, after writing it unless it is up to date."""
    source = _source(collection)
    contents = {"tables": options.tables, "made": [table.name for table in made]}
    digest = digest_of({"source": source, **contents, "figures": options.figures, "page": options.page})
    manifest = read_manifest(target)
    if manifest is not None and is_current(target, manifest, digest):
        say_files(target, manifest.files, what="up to date")
        return manifest
    return _write(target, Manifest(digest=digest, source=source), collection, made, options)


def _write(
    target: Path, manifest: Manifest, collection: Collection, made: Sequence[Table], options: ReportOptions
) -> Manifest:
    """Write everything, the manifest last: an interrupted report is written again."""
    drawn = gallery.draw(collection, options.figures) if options.figures != () else []
    names = [f"tables/{name}" for name in file_names(made)]
    names += [f"figures/{name}" for name in gallery.file_names(drawn)]
    names += [PAGE] if options.page else []
    refuse_foreign(target, names)
    before = read_manifest(target)
    save_manifest(target, Manifest(files=tuple(dict.fromkeys([*names, *(before.files if before else ())]))))
    _write_files(target, collection, made, drawn, page=options.page)
    stale = remove_stale(target, before, manifest.source, names)
    if stale.deleted:
        say(f"deleted: {len(stale.deleted):,} files of the report before, which was made from something else.")
    missing = (*_missing(tables, options.tables, made), *_missing(figures, options.figures, drawn))
    manifest = dataclasses.replace(manifest, files=(*names, *stale.kept), missing=missing)
    save_manifest(target, manifest)
    say_files(target, names, what="made")
    return manifest


def _write_files(
    target: Path, collection: Collection, made: Sequence[Table], drawn: Sequence[gallery.Drawn], *, page: bool
) -> None:
    files = {each.name: write([each], target / "tables") for each in made}
    files |= {each.name: gallery.write([each], target / "figures") for each in drawn}
    if page:
        links = {name: [path.relative_to(target).as_posix() for path in paths] for name, paths in files.items()}
        bitmaps = {path.stem: path.read_bytes() for paths in files.values() for path in paths if path.suffix == ".png"}
        pictures = [(each.name, each.title, each.caption, bitmaps[file_name(each.name)]) for each in drawn]
        write_page(collection, target / PAGE, tables=made, figures=pictures, links=links)


def _missing(kind: Registry, asked: Sequence[str] | None, made: Sequence[Table] | Sequence[gallery.Drawn]) -> list[str]:
    """The names asked for under which nothing was made; none where no names were given."""
    names = {each.name for each in made}
    return [name for name in asked or () if kind.canonical(name) not in names]


def _command(runs: Sequence[Path], out: Path | None, plugins: Sequence[Path]) -> str:
    """The command that makes this report again."""
    options = [*(("--out", out) if out is not None else ()), *(word for path in plugins for word in ("--plugin", path))]
    return shlex.join(map(str, ["python", "-m", "harness", "report", *runs, *options]))


def _source(collection: Collection) -> str:
    """A digest of everything that the files of a report depend on but its options."""
    exhibits = {name: _digest([collection.exhibits.path(name)]) for name in collection.exhibits}
    code = [*sorted((ROOT / "reports").rglob("*.*")), ROOT / "harness" / "metrics.py", ROOT / "harness" / "figures.py"]
    return digest_of(
        {
            "records": collection.digest,
            "exhibits": exhibits,
            "harness": __version__,
            "code": _digest(path for path in code if path.suffix != ".pyc"),
            "plugins": {each: kind.fingerprint(each) for kind in (tables, figures) for each in kind.names()},
            "drawn by": {name: metadata.version(name) for name in DRAWN_BY},
        }
    )


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path.name} {len(content)} ".encode() + content)
    return digest.hexdigest()
