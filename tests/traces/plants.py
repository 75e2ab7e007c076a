"""Names, numbers, addresses, e-mails and phones that stand nowhere else, and a search for them.

`plants(seed, count)` invents people; `spellings(text)` says how a text could look after a program
had it in its hands; a `Finder` looks for all spellings of all plants in any amount of bytes.
"""

import base64
import hashlib
import json
import re
import struct
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import quote

import numpy as np

WINDOW = 8
"""Bytes of the shortest spelling that is looked for: shorter ones turn up by chance."""
PIECE = 4 << 20
_HEADS = (
    "Zwierk",
    "Quolm",
    "Fjeld",
    "Ÿzerb",
    "Wroxh",
    "Pfléum",
    "Xanth",
    "Kvåst",
    "Dzjurk",
    "Ghöld",
)
_TAILS = ("ebrandtsmaer", "ombeeckwycke", "adriaensqvist", "ijnckelhoven", "outhermantzy")


@dataclass(frozen=True)
class Plant:
    """An invented person; `number` is eleven digits (a real person's in the extracts)."""

    first_name: str
    last_name: str
    number: str
    street: str
    house_number: str
    email: str
    phone: str

    @property
    def texts(self) -> tuple[str, ...]:
        """What must be found nowhere."""
        return (
            self.first_name, self.last_name, f"{self.first_name} {self.last_name}",
            self.number, self.street, f"{self.street} {self.house_number}", self.email, self.phone,
        )  # fmt: skip


def plants(seed: int, numbers: Sequence[str]) -> list[Plant]:
    """One plant per number, the same ones for the same seed."""
    rng = Random(seed)
    pairs = [(head, tail) for head in _HEADS for tail in _TAILS]
    rng.shuffle(pairs)
    made = []
    for place, (number, (head, tail)) in enumerate(zip(numbers, pairs, strict=True)):
        first = f"{head}{'aeiou'[place % 5]}linde{tail[:3]}"
        last = f"{tail[:7]}{head.lower()}{tail[7:]}"
        plain = _unaccented(f"{first}.{last}").lower()
        made.append(
            Plant(
                first, last.capitalize(), number, f"{head}{tail}straat", str(rng.randint(100, 999)),
                f"{plain}@{tail}.example", f"04{rng.randint(70_000_000, 99_999_999)}",
            )
        )  # fmt: skip
    return made


def _unaccented(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def spellings(text: str) -> set[bytes]:
    """How a text could stand on a disk: encodings, cases, punctuation, hex, base64, hashes."""
    found: set[bytes] = set()
    for written in _written(text):
        raw = [written.encode(code) for code in ("utf-8", "utf-16-le", "utf-16-be")]
        if written.isascii() or not set(written) - set(map(chr, range(256))):
            raw.append(written.encode("latin-1"))
        found.update(raw)
        for data in (raw[0], raw[-1]):
            found.update((data.hex().encode(), data.hex().upper().encode(), *_base64(data)))
        found.add(quote(written, safe="").encode())
        found.add(json.dumps(written)[1:-1].encode())
    if text.isdecimal():
        for kind in ("md5", "sha1", "sha256"):
            digest = hashlib.new(kind, text.encode(), usedforsecurity=False)
            found.update((digest.digest(), digest.hexdigest().encode()))
        found.update((struct.pack("<q", int(text)), struct.pack(">q", int(text))))
    return {each for each in found if len(each) >= WINDOW}


def _written(text: str) -> set[str]:
    """The ways in which people and programs write a text down."""
    if not text.isdecimal():
        return {text, text.upper(), text.lower(), _unaccented(text), _unaccented(text).upper()}
    if len(text) == 11:  # a national number
        parts = (text[:2], text[2:4], text[4:6], text[6:9], text[9:])
        return {
            text, "{}.{}.{}-{}.{}".format(*parts), "{}{}{}-{}-{}".format(*parts),
            " ".join(parts), "{}{}{}{} {}".format(*parts), "-".join(parts),
        }  # fmt: skip
    pairs = " ".join(text[place : place + 2] for place in range(4, len(text), 2))
    return {text, f"+32{text[1:]}", f"{text[:4]} {pairs}", f"+32 {text[1:4]} {pairs}"}


def _base64(data: bytes) -> Iterator[bytes]:
    """What of its base64 is certain, wherever in a longer text it began."""
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + data)
        inner = whole[(before * 8 + 5) // 6 :]
        keep = len(inner) - (0 if (before + len(data)) % 3 == 0 else 1 + whole.count(b"="))
        yield inner[:keep]
        yield inner[:keep].replace(b"+", b"-").replace(b"/", b"_")


@dataclass(frozen=True)
class Hit:
    """A plant's text, where it was found and in which bytes."""

    text: str
    place: str
    offset: int
    spelling: bytes


class Finder:
    """Looks for every spelling of some texts; a long search costs a few seconds a gigabyte.

    Every window of eight bytes becomes a whole number and is looked up in a sieve; where it may
    begin a spelling, those spellings are compared byte by byte.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._beginning: dict[bytes, list[tuple[bytes, str]]] = {}
        self._longest = WINDOW
        for text in texts:
            for spelling in spellings(text):
                self._beginning.setdefault(spelling[:WINDOW], []).append((spelling, text))
                self._longest = max(self._longest, len(spelling))
        starts = np.frombuffer(b"".join(self._beginning), "<u8")
        self._sieve = np.zeros(1 << 22, bool)
        self._sieve[_bucket(starts)] = True

    def search(self, pieces: Iterable[bytes], place: str) -> list[Hit]:
        """Hits in bytes that come in pieces; one that lies across two pieces is found too."""
        found: list[Hit] = []
        held, base = b"", 0
        for piece in pieces:
            data = held + piece
            found += self._in(data, base, place)
            held = data[-(self._longest - 1) :]
            base += len(data) - len(held)
        # the overlap is looked at twice: once as an end, once as a beginning
        return list({(hit.offset, hit.spelling): hit for hit in found}.values())

    def in_text(self, text: str | bytes, place: str) -> list[Hit]:
        """Hits in something short."""
        return self.search([text.encode() if isinstance(text, str) else text], place)

    def _in(self, data: bytes, base: int, place: str) -> list[Hit]:
        found = []
        for shift in range(min(WINDOW, max(0, len(data) - WINDOW + 1))):
            count = (len(data) - shift) // WINDOW
            windows = np.frombuffer(data, "<u8", count, shift)
            filled = np.flatnonzero(windows)
            for at in filled[self._sieve[_bucket(windows[filled])]].tolist():
                start = shift + at * WINDOW
                for spelling, text in self._beginning.get(data[start : start + WINDOW], ()):
                    if data.startswith(spelling, start):
                        found.append(Hit(text, place, base + start, spelling))
        return found


def _bucket(windows: Any) -> Any:
    """A number below 2^22 for each window: the high bits of a multiplicative hash."""
    return (windows * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(42)


READABLE = re.compile(rb"PAR1|ARROW1|PK\x03\x04|\x1f\x8b\x08|\x28\xb5\x2f\xfd")
"""How files begin that hide their content by packing it: plaintext Parquet, Arrow, zip, gzip, zstd.

What is packed in them a search for bytes would not see, so none may begin any block or file.
"""


def packed(data: bytes, block: int = 4096) -> list[int]:
    """Offsets of blocks that begin like a packed file."""
    return [start for start in range(0, len(data), block) if READABLE.match(data, start)]
