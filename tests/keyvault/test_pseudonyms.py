"""Subject ids and pseudonyms: standard, stable, injective, unlinkable, and quick to mistrust."""

from dataclasses import FrozenInstanceError
from itertools import pairwise

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given, settings
from hypothesis import strategies as st

import keyvault.pseudonyms
from keyvault.errors import PseudonymError
from keyvault.pseudonyms import (
    ALPHABET,
    LENGTH,
    UNIT_LETTERS,
    Origins,
    Reading,
    check,
    dummies,
    pseudonyms,
    subject_ids,
)
from keyvault.secret import FileKey
from tests.keyvault.vectors import plain

SCOPE = FileKey(b"s" * 32, "subject-id", "neet")
PROJECT = FileKey(b"p" * 32, "pseudonym", "neet")
IDS = st.lists(st.binary(min_size=16, max_size=16), max_size=40)
KEYS = st.binary(min_size=32, max_size=32)
NUMBER = st.integers(1, 2**63 - 1)
ORIGIN = st.tuples(st.text(max_size=40), st.text(max_size=40), NUMBER, NUMBER, st.text(max_size=40))


def ids(values: list[bytes | None]) -> pa.Array:
    return pa.array(values, pa.binary(16))


def columns(origins: list[tuple[str, str, int, int, str]]) -> Origins:
    empty: list[tuple[()]] = [()] * 5
    dataset, period, generation, record, reference = (
        zip(*origins, strict=True) if origins else empty
    )
    return Origins(
        pa.array(dataset, pa.string()),
        pa.array(period, pa.string()),
        pa.array(generation, pa.int64()),
        pa.array(record, pa.int64()),
        pa.array(reference, pa.string()),
    )


@given(KEYS, IDS, st.sampled_from(sorted(UNIT_LETTERS)), st.integers(1, 31))
def test_pseudonyms_are_the_librarys_cmac(
    key: bytes, subjects: list[bytes], unit_type: str, version: int
) -> None:
    """S15: byte for byte AES-256-CMAC, by another program as well."""
    found = pseudonyms(FileKey(key, "pseudonym", "p"), unit_type, version, ids(subjects))
    letter = UNIT_LETTERS[unit_type]
    expected = [plain.pseudonym(key, letter, version, subject) for subject in subjects]
    assert found.to_pylist() == expected


@given(KEYS, st.lists(ORIGIN, max_size=30))
def test_subject_ids_are_the_librarys_cmac(
    key: bytes, origins: list[tuple[str, str, int, int, str]]
) -> None:
    found = subject_ids(FileKey(key, "subject-id", "s"), columns(origins)).to_pylist()
    for origin, subject in zip(origins, found, strict=True):
        mac = CMAC(AES256(key))
        mac.update(plain.subject_message(*origin))
        mac.verify(subject)


@given(st.lists(ORIGIN, min_size=1, max_size=30, unique=True))
def test_different_origins_never_share_a_subject(
    origins: list[tuple[str, str, int, int, str]],
) -> None:
    found = subject_ids(SCOPE, columns(origins)).to_pylist()
    assert len(set(found)) == len(origins)
    messages = {plain.subject_message(*origin) for origin in origins}
    assert len(messages) == len(origins)


def test_texts_that_run_into_each_other_are_told_apart() -> None:
    texts = [("ab", "c", "d"), ("a", "bc", "d"), ("a", "b", "cd"), ("", "abc", "d")]
    origins = [(dataset, period, 1, 1, reference) for dataset, period, reference in texts]
    assert len(set(subject_ids(SCOPE, columns(origins)).to_pylist())) == 4


def test_the_same_place_of_a_later_delivery_is_somebody_elses() -> None:
    """S15: a file that replaces another doesn't hand out the ids of those who stood there."""
    places = pa.array([1, 2, 3])
    spoken = [
        set(subject_ids(SCOPE, Origins("d", "2024", generation, places, "self")).to_pylist())
        for generation in (1, 2, 2**40)
    ]
    assert len(set().union(*spoken)) == 9


@given(st.lists(ORIGIN, min_size=1, max_size=20), st.randoms())
def test_a_subject_depends_on_its_own_origin_only(
    origins: list[tuple[str, str, int, int, str]], random: object
) -> None:
    """A repeated job, with the rows in another order, gives the same ids."""
    shuffled = list(origins)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one = dict(zip(origins, subject_ids(SCOPE, columns(origins)).to_pylist(), strict=True))
    two = dict(zip(shuffled, subject_ids(SCOPE, columns(shuffled)).to_pylist(), strict=True))
    assert one == two


def test_one_text_for_all_rows_and_other_layouts() -> None:
    rows = [("d", "2024", 2, number, "self") for number in range(1, 6)]
    expected = subject_ids(SCOPE, columns(rows))
    records = pa.chunked_array([pa.array([1, 2], pa.int32()), pa.array([3, 4, 5], pa.int32())])
    reference = pa.array(["self"] * 5).dictionary_encode()
    assert subject_ids(SCOPE, ("d", "2024", 2, records, reference)).equals(expected)
    assert len(subject_ids(SCOPE, ("d", "2024", 1, pa.array([], pa.int64()), "self"))) == 0


