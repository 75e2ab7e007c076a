"""The root key file: made once, private, whole after any crash, several versions at a time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keyvault.custody import FileCustody
from keyvault.errors import CustodyError, SealError

AAD = b"what it is"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "root.json"


def test_wraps_and_unwraps(path: Path) -> None:
    custody = FileCustody.create(path)
    wrapped = custody.wrap(1, b"secret", AAD)
    assert FileCustody.open(path).unwrap(1, wrapped, AAD) == b"secret"


def test_the_file_is_private_from_the_start(path: Path) -> None:
    """V24: the key is unreadable for others, whatever the umask."""
    before = os.umask(0)
    try:
        FileCustody.create(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_may_open_is_refused(path: Path, mode: int) -> None:
    FileCustody.create(path)
    path.chmod(mode)
    with pytest.raises(CustodyError, match="chmod 600"):
        FileCustody.open(path)


def test_a_link_in_its_place_is_refused(path: Path) -> None:
    FileCustody.create(path)
    link = path.with_name("link.json")
    link.symlink_to(path)
    with pytest.raises(CustodyError, match="can't be read"):
        FileCustody.open(link)


def test_a_folder_in_its_place_is_refused(path: Path) -> None:
    path.mkdir(mode=0o700)
    with pytest.raises(CustodyError, match="can't be read"):
        FileCustody.open(path)


def test_create_never_replaces_a_key(path: Path) -> None:
    custody = FileCustody.create(path)
    wrapped = custody.wrap(1, b"secret", AAD)
    with pytest.raises(CustodyError, match="exists already"):
        FileCustody.create(path)
    assert FileCustody.open(path).unwrap(1, wrapped, AAD) == b"secret"
    assert [file.name for file in path.parent.iterdir()] == ["root.json"]


def test_create_in_a_folder_that_is_not_there(path: Path) -> None:
    with pytest.raises(CustodyError, match="can't be made"):
        FileCustody.create(path / "below" / "root.json")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"type": "schakel-root", "version": 1, "last": 1, "roots": {}}',
        '{"type": "schakel-root", "version": 1, "last": 1, "roots": []}',
        '{"type": "schakel-root", "version": 1, "last": 1, "roots": {"1": "AAAA"}}',
        '{"type": "schakel-root", "version": 1, "last": 1, "roots": {"1": "!"}}',
        '{"type": "schakel-root", "version": 1, "last": 1, "roots": {"1": 7}}',
        '{"type": "another", "version": 1, "last": 1, "roots": {"1": "%s"}}' % ("A" * 43),
        '{"type": "schakel-root", "version": 2, "last": 1, "roots": {"1": "%s"}}' % ("A" * 43),
    ],
)
def test_a_damaged_file_is_refused(path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(CustodyError, match="no root key file"):
        FileCustody.open(path)


def test_what_another_root_wrapped_does_not_open(path: Path) -> None:
    one = FileCustody.create(path)
    other = FileCustody.create(path.with_name("other.json"))
    with pytest.raises(SealError, match="another installation"):
        other.unwrap(1, one.wrap(1, b"secret", AAD), AAD)


def test_associated_data_and_version_are_bound(path: Path) -> None:
    custody = FileCustody.create(path)
    custody.add()
    wrapped = custody.wrap(1, b"secret", AAD)
    for version, aad in ((1, b"something else"), (2, AAD)):
        with pytest.raises(SealError):
            custody.unwrap(version, wrapped, aad)
    with pytest.raises(SealError):
        custody.unwrap(1, wrapped[:20], AAD)


def test_version_numbers_are_never_used_again(path: Path) -> None:
    custody = FileCustody.create(path)
    assert custody.add() == 2
    custody.drop(2)
    assert custody.add() == 3
    assert custody.versions() == (1, 3)
    custody.drop(7)
    assert custody.versions() == (1, 3)


def test_the_last_version_stays(path: Path) -> None:
    custody = FileCustody.create(path)
    with pytest.raises(CustodyError, match="last root version"):
        custody.drop(1)


def test_another_process_finds_a_version_added_meanwhile(path: Path) -> None:
    ours = FileCustody.create(path)
    theirs = FileCustody.open(path)
    version = ours.add()
    ours.drop(1)
    assert theirs.unwrap(version, ours.wrap(version, b"secret", AAD), AAD) == b"secret"
    # Whoever reads an older snapshot of the database still needs the version it names.
    assert theirs.unwrap(1, theirs.wrap(1, b"old", AAD), AAD) == b"old"


def test_an_unknown_version_says_what_to_do(path: Path) -> None:
    custody = FileCustody.create(path)
    with pytest.raises(CustodyError, match="restore the copy"):
        custody.wrap(9, b"secret", AAD)


def test_a_crash_while_writing_leaves_the_old_file_whole(path: Path) -> None:
    """A process is killed at each system call that matters; the next one carries on."""
    custody = FileCustody.create(path)
    wrapped = custody.wrap(1, b"secret", AAD)
    program = """
import os, sys
from pathlib import Path
from keyvault.custody import FileCustody
custody = FileCustody.open(Path(sys.argv[1]))
def die(*args, **kwargs):
    os._exit(9)
setattr(os if sys.argv[2] == "fsync" else Path, sys.argv[2], die)
custody.add()
"""
    for call in ("fsync", "replace"):
        command = [sys.executable, "-c", program, str(path), call]
        assert subprocess.run(command, check=False).returncode == 9
        assert len(list(path.parent.iterdir())) == 2, "the draft that was left behind"
        assert FileCustody.open(path).unwrap(1, wrapped, AAD) == b"secret"
    assert FileCustody.open(path).add() == 2
    assert [file.name for file in path.parent.iterdir()] == ["root.json"]


def test_the_file_says_what_it_is(path: Path) -> None:
    FileCustody.create(path)
    assert "Keep its backup apart" in json.loads(path.read_text())["about"]
