"""Subject → pseudonym, and where subjects get their ids.

Both are AES-256-CMAC (NIST SP 800-38B) with all 128 bits kept, computed for a whole column in one
sweep: every message is a whole number of blocks, so the last CBC steps of all rows are one ECB
call over the column. That is how CMAC is defined, not another mode of encryption; tests compare
with the library's CMAC object.

    subject id   CMAC(scope's subject-id key,
                      "schakel/subject1" ‖ len dataset ‖ dataset ‖ len period ‖ period
                      ‖ len reference ‖ reference ‖ zeros to a multiple of 16
                      ‖ generation (8 bytes) ‖ record (8 bytes))
                 Lengths are 2 bytes, texts UTF-8, numbers big-endian. Lengths say where each text
                 ends and the numbers have a block of their own, so no two origins share a message.
                 The generation tells deliveries of one dataset and period apart: record 7 of a
                 file that replaces another is somebody else's first sighting.
    pseudonym    CMAC(project's pseudonym key, "schakel/pseudo1" ‖ unit letter ‖ subject id)
                 Two blocks of which the first is constant: under one key and letter a bijection of
                 subject ids, so two subjects never share a pseudonym.

Text form, 29 characters: unit letter (P, H, E), key version (one Crockford base-32 digit, from 1),
the 128 bits as 26 digits (big-endian, two leading zero bits), one check digit

    Σ 2^(i+1) · digit_i    over GF(32) = GF(2)[x]/(x⁵+x²+1), i = 0…27 from the letter on

whose weights are all different, and different from the check digit's own 1: any single wrong
character and any two exchanged ones are noticed.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB

from keyvault.errors import PseudonymError
from keyvault.secret import FileKey, reveal

UNIT_LETTERS = {"person": "P", "household": "H", "enterprise": "E"}
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 29
VERSIONS = range(1, len(ALPHABET))
"""Key versions that the text form can tell."""

_BLOCK = 16
MOST = 2**31 // LENGTH  # a pyarrow string array addresses its characters with 31 bits
_CHUNK = 1 << 16  # rows at a time, so that the tables and the rows stay in the processor's cache

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]


class Origins(NamedTuple):
    """Where subjects were first seen: five columns of one length.

    Texts, except for `generation`, which delivery of that dataset and period it was, and `record`,
    the record number in the delivered file: integers from 1. What is the same for all rows may be
    given as a str or an int, except for `record`.
    """

    dataset: Any
    period: Any
    generation: Any
    record: Any
    reference: Any


def subject_ids(key: FileKey, origins: tuple[Any, Any, Any, Any, Any]) -> pa.Array:
    """Subject ids (fixed_size_binary 16) for `Origins`; no column may hold a null."""
    _expect(key, "subject-id")
    dataset, period, generation, record, reference = origins
    records = _numbers(_flat(record))
    rows = len(records)
    same = isinstance(generation, int)
    generations = _numbers(pa.repeat(generation, rows) if same else _flat(generation))
    if len(generations) != rows:
        raise PseudonymError("Every origin has a generation; give one, or a column of them.")
    texts, which = _distinct((dataset, period, reference), rows)
    cmac = _Cmac(key)
    states = np.array([cmac.state(_header(*text)) for text in texts], dtype=np.uint64)
    blocks = states.reshape(-1, 2)[which]
    blocks[:, 0] ^= generations.astype(">u8").view(np.uint64)
    blocks[:, 1] ^= records.astype(">u8").view(np.uint64)
    return _binary16(cmac.finish(blocks))


def pseudonyms(key: FileKey, unit_type: str, version: int, subject_ids: Any) -> pa.Array:
    """Pseudonyms (string) for a column of subject ids (fixed_size_binary 16); null stays null."""
    _expect(key, "pseudonym")
    if unit_type not in UNIT_LETTERS:
        raise PseudonymError(f"A unit is one of {', '.join(UNIT_LETTERS)}.")
    if version not in VERSIONS:
        raise PseudonymError(f"A pseudonym key has a version from 1 to {VERSIONS[-1]}.")
    column = _flat(subject_ids)
    if column.type != pa.binary(_BLOCK):
        raise PseudonymError("Subject ids are a column of 16 bytes each (fixed_size_binary 16).")
    if column.null_count:
        known = column.is_valid()
        place = pc.if_else(known, pc.subtract(pc.cumulative_sum(known.cast(pa.int64())), 1), None)
        return pseudonyms(key, unit_type, version, column.drop_null()).take(place)
    if len(column) > MOST:
        raise PseudonymError(f"At most {MOST} subject ids at a time; pass them in pieces.")
    letter = UNIT_LETTERS[unit_type]
    cmac = _Cmac(key)
    ids = np.frombuffer(column.buffers()[1], dtype=np.uint64).reshape(-1, 2)
    ids = ids[column.offset : column.offset + len(column)]
    blocks = ids ^ cmac.state(b"schakel/pseudo1" + letter.encode())
    return _strings(_texts(letter, version, cmac.finish(blocks)))


def dummies(unit_type: str, random: bytes) -> pa.Array:
    """Pseudonyms of nobody (string), one for each 16 random bytes: to try programs on.

    They have the form of all others, down to the check character, and can't be taken for one: their
    key version is 0, which no key has and `check` refuses, and they read FAKE0DATA.
    """
    fake = sum(ALPHABET.index(digit) << 5 * place for place, digit in enumerate(reversed(_FAKE)))
    tags = np.frombuffer(random, dtype=">u8").reshape(-1, 2).copy()
    tags[:, 0] = tags[:, 0] % 2048 + fake * 2048  # eleven digits leave eleven bits of the word
    return _strings(_texts(UNIT_LETTERS[unit_type], 0, tags.view(np.uint64)))


_FAKE = "0FAKE0DATA0"


@dataclass(frozen=True)
class Reading:
    """What the text of a pseudonym says."""

    unit_type: str
    version: int


def check(text: str) -> Reading:
    """Read a pseudonym's text; PseudonymError when it is none or was mistyped."""
    letters = {letter: unit_type for unit_type, letter in UNIT_LETTERS.items()}
    digits = [ALPHABET.find(character) for character in text]
    if len(text) != LENGTH or min(digits) < 0 or text[0] not in letters:
        raise PseudonymError("This is no pseudonym: it takes 29 characters, the first P, H or E.")
    if digits[1] < 1 or digits[2] > 7:
        raise PseudonymError("This is no pseudonym: no key gives such a one.")
    if _check_digit(digits[:-1]) != digits[-1]:
        raise PseudonymError("The check character doesn't fit: the pseudonym was mistyped.")
    return Reading(letters[text[0]], digits[1])


