"""`make bench-path`: a delivery of two gigabytes, from the holder's disk to two sealed objects.

In one run: `age` alone encrypting the file to the same disk; our client's upload to a real service
on loopback (encrypt, hash, send meanwhile, fsync, receipt); intake by a worker whose processes may
have 1.5 GiB of data each (RLIMIT_DATA, enforced by the kernel: heap and every private writable
mapping; shared libraries and the page cache don't count, so peak resident memory is printed as
well); and the same for 100,000 to 10,000,000 records, for the exponents of growth. Arrow's
allocator is told not to reserve a gibibyte before it needs any, which the kernel would count.

Everything it writes is in one folder, which is removed.
"""

import argparse
import contextlib
import math
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from api.demo.cast import ADMINISTRATORS, ORGANISATIONS, Cast

LIMIT = 1536 << 20
BLOCK = 200_000
MIB = 1 << 20
DATASET: dict[str, Any] = {
    "id": "wages",
    "holder": "rsz",
    "shape": "spells",
    "format": {"delimiter": ";", "encoding": "utf-8", "decimal": ","},
    "variables": [
        {"name": "niss", "role": "identifier", "type": "national_number", "required": True},
        {"name": "prenom", "role": "identifier", "type": "first_name"},
        {"name": "nom", "role": "identifier", "type": "last_name"},
        {"name": "naissance", "role": "quasi-identifier", "type": "birth_date"},
        {"name": "sexe", "role": "quasi-identifier", "type": "sex"},
        {"name": "code_postal", "role": "quasi-identifier", "type": "postcode"},
        {"name": "trimestre", "role": "other", "type": "quarter"},
        {"name": "salaire", "role": "sensitive", "type": "amount"},
        {"name": "remarque", "role": "other", "type": "text"},
    ],
    "references": [
        {
            "name": "self",
            "unit_type": "person",
            "columns": {
                "national_number": "niss",
                "first_name": "prenom",
                "last_name": "nom",
                "birth_date": "naissance",
                "sex": "sexe",
                "postcode": "code_postal",
            },
        }
    ],
}
FIRST = ["Jan", "Zoë", "An-Sofie", "Öykü", "Mohamed", "Jean-Luc", "Noor", "Élise", "Bart", "Lucas"]
LAST = ["De Smet", "Peeters", "Janssens", "El Amrani", "Dubois", "Van den Broeck", "Müller"]
DAYS = 365 * 60
SERIALS = 996
"""Persons per birth date: the numbers of a national number's day."""


def rows(start: int, count: int) -> bytes:
    """Records `start` onwards as CSV: valid numbers, each once, in no order; same every time."""
    here = np.arange(start, start + count, dtype=np.int64)
    person = here * 7_368_787 % (DAYS * SERIALS)  # a prime: a walk over every number
    day, serial = np.divmod(person, SERIALS)
    born = np.datetime64("1945-01-01") + day
    text = pc.strftime(pa.array(born.astype("datetime64[s]")), "%Y-%m-%d")
    year = born.astype("datetime64[Y]").astype(np.int64) + 1970
    ymd = pc.cast(pc.replace_substring(text, "-", ""), pa.int64()).to_numpy() % 1_000_000
    nine = ymd * 1000 + serial + 1
    check = 97 - np.where(year >= 2000, nine + 2_000_000_000, nine) % 97
    postcodes = np.array(["1000", "2000", "3000", "4000", "5000", "8000", "9000"])
    columns = [
        padded(nine * 100 + check, 11),
        pa.array(np.array(FIRST)[person * 31 % len(FIRST)]),
        pa.array(np.array(LAST)[person * 17 % len(LAST)]),
        text,
        pa.array(np.where(serial % 2 == 0, "M", "F")),
        pa.array(postcodes[person % len(postcodes)]),
        pa.array(np.array(["2024Q1", "2024Q2", "2024Q3", "2024Q4"])[here % 4]),
        pc.binary_join_element_wise(
            pc.cast(pa.array(here % 90_000), pa.string()), padded(person % 100, 2), ","
        ),
        pc.binary_join_element_wise(
            "note", pc.cast(pa.array(person % 1_000_003), pa.string()), " "
        ),
    ]
    lines = pc.binary_join_element_wise(*columns, ";").to_pylist()
    return ("\n".join(lines) + "\n").encode()


def padded(numbers: Any, width: int) -> Any:
    """Numbers as text with leading zeros."""
    return pc.utf8_lpad(pc.cast(pa.array(numbers), pa.string()), width, "0")


def write_extract(path: Path, *, records: int | None = None, size: int | None = None) -> int:
    """Write an extract of so many records, or bytes; how many records it has."""
    written = 0
    with path.open("wb") as file:
        file.write((";".join(v["name"] for v in DATASET["variables"]) + "\n").encode())
        while file.tell() < size if size else written < (records or 0):
            count = BLOCK if size else min(BLOCK, (records or 0) - written)
            file.write(rows(written, count))
            written += count
    return written


@dataclass(frozen=True)
class Taken:
    """What intake of a delivery took: seconds, and bytes of resident memory."""

    records: int
    intake: float
    peak: int


