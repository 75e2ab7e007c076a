"""Parquet into records: the same texts and the same faults as if the extract had come as CSV.

The file is unpacked by another process (`linkage.apart`), which is given the names of the declared
columns and nothing else. What a column's type can't hold exactly is a fault of the whole column,
found before a value is read: a national number that was a float has lost digits, one that was an
integer its leading zeros. Null is missing; a float that is no number isn't.

Metadata that programs leave in a file (pandas, Arrow) is never acted upon.
"""

import atexit
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linkage import apart
from linkage.datasets import LinkageError, Variable
from linkage.findings import Findings, Limits, Rows, Stopped
from linkage.values import Amounts

MAGIC: Final = b"PAR1"
_ENCRYPTED: Final = b"PARE"
_PIECE: Final = 1 << 20

_FRACTIONS: Final = {"amount", "weight"}
_NO_LEADING_ZEROS: Final = {
    "integer",
    "amount",
    "weight",
    "employees",
    "year",
    "postcode",
    "municipality",
    "house_number",
    "sex",
    "yes_no",
}
"""Types of which no value begins with a zero (a municipality's NIS code never does)."""
_DATES: Final = {"birth_date", "date"}
_FITS: Final[dict[str, set[str]]] = {
    "integer": _NO_LEADING_ZEROS,
    "float": {*_FRACTIONS, "integer"},
    "decimal": {*_FRACTIONS, "integer"},
    "truth": {"yes_no"},
    "date": _DATES,
    "moment": _DATES,
}
"""What a column is → the types that it holds exactly; text and all nulls fit every one."""
_NUMBERING: Final = {"national_number", "enterprise_number", "phone", "nace", "code"}


class Interrupted(LinkageError):  # noqa: N818 - what happened to it
    """A file couldn't be read through, and not for anything in it."""


def is_parquet(first: bytes) -> bool:
    """Whether a file that begins so is Parquet, encrypted by its own means or not."""
    return first in (MAGIC, _ENCRYPTED)


