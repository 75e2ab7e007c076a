"""What people say to open a custody: believed when it is right, never kept, never repeated."""

import itertools
import json
import logging
import re
import sys
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shamir_mnemonic import Share

from keyvault.custody import custody_at, hsm, passphrase, shares
from keyvault.custody.passphrase import PassphraseLock
from keyvault.custody.shares import ShareLock
from keyvault.errors import CustodyError
from tests.keyvault.custodies import CHEAP, PASSPHRASE, PIN, TOKEN, Kept

AAD = b"what it is"


def said(error: BaseException | None) -> str:
    """Everything an error could carry into a log: texts, arguments, causes, contexts."""
    shown = ""
    while error is not None:
        shown += "".join(traceback.format_exception_only(error)) + repr(error.args)
        shown += str(vars(error))
        error = error.__cause__ or error.__context__
    return shown


# Passphrase


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    path = tmp_path / "root.json"
    passphrase.create(path, PASSPHRASE, cost=CHEAP)
    return path


def test_another_passphrase_opens_nothing_and_is_not_repeated(locked: Path) -> None:
    for wrong in ("", "correct horse battery stapl", PASSPHRASE + " ", "\ud800" * 12):
        with pytest.raises(CustodyError, match="not the passphrase") as caught:
            PassphraseLock(locked).offer(wrong)
        assert not wrong or wrong not in said(caught.value)


def test_the_same_passphrase_from_another_keyboard(tmp_path: Path) -> None:
    """Composed or decomposed, é is é (RFC 8265)."""
    path = tmp_path / "root.json"
    wrapped = passphrase.create(path, "caf\u00e9 au lait, merci", cost=CHEAP).wrap(1, b"x", AAD)
    assert PassphraseLock(path).offer("cafe\u0301 au lait, merci").unwrap(1, wrapped, AAD) == b"x"


def test_a_short_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CustodyError, match="12 characters"):
        passphrase.create(tmp_path / "root.json", "elevenchars")
    assert list(tmp_path.iterdir()) == []


def test_what_a_guess_costs_stands_in_the_file(tmp_path: Path) -> None:
    """argon2id by RFC 9106; an eighth of a gigabyte and four passes unless said otherwise."""
    path = tmp_path / "root.json"
    passphrase.create(path, PASSPHRASE)
    lock = json.loads(path.read_text())["lock"]
    assert {**lock, "salt": None} == {
        "kdf": "argon2id", "salt": None, "memory": 1 << 17, "passes": 4, "lanes": 4,
    }  # fmt: skip
    assert custody_at(path).offer(PASSPHRASE).versions() == (1,)  # type: ignore[union-attr]


def test_impossible_costs_are_a_damaged_file(locked: Path) -> None:
    whole = json.loads(locked.read_text())
    for name, value in (("lanes", 0), ("memory", "much"), ("salt", "AA"), ("passes", None)):
        locked.write_text(json.dumps({**whole, "lock": {**whole["lock"], name: value}}))
        with pytest.raises(CustodyError, match="damaged"):
            PassphraseLock(locked).offer(PASSPHRASE)


def test_a_swapped_lock_is_noticed_afresh(locked: Path, tmp_path: Path) -> None:
    """Before an old root is let go, the file has to open with what its people hold."""
    custody = PassphraseLock(locked).offer(PASSPHRASE)
    other = tmp_path / "other.json"
    passphrase.create(other, PASSPHRASE, cost=CHEAP)
    locked.write_bytes(other.read_bytes())
    with pytest.raises(CustodyError, match="damaged"):
        custody.afresh()


# Shares