class Bench(Cast):
    """A founded service whose processes live within the limit, and one holder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.found()
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, hard))  # its processes inherit both
        os.environ["MIMALLOC_ARENA_EAGER_COMMIT"] = "0"
        try:
            self.start()
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
            del os.environ["MIMALLOC_ARENA_EAGER_COMMIT"]
        self[ADMINISTRATORS[0]].post("/organisations", {"id": "rsz", "name": ORGANISATIONS["rsz"]})
        self.enrol("holder-rsz")
        self["holder-rsz"].post("/datasets", DATASET)

    def processes(self) -> list[int]:
        """The service's process and all below it."""
        assert self._process is not None
        found, waiting = [], [self._process.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            for listing in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    waiting += map(int, listing.read_text().split())
        return found

    def peak(self) -> int:
        """The largest resident memory (bytes) that any of the processes had."""
        return max(_status(pid, "VmHWM") for pid in self.processes())

    def uploaded(self, path: Path) -> tuple[str, list[float]]:
        """The delivery of an extract, and seconds: encrypting, sending the rest, the receipt."""
        marks = {"begun": time.perf_counter()}

        def told(stage: str, done: int, total: int) -> None:
            if done < total or stage not in marks:
                marks[stage] = time.perf_counter()

        location = self["holder-rsz"].hand_in(path, "wages", "2024", told)
        marks["receipt"] = time.perf_counter()
        steps = [marks[name] for name in ("begun", "encrypting", "sending", "receipt")]
        return location.rpartition("/")[2], [b - a for a, b in pairwise(steps)]

    def taken_in(self, identifier: str, records: int) -> Taken:
        """Wait until intake has accepted a delivery that was just uploaded."""
        begun = time.perf_counter()
        delivery = self["holder-rsz"].wait_delivery(identifier)
        ended = time.perf_counter()
        assert delivery["state"] == "accepted", delivery["report"]
        assert delivery["rows"] == records
        return Taken(records, ended - begun, self.peak())


def _status(pid: int, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) << 10
    return 0


def by_age(path: Path, recipient: str) -> tuple[float, float]:
    """Seconds that `age` needs to encrypt a file to the same disk, and until it is on the disk."""
    target = path.with_name(path.name + ".by-age")
    begun = time.perf_counter()
    subprocess.run(["age", "-r", recipient, "-o", str(target), str(path)], check=True)
    seconds = time.perf_counter() - begun
    with target.open("rb") as file:
        os.fsync(file.fileno())
    durable = time.perf_counter() - begun
    target.unlink()
    return seconds, durable


def exponent(sizes: list[int], values: list[float]) -> float:
    """Growth as a power of the size: the slope of the logarithms, by least squares."""
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in values]
    return float(np.polyfit(x, y, 1)[0])


@contextlib.contextmanager
def somewhere(parent: Path) -> Iterator[Path]:
    """A folder that is gone afterwards."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-path-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=2_000_000_000)
    parser.add_argument("--folder", type=Path, default=Path("var"))
    parser.add_argument("--growth", type=int, nargs="*", default=[10**5, 10**6, 10**7])
    arguments = parser.parse_args()
    with somewhere(arguments.folder) as folder:
        with Bench(folder) as service:
            whole_path(service, folder / "wages.csv", arguments.bytes)
        grown = [alone(arguments.folder, count) for count in arguments.growth]
    if len(grown) > 1:
        sizes = [one.records for one in grown]
        time_by, memory_by = (
            exponent(sizes, [getattr(one, what) for one in grown]) for what in ("intake", "peak")
        )
        print(f"growth                  time: records^{time_by:.2f}, memory: ^{memory_by:.2f}")


def whole_path(service: Bench, path: Path, size: int) -> None:
    """The large extract, with `age` before and after it."""
    recipient = service["holder-rsz"].public()["uploads"]
    records = write_extract(path, size=size)
    mib = path.stat().st_size / MIB
    print(f"extract                 {records:,} records, {mib:,.0f} MiB of CSV", flush=True)
    ages = [by_age(path, recipient)]
    identifier, steps = service.uploaded(path)
    taken = service.taken_in(identifier, records)
    ages.append(by_age(path, recipient))
    fastest, durable = (min(seconds) for seconds in zip(*ages, strict=True))
    both = ", ".join(f"{mib / seconds:,.0f}" for seconds, _ in ages)
    print(
        f"age alone               {mib / fastest:,.0f} MiB/s (before and after: {both}); ", end=""
    )
    print(f"{mib / durable:,.0f} with an fsync at its end")
    share, parts = f"{fastest / sum(steps):.0%}", ", ".join(f"{step:.1f}" for step in steps)
    print(f"upload, end to end      {mib / sum(steps):,.0f} MiB/s, {share} of age (wanted: 25%), "
          f"{durable / sum(steps):.0%} with the fsync")  # fmt: skip
    print(
        f"                        {parts} s to encrypt and send, to send the rest, for the receipt"
    )
    print(
        f"intake                  {records / taken.intake:,.0f} records/s, "
        f"{mib / taken.intake:,.0f} MiB/s; limit {LIMIT // MIB:,} MiB of data per process, "
        f"peak resident {taken.peak // MIB:,} MiB",
        flush=True,
    )


def alone(parent: Path, records: int) -> Taken:
    """An extract of so many records, to a service that has done nothing else."""
    with somewhere(parent) as folder, Bench(folder) as service:
        path = folder / "wages.csv"
        write_extract(path, records=records)
        taken = service.taken_in(service.uploaded(path)[0], records)
    print(
        f"  {records:>12,} records  intake {taken.intake:8.2f} s, "
        f"peak resident {taken.peak // MIB:5,} MiB",
        flush=True,
    )
    return taken


if __name__ == "__main__":
    main()
