"""A process of its own for unpacking Parquet: what its bytes do to it, they do to nobody else.

Arrow's reader is C++ and the bytes are somebody else's: they may crash it or fill its memory. So
files are unpacked in children of a small server process that was started afresh and therefore holds
no key, no database and no other delivery. A child is given one file (in memory, never on a disk),
may use `MEMORY` bytes of its own, may write no file and leave no dump, and ends with its file.

It answers with frames: what the columns are; whether the pages have checksums; blocks of values,
small enough to be held; and a reason where it stops. An answer that breaks off means that the child
died; a keeper beside it tells of what, since a file is to blame for a crash, and not for somebody's
`kill`.

Started as `python -m linkage.apart FD`; FD is a Unix socket that brings, for each file, a request
(JSON), the file, a pipe for the answer and one for how the child ended.
"""

import contextlib
import ctypes
import importlib
import io
import json
import mmap
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from linkage import pages

MEMORY: Final = 512 << 20
"""Bytes that a child may use beside the file, which is shared."""

_HELD: Final = 128 << 20
"""Bytes of pages at most that are unpacked at once: the largest page of each column."""
_ALWAYS: Final = 64 << 20
"""A small file may become this large, whatever the factor."""
_BLOCK_ROWS: Final = 65_536
_BLOCK_BYTES: Final = 16 << 20
_LONGEST: Final = 131_072
"""Bytes of one value; the limit of Python's csv module."""
_SILENCE: Final = 300.0
"""Seconds that a child may be busy with one block."""
_PROCESSOR: Final = 3600

_OF_ITSELF: Final = {
    signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL,
    signal.SIGXCPU, signal.SIGXFSZ, signal.SIGALRM, signal.SIGTRAP,
}  # fmt: skip
"""Signals that a child gets for what it does; any other comes from somebody else."""

_FRAME: Final = struct.Struct(">cQ")
_NOT_DUMPABLE: Final = 4  # prctl PR_SET_DUMPABLE


class _Stop(Exception):  # noqa: N818  (the file's fault, told by its reason)
    def __init__(self, reason: str, row: int | None = None) -> None:
        self.answer = {"stop": reason, "row": row}


def frames(answer: BinaryIO) -> Iterator[Any]:
    """What a child says, from the other end of its pipe: dictionaries, and Arrow record batches."""
    while len(head := answer.read(_FRAME.size)) == _FRAME.size:
        kind, length = _FRAME.unpack(head)
        if length > 2 * MEMORY or len(body := answer.read(length)) < length:
            return
        if kind == b"{":
            yield json.loads(body)
        else:
            with pa.ipc.open_stream(body) as stream:
                batch = stream.read_next_batch()
            batch.validate(full=True)
            yield batch


def by_itself(fate: BinaryIO) -> bool:
    """Whether a child ended by what it did to its file, from the other end of the second pipe."""
    ended = fate.read(1)
    return ended == b"\0" or (len(ended) == 1 and ended[0] in _OF_ITSELF)


def main(control: socket.socket) -> None:
    """Serve until the other end is closed; a child for each file."""
    importlib.import_module("pandas")  # Arrow would load it in every child anew
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_NOT_DUMPABLE, 0, 0, 0, 0)
    while True:
        request, handles, _, _ = socket.recv_fds(control, 1 << 20, 3)
        if not request:
            return
        if os.fork() == 0:
            with contextlib.suppress(BaseException):
                control.close()
                _keep(json.loads(request), *handles)
            os._exit(0)
        for handle in handles:
            os.close(handle)


