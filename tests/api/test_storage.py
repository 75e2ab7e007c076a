"""Objects, the database and the settings that a service stands on."""

import hashlib
import os
import stat
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError, StatementError

from api import flow, founding, store
from api.demo.cast import Cast
from api.founding import Founded
from api.objects import Begun, ObjectBusy, ObjectFault, Objects
from api.service import NotFounded, Service
from api.settings import Clock, Settings
from api.store import Dataset, Delivery, Organisation
from api.worker import ORPHAN_AGE, sweep
from keyvault import ledger as ledgers
from keyvault import tables


def test_an_object_is_read_back_or_not_at_all(tmp_path: Path) -> None:
    """Changed, truncated, swapped or missing: noticed before use."""
    objects = Objects(tmp_path / "objects")
    name, digest = objects.put(b"ciphertext", "release")
    other, _ = objects.put(b"another", "release")
    assert objects.get(name, digest) == b"ciphertext"
    assert objects.sha256(name) == digest
    path = objects.path(name)
    for content in (b"ciphertexT", b"cipher", objects.path(other).read_bytes(), b""):
        path.write_bytes(content)
        with pytest.raises(ObjectFault, match="changed"):
            objects.get(name, digest)
    objects.delete(name)
    objects.delete(name)
    with pytest.raises(ObjectFault, match="missing"):
        objects.get(name, digest)


@pytest.mark.parametrize("name", ["../root.json", "", "x" * 32, "A" * 32, "0" * 31])
def test_names_are_ours(tmp_path: Path, name: str) -> None:
    """A caller's text never becomes a path."""
    with pytest.raises(ObjectFault):
        Objects(tmp_path).path(name)


def test_bytes_and_their_folder_are_durable_before_the_name_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written, fsynced, renamed, folder fsynced: in that order."""
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def told(handle: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def renamed(self: Path, target: Path) -> Any:
        steps.append("rename")
        return rename(self, target)

    objects = Objects(tmp_path / "objects")
    monkeypatch.setattr(os, "fsync", told)
    monkeypatch.setattr(Path, "rename", renamed)
    objects.put(b"x", "api")
    assert steps == ["file", "rename", "folder"]


def test_a_growing_upload_forgets_what_was_never_acknowledged(tmp_path: Path) -> None:
    """Reopened at an offset: whatever a broken line left behind it is gone."""
    objects = Objects(tmp_path)
    name = objects.new_name("intake")
    growing = objects.append(name)
    growing.begin(0)
    growing.write(b"acknowledged, and then some")
    assert growing.sync() == 27
    with pytest.raises(ObjectBusy):
        objects.append(name)
    growing.close()
    again = objects.append(name)
    with pytest.raises(ObjectFault):
        again.begin(28)
    again.begin(12)
    assert again.start(5) == b"ackno"
    again.write(b"!")
    assert again.sync() == 13
    again.cut(3)
    assert again.sync() == 3
    again.close()
    assert objects.path(name).read_bytes() == b"ack"


@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 1),
            st.integers(0, 1),
            st.binary(max_size=40),
            st.sampled_from(["acknowledged", "lost", "cut"]),
        ),
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_a_hash_taken_while_bytes_come_in_is_that_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, bytes, str]]
) -> None:
    """V24: two uploads at once, by two processes in turns, with requests that are lost or cut."""
    folder = tmp_path_factory.mktemp("objects")
    processes = [Objects(folder), Objects(folder)]
    names = [Objects.new_name("intake") for _ in range(2)]
    acknowledged = [b"", b""]
    for which, process, data, end in steps:
        growing = processes[process].append(names[which])
        begun = len(acknowledged[which])
        growing.begin(begun)
        growing.write(data)
        if end == "cut":
            growing.cut(begun)
        if end != "lost":
            reached = growing.sync()
            growing.acknowledged()
            acknowledged[which] = (acknowledged[which] + data)[:reached]
            told = processes[process].sha256(names[which])
            assert told == hashlib.sha256(acknowledged[which]).hexdigest()
        growing.close()
    for name in names:
        if not processes[0].path(name).exists():
            continue
        stored = hashlib.sha256(processes[0].path(name).read_bytes()).hexdigest()
        assert [each.sha256(name) for each in processes] == [stored, stored]


def test_what_this_process_wrote_is_not_read_again_to_be_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to so many uploads; another process, or this one after a restart, reads the file."""
    monkeypatch.setattr(Begun, "MOST", 2)
    objects = Objects(tmp_path)
    names = [_grown(objects, b"one"), _grown(objects, b"two"), _grown(objects, b"three")]
    read: list[str] = []
    opening = Objects.open

    def opened(self: Objects, name: str) -> Any:
        read.append(name)
        return opening(self, name)

    monkeypatch.setattr(Objects, "open", opened)
    for name, content in zip(names, (b"one", b"two", b"three"), strict=True):
        assert objects.sha256(name) == hashlib.sha256(content).hexdigest()
    assert read == names[:1]
    assert Objects(tmp_path).sha256(names[2]) == hashlib.sha256(b"three").hexdigest()
    assert read == [names[0], names[2]]
    objects.delete(names[2])
    with pytest.raises(FileNotFoundError):
        objects.sha256(names[2])