class _Cmac:
    """AES-256-CMAC of messages that are whole blocks, with the last block of many rows at once."""

    def __init__(self, key: FileKey) -> None:
        # CMAC's own primitive is the bare block cipher; see the module's text.
        self._aes = Cipher(AES256(reveal(key)), ECB()).encryptor()  # noqa: S305
        first = int.from_bytes(self._aes.update(bytes(_BLOCK)))
        doubled = first << 1 ^ ((1 << 128) + 0x87 if first >> 127 else 0)  # in GF(2¹²⁸)
        self._k1 = np.frombuffer(doubled.to_bytes(_BLOCK), dtype=np.uint64)

    def state(self, blocks: bytes) -> Words:
        """The chaining value after some whole blocks that aren't the last."""
        state = bytes(_BLOCK)
        for start in range(0, len(blocks), _BLOCK):
            block = blocks[start : start + _BLOCK]
            state = self._aes.update(bytes(a ^ b for a, b in zip(state, block, strict=True)))
        return np.frombuffer(state, dtype=np.uint64)

    def finish(self, blocks: Words) -> Words:
        """The tags (n × 2 words) of rows whose chaining value ^ last block is given (n × 2)."""
        size = blocks.size * 8
        tags = np.empty(size + _BLOCK, dtype=np.uint8)  # update_into asks for a block's slack
        self._aes.update_into((blocks ^ self._k1).tobytes(), tags.data)
        return tags[:size].view(np.uint64).reshape(-1, 2)


def _expect(key: FileKey, purpose: str) -> None:
    if key.purpose != purpose:
        raise PseudonymError(f"This takes a {purpose} key, not one for {key.purpose}.")


def _header(dataset: str, period: str, reference: str) -> bytes:
    parts = [b"schakel/subject1"]
    for text in (dataset, period, reference):
        encoded = text.encode()
        if len(encoded) > 0xFFFF:
            raise PseudonymError("A dataset, period or reference name is absurdly long.")
        parts.append(len(encoded).to_bytes(2) + encoded)
    header = b"".join(parts)
    return header + bytes(-len(header) % _BLOCK)


def _numbers(column: Any) -> Any:
    if (
        not pa.types.is_integer(column.type)
        or column.null_count
        or pc.any(pc.less(column, 1)).as_py()
    ):
        raise PseudonymError(
            "Generations and record numbers are whole and start at 1; look at the links' origins."
        )
    return column.cast(pa.int64()).to_numpy()