def _keep(request: dict[str, Any], file: int, answer: int, fate: int) -> None:
    """Have a child unpack a file, and tell how it ended: 0, or the signal it died of."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.close(fate)
            _limit()
            _answer(request, file, answer)
        os._exit(0)
    os.close(answer)
    _, status = os.waitpid(child, 0)
    os.write(fate, bytes([os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0]))


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_PROCESSOR, _PROCESSOR))


def _answer(request: dict[str, Any], file: int, answer: int) -> None:
    with os.fdopen(answer, "wb") as pipe:

        def tell(body: Any, kind: bytes = b"{") -> None:
            signal.setitimer(signal.ITIMER_REAL, 0)  # the reader may take its time
            data = json.dumps(body).encode() if kind == b"{" else body
            pipe.write(_FRAME.pack(kind, len(data)))
            pipe.write(data)
            pipe.flush()
            signal.setitimer(signal.ITIMER_REAL, _SILENCE)

        data = mmap.mmap(file, 0, prot=mmap.PROT_READ)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, _SILENCE)
        try:
            for said in _unpacked(data, request):
                tell(said, b"{" if isinstance(said, dict) else b"B")
        except _Stop as stop:
            tell(stop.answer)
        except MemoryError:
            tell(_Stop("expands_too_much").answer)
        except (pages.Damaged, pa.ArrowException, OSError, ValueError, OverflowError):
            is_sealed = pages.encrypted(memoryview(data))
            tell(_Stop("parquet_encrypted" if is_sealed else "parquet_damaged").answer)
        tell({"end": True, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10})


def _unpacked(data: mmap.mmap, request: dict[str, Any]) -> Iterator[Any]:
    """The columns, then blocks of values as Arrow IPC streams of one record batch each."""
    if data[-4:] == b"PARE":
        raise _Stop("parquet_encrypted")
    source = pa.py_buffer(data)
    file = pq.ParquetFile(pa.BufferReader(source), page_checksum_verification=True)
    columns = [[field.name, kind(field.type)] for field in file.schema_arrow]
    yield {"columns": columns}
    if sorted(name for name, _ in columns) != sorted(request["names"]):
        return
    if any(what in ("nested", "other") for _, what in columns):
        return
    allowed = max(_ALWAYS, request["expansion"] * len(data))
    yield {"checked": _weigh(memoryview(data), file.metadata, request["records"], allowed)}
    texts = [name for name, what in columns if what == "text"]
    file = pq.ParquetFile(
        pa.BufferReader(source),
        metadata=file.metadata,
        read_dictionary=texts,
        page_checksum_verification=True,
    )
    rows, expected = 0, file.metadata.num_rows
    nulls = np.zeros(len(columns), np.int64)
    many = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // (8 * len(columns))))
    for batch in file.iter_batches(batch_size=many, use_threads=False):
        for block, weight in _blocks(batch, columns, rows) if batch.num_rows else ():
            allowed -= weight
            if allowed < 0:
                raise _Stop("expands_too_much")
            yield _ipc(block)
        rows += batch.num_rows
        nulls += [column.null_count for column in batch.columns]
    if rows != expected or np.nan_to_num(_nulls(file.metadata, len(columns)) - nulls).any():
        raise _Stop("directory_contradicted")


def _nulls(footer: Any, columns: int) -> Any:
    """How many nulls each column has by its statistics; NaN where they don't say.

    One null too many or too few, and all values after it stand one row off.
    """
    told = np.zeros(columns)
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        for position in range(columns):
            statistics = group.column(position).statistics
            has = statistics is not None and statistics.has_null_count
            told[position] += statistics.null_count if has else np.nan
    return told


def kind(column: Any) -> str:
    """What a column's Arrow type comes down to; the file's hints on types are looked through."""
    column = column.value_type if pa.types.is_dictionary(column) else column
    tests = {
        "text": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
        "integer": (pa.types.is_integer,),
        "float": (pa.types.is_float64,),
        "short float": (pa.types.is_floating,),
        "decimal": (pa.types.is_decimal,),
        "truth": (pa.types.is_boolean,),
        "date": (pa.types.is_date32,),
        "moment": (lambda that: pa.types.is_timestamp(that) and that.tz is None,),
        "nothing": (pa.types.is_null,),
        "nested": (pa.types.is_nested,),
    }
    fitting = (name for name, those in tests.items() if any(fits(column) for fits in those))
    return next(fitting, "other")


def _weigh(data: memoryview, footer: Any, most: int, allowed: int) -> bool:
    """Hold the pages' own headers against the limits and the footer, before one is unpacked.

    Whether all of them have checksums.
    """
    rows, checked = 0, True
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        rows += group.num_rows
        if rows > most:
            raise _Stop("too_many_records")
        if group.num_rows == 0:
            continue  # without a page: nothing of it is read
        held = 0
        for position in range(group.num_columns):
            chunk = pages.chunk(data, *_place(group.column(position)))
            if chunk.values != group.num_rows:
                raise _Stop("directory_contradicted")
            held += chunk.largest
            allowed -= chunk.unpacked
            checked = checked and chunk.checked
        if allowed < 0 or held > _HELD:
            raise _Stop("expands_too_much")
    if rows != footer.num_rows:
        raise _Stop("directory_contradicted")
    return checked


def _place(column: Any) -> tuple[int, int]:
    start = column.data_page_offset
    if column.has_dictionary_page and 0 < (column.dictionary_page_offset or 0) < start:
        start = column.dictionary_page_offset
    return start, column.total_compressed_size


def _blocks(batch: Any, columns: list[list[str]], before: int) -> Iterator[tuple[Any, int]]:
    """A batch in pieces that stay small when every text is written out, and their weight."""
    rows = batch.num_rows
    weights = np.full(rows, 8 * batch.num_columns, np.int64)
    texts: dict[str, tuple[Any, Any]] = {}
    others: dict[str, Any] = {}
    for (name, what), array in zip(columns, batch.columns, strict=True):
        if what == "text":
            values, codes = texts[name] = _codes(array)
            lengths = pc.fill_null(pc.binary_length(values), 0).to_numpy()[codes]
            if (lengths > _LONGEST).any():
                raise _Stop("field_too_long", before + int(np.argmax(lengths > _LONGEST)) + 1)
            weights += lengths
        elif pa.types.is_dictionary(array.type):
            others[name] = array.dictionary_decode()
        else:
            others[name] = array
    steps = (np.cumsum(weights) - 1) // _BLOCK_BYTES
    cuts = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), rows]
    for start, end in pairwise(cuts):
        part = {
            name: _written(*texts[name], slice(start, end))
            if what == "text"
            else others[name].slice(start, end - start)
            for name, what in columns
        }
        yield pa.record_batch(part), int(weights[start:end].sum())


def _codes(array: Any) -> tuple[Any, Any]:
    """A column's distinct values as bytes, null the last of them, and where each row's stands.

    The file's indices are checked here: nothing that came before does.
    """
    values = array.dictionary.cast(pa.large_binary())
    codes = pc.fill_null(array.indices, len(values)).to_numpy(zero_copy_only=False)
    if len(codes) and (codes.min() < 0 or codes.max() > len(values)):
        raise pages.Damaged
    return pa.concat_arrays([values, pa.nulls(1, values.type)]), codes.astype(np.int64)


def _written(values: Any, codes: Any, rows: slice) -> Any:
    """These rows of a column, as an Arrow dictionary of bytes without what isn't used."""
    used = np.zeros(len(values), np.bool_)
    used[codes[rows]] = True
    places = (np.cumsum(used) - 1).astype(np.int32)
    kept = values.take(pa.array(np.flatnonzero(used))).cast(pa.binary())
    return pa.DictionaryArray.from_arrays(pa.array(places[codes[rows]]), kept)


def _ipc(batch: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return sink.getvalue()


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
