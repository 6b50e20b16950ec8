"""The data commands: list, get, inspect, split, background, cache."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from earsight import extras
from earsight.errors import SettingsError
from earsight.flags import DataFlags, Json, Switch, WholeNumber, WrappedHelp
from earsight.plain import plain, pluralise
from earsight.terminal import division_lines, inspection_lines, json_line, show, source_lines

app = cyclopts.App(
    name="data",
    help="List, download, inspect and split data sets; add background clips; manage the cache.",
    help_format="plaintext",
)


@app.command(name="list", help_formatter=WrappedHelp())
def list_(*, json_: Json = False) -> int:
    """List the data sets that are known by name.

    Parameters
    ----------
    json_
        Print JSON instead of text.
    """
    from earsight.dataset.sources import downloaded_folder, known_sources

    sources = known_sources()
    present = [name for name in sources if downloaded_folder(name).is_dir()]
    if json_:
        fields = ("title", "licence", "citation", "page", "protocol", "how_to_get")
        rows = [{"name": name, **{f: getattr(sources[name], f) for f in fields}} for name in sources]
        show(json_line([{**row, "downloaded": row["name"] in present} for row in rows]))
    else:
        show(*source_lines(sources.values(), present))
        show("download one: earsight data get NAME; train on it: earsight train NAME")
    return 0


@app.command(help_formatter=WrappedHelp())
def get(name: str, /) -> int:
    """Download a known data set, verify it and unpack it into the cache.

    The cache is the folder EARSIGHT_HOME if that is set, otherwise
    XDG_CACHE_HOME/earsight or ~/.cache/earsight. With EARSIGHT_MIRROR=URL,
    archives are downloaded from URL, under their official file names.

    Parameters
    ----------
    name
        One of the names that earsight data list shows.
    """
    from earsight.tasks.data import get as task

    show(str(task(name, progress=True)))
    return 0


@app.command(help_formatter=WrappedHelp())
def inspect(
    place: Path,
    /,
    *,
    data_flags: DataFlags = DataFlags(),
    short_s: float = 0.5,
    threads: WholeNumber | None = None,
    html: Path | None = None,
    overwrite: Switch = False,
    json_: Json = False,
) -> int:
    """Summarise a data set, and find silent, clipped, short, truncated, unreadable and duplicate files, duplicates
    with different labels, constant offsets and silent channels.

    Parameters
    ----------
    place
        Recordings, as for earsight train.
    short_s
        List clips shorter than this many seconds.
    threads
        Number of decoding threads. Default: as many as there are cores.
    html
        Write an HTML page with figures to this file.
    overwrite
        Replace the --html file if it exists.
    json_
        Print JSON instead of text.
    """
    from earsight.tasks.data import check_output
    from earsight.tasks.inspect import inspect as task
    from earsight.tasks.inspect import source_facts

    if html is not None:
        extras.check("matplotlib", "jinja2")
        check_output(html, place, overwrite=overwrite)
    done = task(place, short_s=short_s, threads=threads, progress=True, **asdict(data_flags))
    if html is not None:
        check_output(html, done.dataset.place, overwrite=overwrite, clips=done.dataset.clips)
    if json_:
        show(json_line({**done.to_dict(), "about": source_facts(done.dataset.source)}))
    else:
        show(*inspection_lines(done, source_facts(done.dataset.source)))
    if html is not None:
        from earsight.tasks.inspect_page import write_inspection

        show(f"page: {write_inspection(html, done)}", to=sys.stderr if json_ else None)
    return 0


@app.command(help_formatter=WrappedHelp())
def split(
    place: Path,
    /,
    *,
    split: str = "auto",
    seed: WholeNumber = 0,
    data_flags: DataFlags = DataFlags(),
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    overwrite: Switch = False,
) -> int:
    """Show how a data set would be split, and optionally write the split as a table.

    Parameters
    ----------
    place
        Recordings, as for earsight train.
    split
        As for earsight train.
    seed
        Random seed, for splits that are drawn at random.
    out
        CSV file to write; train on it with --split column:part.
    overwrite
        Replace the --out file if it exists.
    """
    from earsight.files import write_atomic
    from earsight.tasks.data import check_output, preview_split

    if out is not None:
        _check_table(out)
        check_output(out, place, overwrite=overwrite)
    done = preview_split(place, split, seed=seed, progress=True, **asdict(data_flags))
    if out is None:
        show(*division_lines(done))
        return 0
    check_output(out, done.dataset.place, overwrite=overwrite, clips=done.dataset.clips)
    write_atomic(out, done.to_csv())
    show(*division_lines(done), f"table: {out}")
    if done.try_split:
        show(f"try:   earsight train {shlex.quote(str(out))} --split {done.try_split}")
    return 0


@app.command(help_formatter=WrappedHelp())
def background(
    place: Path,
    /,
    *,
    data_flags: DataFlags = DataFlags(),
    out: Annotated[Path, Parameter(alias="-o")],
    overwrite: Switch = False,
) -> int:
    """Write a table of the annotated spans and, from between them, as many spans without a label, so that a network
    trained on it learns when nothing sounds.

    Parameters
    ----------
    place
        Recordings annotated from end to end: with label files next to them, or a table with the columns start and end.
    out
        CSV file to write.
    overwrite
        Replace the --out file if it exists.
    """
    from earsight.files import write_atomic
    from earsight.tasks.data import add_background, check_output

    _check_table(out)
    check_output(out, place, overwrite=overwrite)
    done = add_background(place, **asdict(data_flags))
    check_output(out, done.dataset.place, overwrite=overwrite, clips=done.clips)
    write_atomic(out, done.to_csv())
    for failure in done.dataset.failures:
        show(f"left out: {plain(failure.path)}: {plain(failure.reason)}", to=sys.stderr)
    labelled = pluralise(len(done.clips) - done.background, "labelled span")
    show(f"{labelled} and {done.background} without a label: {plain(str(out))}")
    show(f"try:   earsight train {shlex.quote(str(out))}")
    return 0


def _check_table(out: Path) -> None:
    """Raises SettingsError."""
    if out.suffix.lower() != ".csv":
        raise SettingsError(f"--out {out} must end in .csv, or it will not be recognised as a table; rename it")


@app.command(help_formatter=WrappedHelp())
def cache(
    *,
    clear: Switch = False,
    downloads: Switch = False,
) -> int:
    """Show what the cache holds, or delete decoded recordings and unpacked archives from it.

    Parameters
    ----------
    clear
        Delete them; the next training unpacks and decodes again. Downloaded data sets stay.
    downloads
        With --clear: delete downloads and the data sets unpacked from them, too.
    """
    from earsight.tasks.data import cache_entries

    if downloads and not clear:
        raise SettingsError("--downloads only works with --clear; pass both")
    for kept in cache_entries():
        size = kept.size_bytes
        if removed := clear and (downloads or not kept.fetched):
            kept.clear()
        show(f"{kept.place}: {size / 1e6:.1f} MB of {kept.what}{' removed' if removed else ''}")
    return 0