@given(st.data())
def test_any_m_of_n_open_and_fewer_do_not(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    needed = data.draw(st.integers(2, 5))
    count = data.draw(st.integers(needed, 6))
    path = tmp_path_factory.mktemp("shares") / "root.json"
    words = shares.create(path, needed, count)
    wrapped = None
    for chosen in itertools.islice(itertools.permutations(words, needed), 0, None, 37):
        lock = ShareLock(path)
        assert [lock.offer(share) for share in chosen[:-1]] == [None] * (needed - 1)
        assert lock.held == needed - 1
        custody = lock.offer(chosen[-1])
        assert custody is not None
        assert lock.held == 0, "forgotten when they did their work"
        wrapped = wrapped or custody.wrap(1, b"secret", AAD)
        assert custody.unwrap(1, wrapped, AAD) == b"secret"


@pytest.mark.parametrize(("needed", "count"), [(1, 1), (1, 3), (3, 2), (2, 17), (0, 0)])
def test_impossible_numbers_of_custodians(tmp_path: Path, needed: int, count: int) -> None:
    with pytest.raises(CustodyError, match="m of n"):
        shares.create(tmp_path / "root.json", needed, count)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def split(tmp_path: Path) -> tuple[Path, list[str]]:
    path = tmp_path / "root.json"
    return path, shares.create(path, 3, 5)


def forged(words: str) -> str:
    """A share with sound form and checksum and another value."""
    share = Share.from_mnemonic(words)
    value = bytes([share.value[0] ^ 1]) + share.value[1:]
    return str(Share(**{**vars(share), "value": value}).mnemonic())


def test_what_is_no_share_is_refused_and_not_repeated(
    split: tuple[Path, list[str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No word of a share ever stands in an error or a log."""
    caplog.set_level(logging.DEBUG)
    path, words = split
    typed = words[0].split()
    foreign = shares.create(tmp_path / "other.json", 3, 5)
    wrong = [
        ("", "no share"),
        ("\ud800", "no share"),
        (" ".join(typed[:-1]), "no share"),
        (" ".join([*typed[:-1], "zzzz"]), "no share"),
        (" ".join([*typed[:5], typed[6], typed[5], *typed[7:]]), "no share"),
        (foreign[1], "another key"),
    ]
    lock = ShareLock(path)
    for text, match in wrong:
        with pytest.raises(CustodyError, match=match) as caught:
            lock.offer(text)
        assert lock.held == 0
        shown = said(caught.value) + caplog.text
        assert not any(re.search(rf"\b{word}\b", shown) for word in text.split() if len(word) > 5)
    lock.offer(words[0])
    with pytest.raises(CustodyError, match="given already"):
        lock.offer(words[0])
    lock.offer(words[1])
    assert lock.offer(words[2]) is not None


def test_a_forged_share_opens_nothing_and_none_is_kept(split: tuple[Path, list[str]]) -> None:
    path, words = split
    lock = ShareLock(path)
    for place in range(3):
        given_ = [forged(share) if n == place else share for n, share in enumerate(words[:3])]
        lock.offer(given_[0])
        lock.offer(given_[1])
        with pytest.raises(CustodyError, match="begin again") as caught:
            lock.offer(given_[2])
        assert lock.held == 0
        assert not any(share in said(caught.value) for share in given_)
    for share in words[2:4]:
        lock.offer(share)
    assert lock.offer(words[4]) is not None


def test_a_check_value_tells_another_secret(split: tuple[Path, list[str]], tmp_path: Path) -> None:
    """Shares that agree with one another, of the right split, over another key: a wrong SLIP-39
    passphrase silently gives one."""
    path, words = split
    other = tmp_path / "other.json"
    foreign = [Share.from_mnemonic(share) for share in shares.create(other, 3, 5)]
    number = Share.from_mnemonic(words[0]).identifier
    lock = ShareLock(path)
    for share in foreign[:2]:
        lock.offer(str(Share(**{**vars(share), "identifier": number}).mnemonic()))
    with pytest.raises(CustodyError, match="begin again"):
        lock.offer(str(Share(**{**vars(foreign[2]), "identifier": number}).mnemonic()))


def test_everybody_is_proven_to_have_a_share_that_opens(split: tuple[Path, list[str]]) -> None:
    """Before anything depends on them: all n, and one wrong one among them is noticed."""
    path, words = split
    for place in range(5):
        lock = ShareLock(path, everybody=True)
        assert lock.needed == 5
        given_ = [forged(share) if n == place else share for n, share in enumerate(words)]
        for share in given_[:-1]:
            assert lock.offer(share) is None
        with pytest.raises(CustodyError, match="begin again"):
            lock.offer(given_[-1])
    lock = ShareLock(path, everybody=True)
    found = [lock.offer(share) for share in words]
    assert found[:-1] == [None] * 4
    assert found[-1] is not None


def test_shares_stay_as_they_are_when_the_root_rotates(split: tuple[Path, list[str]]) -> None:
    path, words = split
    lock = ShareLock(path)
    custody = [lock.offer(share) for share in words[:3]][-1]
    assert custody is not None
    wrapped = custody.wrap(custody.add(), b"secret", AAD)
    custody.drop(1)
    again = [ShareLock.offer(lock, share) for share in words[2:]][-1]
    assert again is not None
    assert again.unwrap(2, wrapped, AAD) == b"secret"


# Token


def test_another_pin_opens_nothing_and_is_not_repeated(token_library: str, tmp_path: Path) -> None:
    kept = Kept("hsm", tmp_path / "root.json", token_library)
    custody = kept.create()
    kept.close()
    for wrong in ("", "271829", "9" * 400):
        with pytest.raises(CustodyError, match="PIN") as caught:
            hsm.PinLock(kept.path).offer(wrong)
        assert not wrong or wrong not in said(caught.value)
    assert kept.open() is not custody
    kept.close()


def test_one_process_holds_the_token(token_library: str, tmp_path: Path) -> None:
    kept = Kept("hsm", tmp_path / "root.json", token_library)
    kept.create()
    with pytest.raises(CustodyError, match="Another process holds the token"):
        hsm.PinLock(kept.path).offer(PIN)
    kept.close()


def test_a_token_that_is_not_there(token_library: str, tmp_path: Path) -> None:
    path = tmp_path / "root.json"
    for library, token in ((token_library, "another"), (str(tmp_path / "none.so"), TOKEN)):
        with pytest.raises(CustodyError, match="can't be opened"):
            hsm.create(path, library, token, PIN)
        assert not path.exists()


def test_a_root_never_leaves_the_token_and_wraps_no_key(token_library: str, tmp_path: Path) -> None:
    """Sensitive, not extractable; encrypts and decrypts, never wraps (wrap and decrypt on one key
    gives up whatever it wrapped)."""
    import pkcs11

    kept = Kept("hsm", tmp_path / "root.json", token_library)
    custody = kept.create()
    key = custody._key(1)  # type: ignore[attr-defined]
    name = pkcs11.Attribute
    assert key[name.SENSITIVE]
    assert key[name.ALWAYS_SENSITIVE]
    assert key[name.NEVER_EXTRACTABLE]
    assert not key[name.WRAP]
    assert not key[name.UNWRAP]
    assert not key[name.DERIVE]
    with pytest.raises(pkcs11.AttributeSensitive):
        key[name.VALUE]
    kept.close()


def test_a_key_that_could_leave_the_token_is_not_used(token_library: str, tmp_path: Path) -> None:
    import pkcs11

    kept = Kept("hsm", tmp_path / "root.json", token_library)
    custody = kept.create()
    session, label = custody._session, custody._label  # type: ignore[attr-defined]
    flag = pkcs11.MechanismFlag
    session.generate_key(
        pkcs11.KeyType.AES, 256, label=f"{label}-2", store=True,
        capabilities=flag.ENCRYPT | flag.DECRYPT | flag.WRAP,
        template={pkcs11.Attribute.EXTRACTABLE: True, pkcs11.Attribute.SENSITIVE: False},
    )  # fmt: skip
    with pytest.raises(CustodyError, match="could leave it"):
        custody.wrap(2, b"secret", AAD)
    kept.close()


def test_a_token_that_stops_answering(
    token_library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pkcs11

    kept = Kept("hsm", tmp_path / "root.json", token_library)
    custody = kept.create()

    def gone(_version: int) -> None:
        raise pkcs11.DeviceRemoved

    monkeypatch.setattr(custody, "_key", gone)
    with pytest.raises(CustodyError, match=r"doesn't answer \(DeviceRemoved\)"):
        custody.wrap(1, b"secret", AAD)
    kept.close()


# Without the extras


@pytest.mark.parametrize(("kind", "package"), [("shares", "shamir_mnemonic"), ("hsm", "pkcs11")])
def test_a_missing_package_is_named(
    kind: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    path = tmp_path / "root.json"
    make = {
        "shares": lambda: shares.create(path, 2, 3),
        "hsm": lambda: hsm.create(path, "library.so", TOKEN, PIN),
    }[kind]
    with pytest.raises(CustodyError, match=rf"schakel\[{kind}\]"):
        make()
    assert not path.exists()
