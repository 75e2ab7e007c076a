"""What a Parquet file's pages would become, found out before a single one is unpacked.

A footer's figures are claims. Each page has a header of its own, and no reader unpacks more of it
than that header says (a decompressor fails where its output is longer). So walking over all page
headers bounds rows and bytes, and costs nothing that the file didn't: no page is touched.

Formats: Apache Parquet, `parquet.thrift` (PageHeader), in Thrift's compact protocol.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

_MOST_PAGES: Final = 1_000_000
_DEEPEST: Final = 16

_ENCRYPTION: Final = 8
"""The field of a footer (FileMetaData) that says how the file is encrypted."""
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_CHECKSUM: Final = 4
_COUNTED_IN: Final = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}
"""Page type → field of the header that holds, as its own field 1, the number of values."""


class Damaged(Exception):  # noqa: N818  (what is wrong with the file)
    """These bytes are no pages of a Parquet file."""


@dataclass(frozen=True)
class Chunk:
    """One column of one row group: values, bytes of all pages, and of the largest of each kind.

    `checked`: every page has a checksum.
    """

    values: int
    unpacked: int
    largest: int
    checked: bool


def chunk(data: memoryview, start: int, length: int) -> Chunk:
    """Walk over the pages of a column chunk. Raises Damaged when they aren't such."""
    if start < 4 or length < 0 or start + length > len(data):
        raise Damaged
    values, unpacked, checked = 0, 0, True
    largest = {_DATA: 0, _DICTIONARY: 0}
    for kind, count, size, packed, has_sum in _pages(data, start, start + length):
        if kind != _DICTIONARY:
            values += count
        unpacked += size
        of = _DICTIONARY if kind == _DICTIONARY else _DATA
        largest[of] = max(largest[of], size + packed)
        checked = checked and has_sum
    return Chunk(values, unpacked, sum(largest.values()), checked)


def encrypted(data: memoryview) -> bool:
    """Whether a footer that is in the clear says that the pages are encrypted."""
    end = len(data) - 8
    start = end - int.from_bytes(data[end : end + 4], "little")
    try:
        return start >= 4 and _ENCRYPTION in _Compact(data, start, end).struct()
    except Damaged:
        return False


def _pages(data: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int, int, bool]]:
    """Of each page: type, values, bytes unpacked and packed, and whether it has a checksum."""
    for _ in range(_MOST_PAGES):
        if at >= end:
            return
        compact = _Compact(data, at, end)
        header = compact.struct()
        kind, size, packed = (_natural(header.get(field)) for field in (1, 2, 3))
        at = compact.at + packed
        if at > end:
            raise Damaged
        if kind in _COUNTED_IN:  # readers skip the others: an index, or what is yet to be invented
            inner = header.get(_COUNTED_IN[kind])
            if not isinstance(inner, dict):
                raise Damaged
            yield kind, _natural(inner.get(1)), size, packed, _CHECKSUM in header
    raise Damaged


def _natural(value: object) -> int:
    if isinstance(value, int) and value >= 0:
        return value
    raise Damaged


class _Compact:
    """Thrift's compact protocol, as far as page headers need it."""

    def __init__(self, data: memoryview, at: int, end: int) -> None:
        self.at = at
        self._data = data
        self._end = end

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Field number → integer, truth or struct; of texts and lists only that they are there."""
        fields: dict[int, Any] = {}
        number = 0
        while (byte := self._byte()) != 0:
            step, kind = byte >> 4, byte & 15
            number = number + step if step else self._integer()
            fields[number] = kind == 1 if kind in (1, 2) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEEPEST:
            raise Damaged
        match kind:
            case 1 | 2 | 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._integer()
            case 7:
                return self._skip(8)
            case 8:
                return self._skip(self._varint())
            case 9 | 10:
                return self._list(depth)
            case 12:
                return self.struct(depth + 1)
        raise Damaged  # maps aren't used in page headers

    def _list(self, depth: int) -> None:
        byte = self._byte()
        size = byte >> 4 if byte >> 4 != 15 else self._varint()
        if size > self._end - self.at:
            raise Damaged
        for _ in range(size):
            self._value(byte & 15, depth + 1)

    def _byte(self) -> int:
        if self.at >= self._end:
            raise Damaged
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise Damaged

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _skip(self, count: int) -> None:
        if count > self._end - self.at:
            raise Damaged
        self.at += count