def _distinct(columns: tuple[Any, ...], rows: int) -> tuple[list[tuple[str, str, str]], Any]:
    """The distinct (dataset, period, reference), and which one each row has."""
    values: list[list[str]] = []
    codes = np.zeros(rows, dtype=np.int64)
    for column in columns:
        if isinstance(column, str):
            values.append([column])
            continue
        encoded = _flat(column).dictionary_encode()
        if encoded.null_count or len(encoded) != rows:
            raise PseudonymError("Every origin has a dataset, a period, a record and a reference.")
        values.append(encoded.dictionary.to_pylist())
        codes = codes * len(values[-1]) + encoded.indices.to_numpy()
    found, which = np.unique(codes, return_inverse=True)
    places = np.unravel_index(found, tuple(map(len, values)))
    texts = [
        (values[0][dataset], values[1][period], values[2][reference])
        for dataset, period, reference in zip(*places, strict=True)
    ]
    return texts, which


def _flat(column: Any) -> Any:
    """One plain array of a column that may come in chunks or dictionary-encoded."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if not isinstance(column, pa.Array):
        raise PseudonymError("Columns are pyarrow arrays.")
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _binary16(tags: Words) -> pa.Array:
    data = pa.py_buffer(np.ascontiguousarray(tags))
    return pa.Array.from_buffers(pa.binary(_BLOCK), len(tags), [None, data])


def _strings(texts: Bytes) -> pa.Array:
    offsets = np.arange(len(texts) + 1, dtype=np.int32) * np.int32(LENGTH)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(texts)]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers)


def _times(a: int, b: int) -> int:
    """Product in GF(32)."""
    product = 0
    for bit in range(b.bit_length()):
        if b >> bit & 1:
            product ^= a << bit
    for bit in (8, 7, 6, 5):
        if product >> bit & 1:
            product ^= 0b100101 << bit - 5
    return product


def _powers(count: int) -> list[int]:
    """2¹, 2², … in GF(32): the weights of the check digit."""
    powers = [2]
    while len(powers) < count:
        powers.append(_times(powers[-1], 2))
    return powers


_WEIGHTS = _powers(LENGTH - 1)


def _check_digit(digits: list[int]) -> int:
    total = 0
    for weight, digit in zip(_WEIGHTS, digits, strict=True):
        total ^= _times(weight, digit)
    return total


# The 128 bits are taken ten at a time: two characters and their share of the check digit in one
# look-up each.
_PAIRS = np.frombuffer("".join(a + b for a in ALPHABET for b in ALPHABET).encode(), np.uint16)
_SHARES = np.array(
    [
        [
            _times(_WEIGHTS[2 + 2 * pair], value >> 5) ^ _times(_WEIGHTS[3 + 2 * pair], value & 31)
            for value in range(len(_PAIRS))
        ]
        for pair in range(13)
    ],
    dtype=np.uint8,
)
_CHARACTERS = np.frombuffer(ALPHABET.encode(), np.uint8)


def _texts(letter: str, version: int, tags: Words) -> Bytes:
    """Tags (n × 2 words as they lie in memory) → characters (n × 29)."""
    texts = np.empty((len(tags), LENGTH), dtype=np.uint8)
    texts[:, 0] = ord(letter)
    texts[:, 1] = ord(ALPHABET[version])
    start = _times(_WEIGHTS[0], ALPHABET.index(letter)) ^ _times(_WEIGHTS[1], version)
    for first in range(0, len(tags), _CHUNK):
        _write_digits(texts[first : first + _CHUNK], tags[first : first + _CHUNK], start)
    return texts


def _write_digits(texts: Bytes, tags: Words, start: int) -> None:
    words = tags.view(">u8").astype(np.uint64)
    high, low = words[:, 0], words[:, 1]
    check = np.full(len(tags), np.uint8(start))
    for pair in range(13):
        value = _ten_bits(high, low, 120 - 10 * pair)
        place = texts[:, 2 + 2 * pair : 4 + 2 * pair]
        place[:] = _PAIRS[value].view(np.uint8).reshape(-1, 2)
        check ^= _SHARES[pair][value]
    texts[:, LENGTH - 1] = _CHARACTERS[check]


def _ten_bits(high: Words, low: Words, shift: int) -> npt.NDArray[np.intp]:
    """Bits shift … shift + 9 of the 128."""
    if shift == 60:
        value = low >> np.uint64(60) | (high & np.uint64(63)) << np.uint64(4)
    elif shift > 60:
        value = high >> np.uint64(shift - 64) & np.uint64(1023)
    else:
        value = low >> np.uint64(shift) & np.uint64(1023)
    return value.astype(np.intp)