def _grown(objects: Objects, content: bytes) -> str:
    """An upload of these bytes, in two requests."""
    name = Objects.new_name("intake")
    for offset, part in ((0, content[:2]), (2, content[2:])):
        growing = objects.append(name)
        growing.begin(offset)
        growing.write(part)
        growing.sync()
        growing.acknowledged()
        growing.close()
    return name


def test_a_long_upload_goes_to_the_disk_in_stretches_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is begun to be written before it's waited for, none is left out, no byte is changed."""
    told: dict[int, list[tuple[int, int]]] = {flow.WRITE: [], flow.WAIT_FOR_ALL: []}
    monkeypatch.setattr(flow, "STRETCH", 1000)
    asked = flow._sync_range

    def noted(handle: int, offset: int, length: int, how: int) -> object:
        told[how].append((offset, offset + length))
        assert told[flow.WAIT_FOR_ALL][-1:] <= told[flow.WRITE][-1:]
        return asked(handle, offset, length, how)

    monkeypatch.setattr(flow, "_sync_range", noted)
    objects, content = Objects(tmp_path), hashlib.sha512(b"schakel").digest() * 200
    growing = objects.append(name := Objects.new_name("intake"))
    growing.begin(0)
    for place in range(0, len(content), 300):
        growing.write(content[place : place + 300])
    growing.sync()
    growing.close()
    for stretches in told.values():
        assert stretches[0][0] == 0
        assert all(one[1] == other[0] for one, other in pairwise(stretches))
        assert stretches[-1][1] > len(content) - 4000
    assert objects.path(name).read_bytes() == content


def test_the_migrations_make_the_tables_that_the_program_uses(tmp_path: Path) -> None:
    """Autogenerate finds nothing left to do."""
    settings = Settings(data=tmp_path)
    founding.migrate(settings)
    engine = store.connect(settings.database)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, [store.Base.metadata, tables.metadata]) == []
    engine.dispose()


def test_the_database_is_the_one_that_was_chosen(tmp_path: Path) -> None:
    """WAL, full synchronisation, foreign keys, and a SQLite without the WAL-reset fault."""
    engine = store.connect(f"sqlite:///{tmp_path / 'x.sqlite'}")
    with engine.connect() as connection:

        def one(statement: str) -> Any:
            return connection.exec_driver_sql(statement).scalar_one()

        assert one("PRAGMA journal_mode") == "wal"
        assert one("PRAGMA synchronous") == 2
        assert one("PRAGMA foreign_keys") == 1
        version = tuple(int(part) for part in str(one("SELECT sqlite_version()")).split("."))
        assert version > (3, 51, 2)
    assert store.healthy(engine)
    engine.dispose()


