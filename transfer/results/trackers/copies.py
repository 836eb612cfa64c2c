"""Runs in a tracker: copied from their files when they have ended, a sweep at its end, or told while they train."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transfer.config.schema import Config, Track
from transfer.console import say
from transfer.errors import TransferError, missing, one_line
from transfer.results.run_folder import CONFIG, RERUN, RESULT, sweep_name
from transfer.results.trackers.entry import (
    WORDS,
    Entry,
    Facts,
    Record,
    Writer,
    key_of,
    live_entry,
    mean_records,
    mean_summary,
    program_entry,
    read_config,
    records_of,
    run_entry,
    summary_of,
)

MODES = ("online", "offline", "disabled")  # of W&B
Begin = Callable[[Entry, bool], Writer | None]
Watch = Callable[[int, dict[str, Any]], None]


def wanted(track: Track) -> bool:
    """Whether runs are copied; asked before they begin. Raises TransferError for a tracker that cannot do it."""
    mode = os.environ.get("WANDB_MODE") or MODES[0]
    if track.live and (track.name == "none" or track.per == "program"):
        raise TransferError("track.live=true tells a tracker of every run: choose one with track=, and track.per=run")
    if track.name == "wandb" and mode not in MODES:
        raise TransferError(f"WANDB_MODE={mode}: choose from {', '.join(MODES)} (offline where it is not set)")
    if track.name == "none" or (track.name == "wandb" and mode == "disabled"):
        return False
    if track.name != "csv" and find_spec(track.name) is None:
        raise missing(f"track={track.name}", track.name, track.name)
    return True


def copy_run(folder: Path) -> None:
    """Copy a run folder to the tracker of its configuration: into the folder itself, unless the tracker knows a server."""
    track = read_config(folder)["track"]
    if not track.get("live"):
        with _session(track["name"], folder) as begin:
            _copy(begin, run_entry(folder, None), records_of(folder), summary_of(folder))


def copy_sweep(folder: Path, said: Mapping[Path, Facts] | None = None, whole: Facts | None = None) -> None:
    """Copy what is new in a sweep: an entry for each run, or for each program as `track.per` says, and one for the sweep.

    said: more facts of a run, by its folder; whole: of the sweep. Its entry has the table of results and the page, where
    the report has been written.
    """
    places = sorted(path.parent for path in folder.glob(f"*/{RESULT}") if (path.parent / CONFIG).exists())
    tracks = {place: Track.model_validate(read_config(place)["track"]) for place in places}
    for name in dict.fromkeys(track.name for track in tracks.values()):
        mine = [place for place in places if tracks[place].name == name]
        if wanted(tracks[mine[0]]):
            with _session(name, folder) as begin:
                _copy_sweep(begin, folder, {place: tracks[place] for place in mine}, said or {}, whole or {})


def _copy_sweep(begin: Begin, folder: Path, tracks: dict[Path, Track], said: Mapping[Path, Facts], whole: Facts) -> None:
    group, words = sweep_name(folder), sorted(folder.glob(f"*/{WORDS}"))
    programs: dict[str, list[Path]] = {}
    for place, track in tracks.items():
        if track.per == "program":
            config = read_config(place)
            static = {key: value for key, value in config.items() if key not in ("seed", "hp", "resume", "track")}
            programs.setdefault(json.dumps([static, sorted(config["hp"])], sort_keys=True), []).append(place)
        elif not track.live:
            _copy(begin, run_entry(place, group, words), records_of(place), {**summary_of(place), **said.get(place, {})})
    for members in programs.values():
        facts = {**mean_summary(members), **said.get(members[0], {})}
        _copy(begin, program_entry(members, group), mean_records(members), facts)
    table, page = folder / "results.parquet", folder / "index.html"
    content = hashlib.sha256(table.read_bytes()).hexdigest() if table.exists() else ""
    files = tuple(path for path in (table, page) if path.exists())
    _copy(begin, Entry(group, "sweep", key_of("sweep", str(folder.resolve()), content), group, files=files), [], whole)


def _copy(begin: Begin, entry: Entry, records: Iterator[Record] | Sequence[Record], summary: Facts) -> None:
    if (writer := begin(entry, False)) is None:  # it is there
        return
    for record in records:
        writer.log(*record)
    writer.end(summary)


@contextmanager
def told(configs: Sequence[Config], folders: Sequence[Path] | None, alone: bool) -> Iterator[Watch | None]:
    """What tells a tracker of every record of every run as it comes (None: nothing does), and of their ends.

    Raises TransferError where it cannot begin; one that fails later costs no run.
    """
    track = configs[0].track
    if not folders or not track.live or not wanted(track):
        yield None
        return
    homes = [folder.parent if folder.name == RERUN else folder for folder in folders]
    with ExitStack() as stack:
        try:
            begin = stack.enter_context(_session(track.name, homes[0] if alone else homes[0].parent))
            writers = {n: begin(live_entry(*run, alone), True) for n, run in enumerate(zip(configs, homes, strict=True))}
        except Exception as error:
            raise TransferError(f"track={track.name}: {one_line(error)}") from error

        def tell(number: int, what: Callable[[Writer], None]) -> None:
            try:
                if writer := writers[number]:
                    what(writer)
            except Exception as error:
                writers[number] = None
                say(f"track={track.name}: {one_line(error)}; the run goes on without it", style="red")

        def watch(number: int, record: dict[str, Any]) -> None:
            values = {name: value for name, value in record.items() if name not in ("stage", "step")}
            tell(number, lambda writer: writer.log(record["stage"], record["step"], values))

        try:
            yield watch
        finally:
            for number, folder in enumerate(folders):
                summary = summary_of(folder) if (folder / RESULT).exists() else {"status": "interrupted"}
                tell(number, lambda writer, summary=summary: writer.end(summary))  # type: ignore[misc]


def _session(name: str, place: Path) -> AbstractContextManager[Begin]:
    module = import_module(f"transfer.results.trackers.{name}")
    session: AbstractContextManager[Begin] = module.session(place)
    return session
