"""No traces: planted people go through everything and are found nowhere (rows V24, S07, S16).

What is searched: every answer of the service and every word at a terminal, its log, its data folder
byte by byte (database, write-ahead log and free pages included), its temporary folder and its
callers', and the raw image of the file system that all of its files were on.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pysqlite3.dbapi2 as sqlite
import pytest

from api.serving import ROLES
from tests.traces.disk import LoopDisk, needs_loop_device
from tests.traces.plants import Finder, Hit, packed, plants, spellings
from tests.traces.service import Watched
from tests.traces.story import Planted, Telling


@dataclass
class Told:
    """What the story leaves to be searched."""

    house: Watched
    finder: Finder
    package: dict[str, bytes]
    disk: LoopDisk | None
    live: list[Hit]


def _bytes_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(4 << 20), b"")


def _in_folder(finder: Finder, folder: Path) -> list[Hit]:
    """Hits in every file below a folder, in its name too."""
    found: list[Hit] = []
    for path in sorted(folder.rglob("*")):
        found += finder.in_text(str(path.relative_to(folder)), "file names")
        if path.is_file():
            found += finder.search(_bytes_of(path), str(path))
    return found


def _disk(folder: Path) -> LoopDisk | None:
    try:
        return LoopDisk(folder, megabytes=384)
    except OSError:
        return None


@pytest.fixture(scope="module", params=["", ",".join(ROLES)], ids=["one", "separate"])
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Told]:
    """The story, told once for each way to run; the service has ended, its disk is unmounted."""
    disk = _disk(tmp_path_factory.mktemp("image")) if os.geteuid() == 0 else None
    place = disk.path if disk else tmp_path_factory.mktemp("disk")
    house = Watched(place, tmp_path_factory.mktemp("outside"), request.param)
    planted = Planted(house, seed=14)
    try:
        house.inhabited()
        telling = Telling(house, planted)
        try:
            telling.holders_check_and_deliver()
            telling.a_worker_is_killed()
            telling.parquet_is_taken_too()
            telling.damaged_files_are_rejected()
            telling.uploads_are_cut()
            release = telling.releases_are_built_and_refused()
            package = telling.a_release_is_downloaded(release)
            if not request.param:  # what one process does alone, it does alike in either way to run
                telling.faulty_files_are_rejected()
                telling.free_text_is_refused()
                telling.callers_put_names_in_odd_places()
            telling.the_ledger_is_read()
            finder = Finder(planted.texts)
            live = _in_folder(finder, place)  # with write-ahead log and whatever is open
        finally:
            house.stop()
        yield Told(house, finder, package, disk, live)
    finally:
        if disk:
            disk.unmount()


def _shown(hits: Iterable[Hit]) -> list[str]:
    """Each place once, with how often and in which spelling first."""
    by_place: dict[str, list[Hit]] = {}
    for hit in hits:
        by_place.setdefault(hit.place, []).append(hit)
    shown = [f"{place}: {len(found)}, first {found[0]}" for place, found in by_place.items()]
    print("\n".join(shown))
    return shown


def test_the_story_was_told(told: Told) -> None:
    """Before nothing is found: there was something, and it went where it should."""
    assert len({hit.text for hit in _in_folder(told.finder, told.house.outside)}) == 50 * 7
    log = told.house.log.read_text()
    for word in ("ValueError", "KeyError", "Panic"):
        assert word in log, log
    assert len(told.house.answers) > 100


def test_no_answer_names_anybody(told: Told) -> None:
    """Refusals and errors, reports and ledger, at the terminal and over HTTP."""
    hits = [hit for place, text in told.house.answers for hit in told.finder.in_text(text, place)]
    assert _shown(hits) == []


def test_no_log_names_anybody(told: Told) -> None:
    """What all processes wrote to standard output and standard error."""
    assert _shown(told.finder.search(_bytes_of(told.house.log), "log")) == []


def test_no_file_names_anybody(told: Told) -> None:
    """Data folder and temporary folder, while the service ran; and what callers left behind."""
    assert _shown(told.live) == []
    assert _shown(_in_folder(told.finder, told.house.caller_temp)) == []
    assert list(told.house.caller_temp.iterdir()) == []


def test_the_database_was_searched_whole(told: Told, tmp_path: Path) -> None:
    """Its pages are plain: what stands in a row is found, and plants would be."""
    if told.disk:
        needs_loop_device()
    finder = Finder(["employment-service"])
    assert not told.disk or finder.search(told.disk.raw(), "image")
    database = tmp_path / "control.sqlite"
    connection = sqlite.connect(database)
    connection.execute("CREATE TABLE control (word)")
    connection.execute("INSERT INTO control VALUES ('employment-service')")
    connection.commit()
    connection.close()
    assert finder.search(_bytes_of(database), "control")


def test_no_package_names_anybody(told: Told) -> None:
    """S07: what the researcher opened."""
    hits = [hit for path, data in told.package.items() for hit in told.finder.in_text(data, path)]
    assert _shown(hits) == []


def test_the_raw_disk_names_nobody(told: Told) -> None:
    """Deleted files, journal and slack included; and a control that was deleted is found."""
    needs_loop_device()
    assert told.disk is not None, "no file system could be mounted"
    disk, deleted = told.disk, told.disk.path / "control"
    with deleted.open("wb") as file:
        for text in CONTROL:
            file.write(text.encode() + b"\0" * 5000 + text.encode("utf-16-le"))
        file.flush()
        os.fsync(file.fileno())
    deleted.unlink()
    disk.unmount()
    hits = Finder(CONTROL).search(disk.raw(), "image")
    for text in CONTROL:
        written = {hit.spelling for hit in hits if hit.text == text}
        assert {text.encode(), text.encode("utf-16-le")} <= written
    assert _shown(told.finder.search(disk.raw(), "image")) == []
    assert [place for piece in disk.raw() for place in packed(piece)] == []


CONTROL = ("Kontrollinde Achterstevoren", "99123199741", "kontrol@achterstevoren.example")
"""Written to the disk and deleted again: what a search has to find."""


def test_the_search_finds_every_spelling() -> None:
    """Each of them, wherever it lies: at any offset, and across the border of two pieces."""
    plant = plants(3, ["85073003328"] * 50)[7]
    finder = Finder(plant.texts)
    for text in plant.texts:
        for spelling in spellings(text):
            for before in (0, 1, 5, 8, 13):
                data = b"\xff" * before + spelling + b"\xff" * 9
                assert text in {hit.text for hit in finder.in_text(data, "")} or any(
                    spelling in spellings(other) for other in plant.texts if other != text
                )
            halves = [b"x" * 100 + spelling[:5], spelling[5:] + b"y" * 3]
            assert finder.search(halves, "")
    assert finder.in_text(b"85073003327 Peeters, Kerkstraat 1" * 100, "") == []
    assert packed(b"\0" * 4096 + b"PAR1" + b"\0" * 5000) == [4096]