@pytest.mark.parametrize(
    "origins",
    [
        ("d", "p", 1, pa.array([0]), "self"),
        ("d", "p", 1, pa.array([-1]), "self"),
        ("d", "p", 1, pa.array([None], pa.int64()), "self"),
        ("d", "p", 1, pa.array([1.0]), "self"),
        ("d", "p", 0, pa.array([1]), "self"),
        ("d", "p", None, pa.array([1]), "self"),
        ("d", "p", pa.array([1]), pa.array([1, 2]), "self"),
        ("d", "p", pa.array([1, None]), pa.array([1, 2]), "self"),
        ("d", "p", 1, pa.array([1, 2]), pa.array(["self"])),
        ("d", "p", 1, pa.array([1]), pa.array([None], pa.string())),
        ("d" * 70_000, "p", 1, pa.array([1]), "self"),
        ("d", "p", 1, [1], "self"),
        ("d", None, 1, pa.array([1]), "self"),
    ],
)
def test_columns_that_are_no_origins(origins: tuple[object, ...]) -> None:
    with pytest.raises(PseudonymError):
        subject_ids(SCOPE, origins)  # type: ignore[arg-type]


@given(IDS)
def test_two_subjects_never_share_a_pseudonym(subjects: list[bytes]) -> None:
    """S35: the pseudonym is unique per unit."""
    found = pseudonyms(PROJECT, "person", 1, ids(subjects)).to_pylist()
    assert len(set(found)) == len(set(subjects))


@given(IDS.filter(len))
def test_projects_versions_and_unit_types_have_nothing_in_common(subjects: list[bytes]) -> None:
    """S15: different project, different pseudonym."""
    other = FileKey(b"q" * 32, "pseudonym", "other")
    spoken = [
        set(pseudonyms(key, unit_type, version, ids(subjects)).to_pylist())
        for key, unit_type, version in (
            (PROJECT, "person", 1),
            (PROJECT, "person", 2),
            (PROJECT, "household", 1),
            (other, "person", 1),
        )
    ]
    assert len(set().union(*spoken)) == sum(len(part) for part in spoken)
    bodies = [{text[2:-1] for text in part} for part in (spoken[0], spoken[3])]
    assert not bodies[0] & bodies[1]


def test_missing_stays_missing_and_order_stays() -> None:
    subjects = [None, b"a" * 16, None, b"b" * 16, b"a" * 16, None]
    found = pseudonyms(PROJECT, "person", 1, ids(subjects)).to_pylist()
    [a, b] = pseudonyms(PROJECT, "person", 1, ids([b"a" * 16, b"b" * 16])).to_pylist()
    assert found == [None, a, None, b, a, None]
    assert pseudonyms(PROJECT, "person", 1, ids([None, None])).to_pylist() == [None, None]


def test_slices_chunks_and_dictionaries() -> None:
    subjects = ids([bytes([n]) * 16 for n in range(10)])
    expected = pseudonyms(PROJECT, "person", 1, subjects)
    chunked = pa.chunked_array([subjects[:3], subjects[3:]])
    assert pseudonyms(PROJECT, "person", 1, chunked).equals(expected)
    assert pseudonyms(PROJECT, "person", 1, subjects.slice(4, 3)).equals(expected.slice(4, 3))
    encoded = subjects.dictionary_encode()
    assert pseudonyms(PROJECT, "person", 1, encoded).equals(expected)
    expected.validate(full=True)


def test_more_rows_than_fit_the_cache_at_once() -> None:
    count = keyvault.pseudonyms._CHUNK + 3
    subjects = [number.to_bytes(16) for number in range(count)]
    found = pseudonyms(PROJECT, "person", 1, ids(subjects)).to_pylist()
    for place in (0, count - 4, count - 1):
        assert found[place] == plain.pseudonym(b"p" * 32, "P", 1, subjects[place])


def test_too_many_at_once_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyvault.pseudonyms, "MOST", 2)
    with pytest.raises(PseudonymError, match="in pieces"):
        pseudonyms(PROJECT, "person", 1, ids([b"a" * 16] * 3))
    assert len(pseudonyms(PROJECT, "person", 1, ids([b"a" * 16] * 2))) == 2


def test_as_many_at_once_as_a_string_column_can_address() -> None:
    """Its offsets are signed 32-bit numbers, the last one included."""
    most = keyvault.pseudonyms.MOST
    assert most * LENGTH < 2**31 <= (most + 1) * LENGTH


@pytest.mark.parametrize(
    ("key", "unit_type", "version", "column"),
    [
        (SCOPE, "person", 1, ids([])),
        (PROJECT, "dog", 1, ids([])),
        (PROJECT, "person", 0, ids([])),
        (PROJECT, "person", 32, ids([])),
        (PROJECT, "person", 1, pa.array([b"short"])),
        (PROJECT, "person", 1, [b"a" * 16]),
    ],
)
def test_what_pseudonyms_are_not_made_of(
    key: FileKey, unit_type: str, version: int, column: object
) -> None:
    with pytest.raises(PseudonymError):
        pseudonyms(key, unit_type, version, column)


