"""One contract for every custody: file, passphrase, shares, hsm."""

import json
import threading
from pathlib import Path

import pytest

from keyvault.custody import Lock, custody_at
from keyvault.errors import CustodyError, SealError
from tests.keyvault.custodies import Kept

AAD = b"what it is"


def test_wraps_and_unwraps_after_a_new_start(kept: Kept) -> None:
    """Of a secret of any length, the founders' enrolments among them."""
    custody = kept.create()
    for data in (b"", b"secret", bytes(range(256)) * 20):
        wrapped = custody.wrap(1, data, AAD)
        assert data not in wrapped or not data
        assert custody.unwrap(1, wrapped, AAD) == data
        assert kept.open().unwrap(1, wrapped, AAD) == data
        custody = kept.open()


def test_the_file_is_private_and_holds_nothing_that_opens_it(kept: Kept) -> None:
    """V24, S14: nobody else's to read; neither passphrase, share nor PIN stands in it."""
    kept.create()
    assert kept.path.stat().st_mode & 0o777 == 0o600
    text = kept.path.read_text()
    assert not any(words in text for words in kept.words)
    # a word of a share may stand in any sentence; three in a row don't
    assert not any(" ".join(words.split()[:3]) in text for words in kept.words)
    assert json.loads(text)["about"]


def test_a_file_that_others_may_open_is_refused(kept: Kept) -> None:
    kept.create()
    kept.path.chmod(0o640)
    with pytest.raises(CustodyError, match="chmod 600"):
        custody_at(kept.path)


def test_create_never_replaces_a_custody(kept: Kept) -> None:
    wrapped = kept.create().wrap(1, b"secret", AAD)
    held = list(kept.words)
    with pytest.raises(CustodyError, match="exists already"):
        kept.create()
    kept.words = held
    assert kept.open().unwrap(1, wrapped, AAD) == b"secret"


def test_a_changed_binding_version_or_byte_does_not_open(kept: Kept) -> None:
    custody = kept.create()
    custody.add()
    wrapped = custody.wrap(1, b"secret", AAD)
    changed = bytearray(wrapped)
    changed[-1] ^= 1
    for version, given, aad in (
        (1, wrapped, b"something else"),
        (2, wrapped, AAD),
        (1, bytes(changed), AAD),
        (1, wrapped[:20], AAD),
        (1, b"", AAD),
    ):
        with pytest.raises(SealError):
            custody.unwrap(version, given, aad)
    assert custody.unwrap(1, wrapped, AAD) == b"secret"


def test_version_numbers_are_never_used_again(kept: Kept) -> None:
    custody = kept.create()
    assert custody.add() == 2
    custody.drop(2)
    assert custody.add() == 3
    assert custody.versions() == (1, 3)
    custody.drop(7)
    assert kept.open().versions() == (1, 3)


def test_the_last_version_stays(kept: Kept) -> None:
    custody = kept.create()
    with pytest.raises(CustodyError, match="last root version"):
        custody.drop(1)
    assert custody.versions() == (1,)


def test_a_dropped_version_opens_nothing_after_a_new_start(kept: Kept) -> None:
    custody = kept.create()
    wrapped = custody.wrap(1, b"secret", AAD)
    custody.add()
    custody.drop(1)
    with pytest.raises(CustodyError, match="Root version 1"):
        kept.open().unwrap(1, wrapped, AAD)


def test_it_can_begin_at_any_version(kept: Kept) -> None:
    """A custody that takes over begins after the versions of the one before."""
    custody = kept.create(first=7)
    assert custody.versions() == (7,)
    assert custody.add() == 8


def test_afresh_it_opens_the_same(kept: Kept) -> None:
    custody = kept.create()
    wrapped = custody.wrap(custody.add(), b"secret", AAD)
    assert custody.afresh().unwrap(2, wrapped, AAD) == b"secret"


def test_what_ended_opens_nothing(kept: Kept) -> None:
    custody = kept.create()
    custody.end()
    kept.opened.clear()
    if kept.kind == "hsm":
        assert kept.open().versions() == (), "its keys are off the token"
    else:
        kept.path.unlink()
        with pytest.raises(CustodyError):
            custody.wrap(1, b"secret", AAD)


def test_threads_get_what_they_asked_for(kept: Kept) -> None:
    """Calls from several threads at once, as the vault's process makes them."""
    custody = kept.create()
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            data = bytes([number]) * 40
            if custody.unwrap(1, custody.wrap(1, data, AAD), AAD) != data:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_damaged_file_says_so(kept: Kept) -> None:
    """Every member left out, and every member something else."""
    kept.create()
    whole = json.loads(kept.path.read_text())
    needed = [name for name in whole if name != "about"]
    for name in needed:
        for changed in (
            {member: value for member, value in whole.items() if member != name},
            {**whole, name: None},
        ):
            kept.path.write_text(json.dumps(changed))
            with pytest.raises(CustodyError, match=r"damaged|later version|That is not|One of the"):
                kept.open()


def test_nothing_shows_what_opens_it(kept: Kept) -> None:
    custody = kept.create()
    shown = repr(custody) + str(getattr(custody, "__dict__", ""))
    assert not any(words in shown for words in kept.words)


def test_which_ones_wait_for_people(kept: Kept) -> None:
    kept.create()
    kept.close()
    waits = {"file": 0, "passphrase": 1, "shares": 2, "hsm": 1}
    found = custody_at(kept.path)
    if isinstance(found, Lock):
        assert (found.kind, found.needed, found.held) == (kept.kind, waits[kept.kind], 0)
    else:
        assert kept.kind == "file"


def test_a_later_kind_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "custody.json"
    path.write_text('{"type": "schakel-root-cloud", "version": 1}')
    path.chmod(0o600)
    with pytest.raises(CustodyError, match="later version"):
        custody_at(path)
