"""New records into a scope that knows millions already: how long, how much memory, how well.

    .venv/bin/python -m tests.bench.increment var/increment --known 10000000 --new 10000

The made-up country's file A becomes the spine, standardised as an admission writes it (a file is
kept, to be read again next time), file B the delivery, four persons in five of which the spine
knows. B is the file with more errors: one number in a dozen is missing or wrong. `link` runs in a
process of its own, with the memory that it needed beside that of the spine. `--numberless` takes
the numbers out of the delivery.
"""

import argparse
import json
import multiprocessing
import resource
import threading
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from linkage.deliveries import RECORDS, Delivery
from linkage.engine import Plan, link
from linkage.identities import FIELDS
from linkage.spine import RECORDS as IDENTITIES
from linkage.spine import SEEN, Segment, Spine
from linkage.standardise import standardise
from tests.bench.population import Chunk, Recipe, population

COLUMNS_A: Final = {
    "national_number": "nn", "first_name": "first_name", "last_name": "last_name",
    "birth_date": "birth_date", "sex": "sex", "street": "street", "house_number": "house_no",
    "postcode": "postcode",
}  # fmt: skip
COLUMNS_B: Final = {
    "national_number": "insz", "first_name": "voornaam", "last_name": "naam",
    "birth_date": "geboortedatum", "sex": "geslacht", "street": "straat", "house_number": "nummer",
    "postcode": "postcode",
}  # fmt: skip


def main() -> None:
    """Make the files where they aren't there, link, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--known", type=int, default=1_000_000)
    parser.add_argument("--new", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--numberless", action="store_true")
    asked = parser.parse_args()
    folder = asked.folder / f"{asked.known}-{asked.new}-{asked.seed}"
    if not (folder / "new.parquet").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _make(folder, Recipe(left=asked.known, right=asked.new), asked.seed)
    # A process of its own: what making the files left behind isn't linking's memory.
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        print(json.dumps(pool.apply(measure, (folder, asked.numberless)), indent=2))


def measure(folder: Path, numberless: bool) -> dict[str, Any]:
    """Link the delivery with the spine: seconds, memory, and links held against the truth."""
    spine = Spine((_segment(pq.read_table(folder / "known.parquet")),))
    table = pq.read_table(folder / "new.parquet")
    truth = table["person"].to_numpy()
    records = table.select(RECORDS.names)
    if numberless:
        at = records.column_names.index("national_number")
        nothing = pa.nulls(records.num_rows, pa.string())
        records = records.set_column(at, "national_number", nothing)
    coming = Delivery("new", "people", "2024", records)
    with _Memory() as memory:
        begun = time.perf_counter()
        result = link(coming, spine, Plan.default())
        seconds = time.perf_counter() - begun
    subjects = (
        result.groups["subject"].combine_chunks().take(result.links["group"].combine_chunks())
    )
    whose = _persons(subjects)
    known = set(np.frombuffer((folder / "both.bin").read_bytes(), np.int64).tolist())
    found = whose >= 0
    right = whose == truth
    linkable = np.array([person in known for person in truth.tolist()])
    return {
        "known": spine.records().num_rows,
        "new": len(truth),
        "total_seconds": round(seconds, 2),
        "memory_gib": round(memory.most, 2),
        "spine_gib": round(memory.before, 2),
        "precision": round(float(right[found].mean()), 5),
        "recall": round(float(right[linkable].mean()), 5),
        **{name: value for name, value in result.quality.items() if name != "models"},
    }


class _Memory:
    """The most memory of this process, sampled, beside what it had before."""

    def __enter__(self) -> "_Memory":
        self.before, self.most, self._over = _resident(), 0.0, False
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join()

    def _watch(self) -> None:
        while not self._over:
            self.most = max(self.most, _resident())
            time.sleep(0.02)


def _resident() -> float:
    """Memory of this process, in GiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return float(pages * resource.getpagesize() / (1 << 30))


def _segment(records: pa.Table) -> Segment:
    return Segment(records, SEEN.empty_table(), "known", "people", "2020")


def _persons(subjects: Any) -> Any:
    """The persons that subjects stand for: the number in their first eight bytes; -1 for none."""
    return np.array(
        [-1 if subject is None else int.from_bytes(subject[:8], "little") >> 8
         for subject in subjects.to_pylist()], np.int64,
    )  # fmt: skip


def _make(folder: Path, recipe: Recipe, seed: int) -> None:
    """The two files, chunk by chunk."""
    new, people = [], []
    with pq.ParquetWriter(folder / "known.parquet", IDENTITIES) as writer:
        for chunk in population(recipe, seed):
            writer.write_table(_known(chunk))
            new.append(_delivered(chunk))
            people.append(chunk.tables["truth_a"]["person"].to_numpy())
    table = pa.concat_tables(new)
    (folder / "both.bin").write_bytes(np.concatenate(people).astype(np.int64).tobytes())
    count = table.num_rows
    keys = np.random.default_rng(seed).bytes(16 * count)
    columns = {
        "row_key": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), count, [None, pa.py_buffer(keys)]
        ),
        "record": pa.array(np.arange(1, count + 1)),
        "reference": pa.repeat("self", count),
        "unit_type": pa.repeat("person", count),
        "distinct": pa.repeat(True, count),
    }
    fields = {name: table[name] for name in FIELDS}
    whole = pa.table({**columns, **fields}).cast(RECORDS)
    pq.write_table(whole.append_column("person", table["person"]), folder / "new.parquet")


def _known(chunk: Chunk) -> pa.Table:
    """A chunk of file A as a spine has it."""
    a = chunk.tables["a"]
    rows = a.num_rows
    person = chunk.tables["truth_a"]["person"].to_numpy().astype(np.uint64)
    ids = np.empty((rows, 2), np.uint64)
    ids[:, 0] = person << np.uint64(8) | np.random.default_rng(int(person[0])).integers(
        0, 256, rows, np.uint64
    )
    ids[:, 1] = np.random.default_rng(int(person[-1])).integers(0, 2**63, rows, np.uint64)
    columns: dict[str, Any] = {
        "subject": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), rows, [None, pa.py_buffer(ids)]
        ),
        "unit_type": pa.repeat("person", rows),
    }
    for field in FIELDS:
        columns[field] = (
            standardise(field, a[COLUMNS_A[field]])
            if field in COLUMNS_A
            else pa.nulls(rows, pa.string())
        )
    return pa.table(columns).cast(IDENTITIES)


def _delivered(chunk: Chunk) -> pa.Table:
    """A chunk of file B as its holder writes it."""
    b = chunk.tables["b"]
    fields = {
        field: b[COLUMNS_B[field]] if field in COLUMNS_B else pa.nulls(b.num_rows, pa.string())
        for field in FIELDS
    }
    day = pa.compute.replace_substring_regex(
        fields["birth_date"], r"^(\d\d)/(\d\d)/(\d{4})$", r"\3-\2-\1"
    )
    person = chunk.tables["truth_b"]["person"]
    return pa.table({**fields, "birth_date": day, "person": person})


if __name__ == "__main__":
    main()