def test_names_may_be_as_long_as_their_length_can_say() -> None:
    """Two bytes of length: 65,535 and no more; counted as UTF-8."""
    row = ("d" * 65_535, "p", 1, 1, "self")
    [found] = subject_ids(SCOPE, columns([row])).to_pylist()
    assert found == plain.cmac(b"s" * 32, plain.subject_message(*row))
    for name in ("d" * 65_536, "é" * 32_768):
        with pytest.raises(PseudonymError, match="absurdly long"):
            subject_ids(SCOPE, columns([(name, "p", 1, 1, "self")]))


def test_subject_ids_take_their_own_kind_of_key() -> None:
    with pytest.raises(PseudonymError, match="takes a subject-id key"):
        subject_ids(PROJECT, ("d", "p", 1, pa.array([1]), "self"))


TEXTS = st.builds(
    lambda subject, unit_type, version: pseudonyms(
        PROJECT, unit_type, version, ids([subject])
    ).to_pylist()[0],
    st.binary(min_size=16, max_size=16),
    st.sampled_from(sorted(UNIT_LETTERS)),
    st.integers(1, 31),
)


@settings(max_examples=20)
@given(TEXTS)
def test_every_single_error_is_caught(text: str) -> None:
    check(text)
    for place in range(LENGTH):
        for character in ALPHABET.replace(text[place], ""):
            with pytest.raises(PseudonymError):
                check(text[:place] + character + text[place + 1 :])


@settings(max_examples=20)
@given(TEXTS)
def test_every_exchange_of_two_characters_is_caught(text: str) -> None:
    """Neighbouring ones, which people exchange, and any other two as well."""
    for one in range(LENGTH):
        for two in range(one + 1, LENGTH):
            if text[one] == text[two]:
                continue
            swapped = list(text)
            swapped[one], swapped[two] = text[two], text[one]
            with pytest.raises(PseudonymError):
                check("".join(swapped))


def test_the_weights_of_the_check_digit_are_all_different() -> None:
    weights = [*keyvault.pseudonyms._WEIGHTS, 1]
    assert len(set(weights)) == LENGTH
    assert 0 not in weights
    assert all(one != two for one, two in pairwise(weights))


@given(st.binary(min_size=16, max_size=16), st.integers(1, 31))
def test_a_text_says_its_kind_of_unit_and_version(subject: bytes, version: int) -> None:
    """S35: persons, households and enterprises, told apart by the first letter."""
    for unit_type, letter in (("person", "P"), ("household", "H"), ("enterprise", "E")):
        [text] = pseudonyms(PROJECT, unit_type, version, ids([subject])).to_pylist()
        assert text[0] == letter
        assert check(text) == Reading(unit_type, version)


def test_a_text_holds_128_bits_and_no_more() -> None:
    """26 digits have room for 130; with either of the two first bits set it is nobody's."""
    for digits, nobodys in (("7" + "Z" * 25, False), ("8" + "0" * 25, True), ("Z" * 26, True)):
        text = "P1" + digits
        text += plain.check_digit(text)
        if nobodys:
            with pytest.raises(PseudonymError, match="no key gives"):
                check(text)
        else:
            assert check(text) == Reading("person", 1)


def test_a_reading_stays_as_it_was_read() -> None:
    with pytest.raises(FrozenInstanceError):
        Reading("person", 1).version = 2  # type: ignore[misc]


@given(st.text(max_size=40))
def test_other_texts_are_no_pseudonyms(text: str) -> None:
    with pytest.raises(PseudonymError):
        check(text)


def test_the_message_about_a_wrong_pseudonym_does_not_repeat_it() -> None:
    text = pseudonyms(PROJECT, "person", 1, ids([b"a" * 16])).to_pylist()[0]
    wrong = text[:-1] + ("0" if text[-1] != "0" else "1")
    with pytest.raises(PseudonymError) as caught:
        check(wrong)
    assert wrong not in str(caught.value)


@pytest.mark.parametrize(("unit_type", "letter"), UNIT_LETTERS.items())
def test_pseudonyms_of_nobody_read_so_and_no_key_gives_them(unit_type: str, letter: str) -> None:
    """All bits that aren't the word are random; the check character fits; the version is 0."""
    random = bytes(16) + bytes(range(16)) + b"\xff" * 16
    made = dummies(unit_type, random).to_pylist()
    assert [text[:13] for text in made] == [letter + "00FAKE0DATA0"] * 3
    assert [text[13:-1] for text in made] == [
        "0" * 15,
        _digits(int.from_bytes(bytes(range(16))) % 2**75),
        "Z" * 15,
    ]
    for text in made:
        assert plain.check_digit(text[:-1]) == text[-1]
        with pytest.raises(PseudonymError, match="no key"):
            check(text)
    assert len(dummies(unit_type, b"")) == 0


def _digits(number: int) -> str:
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(15)))