class ParquetFile:
    """A Parquet extract in memory, and the process that unpacks it."""

    def __init__(
        self,
        first: bytes,
        source: BinaryIO,
        limits: Limits,
        faults: Findings,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._faults = faults
        self._limits = limits
        self._kinds: list[str] = []
        self._numeric: list[bool] = []
        if first == _ENCRYPTED:
            raise faults.stop("parquet_encrypted")
        self._file = os.memfd_create("extract")
        try:
            self._keep(first, source, progress)
        except BaseException:
            os.close(self._file)
            raise
        self._pipes: list[BinaryIO] = []

    def _keep(self, piece: bytes, source: BinaryIO, progress: Callable[[int], None] | None) -> None:
        size = 0
        while piece:
            size += len(piece)
            if size > self._limits.parquet:
                raise self._faults.stop("parquet_too_large")
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            if progress:
                progress(size)
            piece = source.read(_PIECE)

    def __enter__(self) -> "ParquetFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)
        for pipe in self._pipes:
            pipe.close()

    def names(self, variables: Sequence[Variable]) -> list[str]:
        """The names of the file's columns, as they stand there."""
        request = {
            "names": [variable.name for variable in variables],
            "records": self._limits.records,
            "expansion": self._limits.expansion,
        }
        self._pipes = _server().ask(json.dumps(request).encode(), self._file)
        answer, self._fate = self._pipes
        self._frames = apart.frames(answer)
        columns = self._next()["columns"]
        self._kinds = [what for _, what in columns]
        return [name for name, _ in columns]

    def judge(self, variables: Sequence[Variable]) -> None:
        """A fault for each column whose type can't hold its variable (in the file's order)."""
        for variable, what in zip(variables, self._kinds, strict=True):
            if what in ("text", "nothing") or variable.type in _FITS.get(what, ()):
                continue
            if what == "integer" and _told_apart_as_numbers(variable):
                continue
            reason = "type_unsuitable"
            if what == "nested":
                reason = "nested_column"
            elif what in ("integer", "float", "short float", "decimal"):
                reason = "number_without_zeros" if variable.type in _NUMBERING else reason
            self._faults.note(reason, variable.name)
        if self._faults.errors:
            raise Stopped

    def blocks(self) -> Iterator[list[Any]]:
        """Blocks of records: an Arrow array for each of the file's columns."""
        if not self._next()["checked"]:
            self._faults.note("pages_unchecked")
        while isinstance(batch := self._next(), pa.RecordBatch):
            yield batch.columns

    def _next(self) -> Any:
        """What the other process says next; its stopping, or its end, is a fault of the file.

        Unless somebody else ended it: then nothing is known of the file, and Interrupted is raised.
        """
        try:
            said = next(self._frames, None)
        except (pa.ArrowException, ValueError):
            said = None
        if said is None and not apart.by_itself(self._fate):
            raise Interrupted(
                "The process that unpacks Parquet files was ended from outside; try again."
            )
        if said is None:
            raise self._faults.stop("parquet_damaged")
        if isinstance(said, dict) and "stop" in said:
            raise self._faults.stop(said["stop"], said["row"])
        return said

    def amounts(self, of_texts: Amounts) -> list[Amounts]:
        """How each column's amounts are written: numbers have a point, texts are as they come."""
        return [of_texts if what == "text" else Amounts(".", None) for what in self._kinds]

    def texts(self, array: Any, variable: Variable, numbers: Rows) -> Any:
        """A column as an Arrow dictionary of texts, as a CSV file would have had them."""
        if isinstance(array, pa.DictionaryArray):
            return self._decoded(array, variable, numbers)
        encoded = array.dictionary_encode(null_encoding="encode")
        values = encoded.dictionary
        if pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
            texts = _plainly(pc.cast(values, pa.string()), variable)
        elif pa.types.is_date32(values.type) or pa.types.is_timestamp(values.type):
            texts = _dates(values, variable.format or "%Y-%m-%d")
        else:
            texts = pc.cast(values, pa.string())
        return pa.DictionaryArray.from_arrays(encoded.indices, texts)

    def _decoded(self, array: Any, variable: Variable, numbers: Rows) -> Any:
        try:
            texts = pc.cast(array.dictionary, pa.string())
        except pa.ArrowInvalid:
            values = array.dictionary.to_pylist()
            bad = np.array([value is not None and not _is_utf8(value) for value in values])
            wrong = bad[array.indices.to_numpy()]
            self._faults.note("undecodable", variable.name, numbers[wrong])
            kept = [None if unfit else value for unfit, value in zip(bad, values, strict=True)]
            texts = pc.cast(pa.array(kept, pa.binary()), pa.string())
        return pa.DictionaryArray.from_arrays(array.indices, texts)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _told_apart_as_numbers(variable: Variable) -> bool:
    """Whether a code that lost its zeros isn't in the list; `01` would be `1` if both are."""
    codes = variable.codes or {}
    return variable.type == "code" and 0 < len({code.lstrip("0") for code in codes}) == len(codes)


def _plainly(texts: Any, variable: Variable) -> Any:
    """Small fractions without an exponent; of an integer, one means that digits were lost."""
    exponents = pc.match_substring_regex(texts, "[eE]")  # floats have the one, decimals the other
    if variable.type not in _FRACTIONS or not pc.any(exponents).as_py():
        return texts
    written = [
        f"{Decimal(text):f}" if exponent else text
        for text, exponent in zip(texts.to_pylist(), exponents.to_pylist(), strict=True)
    ]
    return pa.array(written, pa.string())


def _dates(values: Any, declared: str) -> Any:
    """Days in the declared format; moments that aren't midnight as they are, which is none."""
    days = values.cast(pa.date32(), safe=False)
    iso = pc.cast(days, pa.string())
    pattern = declared.replace("\\", r"\\")
    for part, place in (("%Y", r"\1"), ("%m", r"\2"), ("%d", r"\3")):
        pattern = pattern.replace(part, place)
    texts = pc.replace_substring_regex(iso, r"^(\d{4})-(\d\d)-(\d\d)$", pattern)
    if pa.types.is_date32(values.type):
        return texts
    whole = pc.equal(days.cast(values.type, safe=False), values)
    return pc.if_else(whole, texts, pc.cast(values, pa.string()))


class _Server:
    """Our end of the process whose children unpack files."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def ask(self, request: bytes, file: int) -> list[BinaryIO]:
        """Have a file unpacked; the pipes for the answer and for how its process ended."""
        (answer, said), (fate, ended) = os.pipe(), os.pipe()
        try:
            with self._lock:
                try:
                    self._send(request, [file, said, ended])
                except OSError:  # it died: another takes its place
                    self.close()
                    self._send(request, [file, said, ended])
        except BaseException:
            os.close(answer)
            os.close(fate)
            raise
        finally:
            os.close(said)
            os.close(ended)
        return [os.fdopen(answer, "rb"), os.fdopen(fate, "rb")]

    def _send(self, request: bytes, handles: list[int]) -> None:
        if self._control is None:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = _start(theirs.fileno())
        socket.send_fds(self._control, [request], handles)

    def close(self) -> None:
        """End it; the next file starts another."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.wait()
        self._control = self._process = None


def _start(control: int) -> subprocess.Popen[bytes]:
    """A process of its own: no handle, no secret of the environment, nothing printed."""
    known = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    root = str(Path(__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "linkage.apart", str(control)],
        pass_fds=[control],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**known, "PYTHONPATH": root, "ARROW_DEFAULT_MEMORY_POOL": "system"},
    )


@cache
def _server() -> _Server:
    return _Server()