def test_moments_are_kept_in_utc_and_never_naive(tmp_path: Path) -> None:
    """What can't be said in UTC can't be stored; what was stored comes back aware."""
    engine = store.connect(f"sqlite:///{tmp_path / 'x.sqlite'}")
    store.Base.metadata.create_all(engine)
    brussels = datetime(2026, 6, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    with store.writing(engine) as session:
        session.add(Organisation(id="a", name="A", added_at=brussels))
    with store.reading(engine) as session:
        kept = session.get(Organisation, "a")
    assert kept is not None
    assert kept.added_at == datetime(2026, 6, 1, 12, tzinfo=UTC)
    with pytest.raises(StatementError), store.writing(engine) as session:
        session.add(Organisation(id="b", name="B", added_at=datetime(2026, 6, 1)))  # noqa: DTZ001
    with pytest.raises(IntegrityError) as caught, store.writing(engine) as session:
        session.add(Organisation(id="a", name="Somebody's name", added_at=brussels))
    assert "Somebody's name" not in str(caught.value)
    engine.dispose()


def test_a_service_is_founded_once(tmp_path: Path) -> None:
    """A second founding would make other keys; a cut-off one can be tried again."""
    cast = Cast(tmp_path)
    with pytest.raises(NotFounded, match="schakel init"):
        Service.open(cast.settings)
    cast.found()
    assert cast.settings.root_key.stat().st_mode & 0o077 == 0
    with pytest.raises(Founded, match="already"):
        cast.found()


def test_a_founding_that_was_cut_off_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root key made, database not: the next `schakel init` goes on with the same root."""
    cast = Cast(tmp_path)
    with monkeypatch.context() as cut:
        cut.setattr("api.founding.Vault.found", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cast.found()
    root = cast.settings.root_key.read_bytes()
    cast.found()
    assert cast.settings.root_key.read_bytes() == root


def test_orphans_are_swept_and_nothing_else(tmp_path: Path) -> None:
    """Objects that no row refers to, once they are old enough not to be somebody's present work."""
    cast = Cast(tmp_path)
    cast.found()
    service = Service.open(cast.settings, Clock())
    orphan, _ = service.objects.put(b"left by a crash", "linkage")
    fresh, _ = service.objects.put(b"being written", "linkage")
    unfinished = service.objects.path(fresh).with_suffix(".new")
    unfinished.write_bytes(b"half")
    long_ago = datetime.now().timestamp() - ORPHAN_AGE - 10  # noqa: DTZ005 - a file's own clock
    for path in (service.objects.path(orphan), unfinished):
        os.utime(path, (long_ago, long_ago))
    sweep(service)
    assert [name for name, _ in service.objects.names()] == [fresh]
    service.engine.dispose()


def test_what_another_role_left_in_a_folder_stops_no_sweep(tmp_path: Path) -> None:
    """Any role may put files into another's folder: under whatever name, they go with the rest."""
    cast = Cast(tmp_path)
    cast.found()
    service = Service.open(cast.settings, Clock())
    orphan, _ = service.objects.put(b"left by a crash", "release")
    folder = service.objects.path(orphan).parent
    (folder / "folder").mkdir()
    (folder / "0-link").symlink_to(tmp_path / "nowhere")
    for name in ("any name", f"linkage-{'0' * 32}"):
        (folder / name).write_bytes(b"")
    for path in folder.iterdir():
        os.utime(path, (0, 0), follow_symlinks=False)
    sweep(service, ("release",))
    assert [path.name for path in folder.iterdir()] == ["folder"]
    service.engine.dispose()


def test_an_upload_that_stands_still_is_given_up(tmp_path: Path) -> None:
    """After some days without a byte; one whose bytes still come in is left alone."""
    cast = Cast(tmp_path)
    cast.found()
    service = Service.open(cast.settings, Clock(timedelta(days=30)))
    now = service.clock.now()
    names = {}
    with store.writing(service.engine) as session:
        session.add(Organisation(id="a", name="A", added_at=now))
        session.flush()
        session.add(Dataset(id="d", organisation="a", declaration={}, added_at=now))
        session.flush()
        for identifier, days in (("delivery-old", 8), ("delivery-new", 6)):
            names[identifier], digest = service.objects.put(b"age-encryption.org/v1", "intake")
            session.add(
                Delivery(
                    id=identifier, dataset="d", organisation="a", period="2024", mode="new",
                    state="uploading",
                    person="holder-1", declared_sha256=digest, length=100, offset=21,
                    upload=names[identifier], created_at=now - timedelta(days=20),
                    moved_at=now - timedelta(days=days),
                )
            )  # fmt: skip
    sweep(service)
    assert [name for name, _ in service.objects.names()] == [names["delivery-new"]]
    with store.reading(service.engine) as session:
        old, new = session.get(Delivery, "delivery-old"), session.get(Delivery, "delivery-new")
        last = list(ledgers.entries(session.connection()))[-1]
    assert old is not None
    assert new is not None
    assert (old.state, old.report, old.upload) == ("rejected", {"problem": "upload-expired"}, None)
    assert new.state == "uploading"
    assert (last.kind, last.actor) == ("delivery.rejected", None)
    service.engine.dispose()
