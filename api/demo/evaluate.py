"""The judge of the demo: holds what came out against the truth that no part of the service reads.

It asks the linkage role and the vault which pseudonym each (row, reference) got, looks for those in
the downloaded files, and searches the files for anything that names somebody.
"""

import csv
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from api import store
from api.demo.extracts import ExtractFile
from api.operations.linkage import admissions
from api.operations.sealed import open_object
from api.service import Service
from api.store import Delivery
from policies import attack
from policies.coarsening import SUPPRESSED
from policies.permits import UNITS
from policies.releases import FORMATS

DETERMINISTIC = ("national_number", "enterprise_number", "conversion")


def who_is_who(
    service: Service,
    scope: str,
    permit: str,
    truths: Mapping[tuple[str, str], ExtractFile],
    now: datetime,
) -> pd.DataFrame:
    """One line per (row, reference) of every delivery admitted to a scope: truth and outcome.

    Columns: dataset, period, record, reference, person, own_number, name_agrees, subject, rule,
    pseudonym. Opened with the linkage role's key, the links' rules with the release role's, and
    the pseudonyms asked of the vault under the project's permit.
    """
    frames = []
    linkage, release = service.vault.role("linkage"), service.vault.role("release")
    with store.reading(service.engine) as session:
        for admission in admissions(session, scope):
            delivery = session.get(Delivery, admission.delivery)
            assert delivery is not None  # noqa: S101 - a foreign key says so
            where = f"{scope}|{admission.position}"
            seen = open_object(
                session, service.objects, linkage, admission.seen, f"spine-seen|{where}"
            )
            links = open_object(
                session, service.objects, release, admission.links, f"links|{scope}|{delivery.id}"
            ).select(["row_key", "reference", "rule"])
            joined = seen.join(links, ["row_key", "reference"]).to_pandas()
            truth = truths[delivery.dataset, delivery.period].truth.to_pandas()
            frame = joined.merge(truth, on=["record", "reference"], validate="one_to_one")
            frames.append(frame.assign(dataset=delivery.dataset, period=delivery.period))
    everything: pd.DataFrame = pd.concat(frames, ignore_index=True)
    with store.writing(service.engine) as session:
        for unit_type in everything["unit_type"].unique():
            rows = everything["unit_type"] == unit_type
            subjects = pa.array(everything.loc[rows, "subject"], pa.binary(16))
            distinct = pc.unique(subjects)
            names = service.vault.pseudonyms(
                session.connection(), permit, unit_type, distinct, now=now
            )
            spoken = dict(zip(distinct.to_pylist(), names.to_pylist(), strict=True))
            everything.loc[rows, "pseudonym"] = everything.loc[rows, "subject"].map(spoken)
    return everything


def judge_links(rows: pd.DataFrame) -> dict[str, Any]:
    """Links against truth.

    A subject is the person that most of its row-references are (those with a number of their own
    first). A deterministic link is false when its row-reference is somebody else. Fuzzy linking is
    judged on row-references of persons without a valid number of their own: precision over those
    that were put with another row of a delivery, recall over those whose person is in another row.
    A link is right when the subject is that person, and another of the person's rows is there too.
    """
    persons = rows[rows["unit_type"] == "person"]
    owner = _owners(persons)
    right = persons["subject"].map(owner) == persons["person"]
    by_number = persons["rule"].isin(DETERMINISTIC)
    numberless = ~persons["own_number"]
    place = persons["dataset"] + "|" + persons["period"] + "|" + persons["record"].astype(str)
    together = place.groupby(persons["subject"]).transform("nunique") > 1
    elsewhere = place.groupby(persons["person"]).transform("nunique") > 1
    rejoined = place.groupby([persons["subject"], persons["person"]]).transform("nunique") > 1
    linked = numberless & together
    correct = int((linked & rejoined & right).sum())
    return {
        "row_references": len(rows),
        "deterministic": {
            "links": int(by_number.sum()),
            "false_matches": int((by_number & ~right).sum()),
        },
        "fuzzy": {
            "row_references": int(numberless.sum()),
            "linked": int(linked.sum()),
            "linkable": int((numberless & elsewhere).sum()),
            "precision": _share(correct, int(linked.sum())),
            "recall": _share(correct, int((numberless & elsewhere).sum())),
        },
        "subjects": int(persons["subject"].nunique()),
        "true_persons": int(persons["person"].nunique()),
    }


def _owners(persons: pd.DataFrame) -> pd.Series:
    """Subject → the person it stands for."""
    counted = (
        persons.groupby(["subject", "person"])["own_number"].agg(["sum", "size"]).reset_index()
    )
    ranked = counted.sort_values(
        ["subject", "sum", "size", "person"], ascending=[True, False, False, True]
    )
    owners: pd.Series = ranked.drop_duplicates("subject").set_index("subject")["person"]
    return owners


def judge_enterprises(rows: pd.DataFrame) -> dict[str, Any]:
    """Links of employers against truth, over row-references.

    Precision over those put with another row; recall over those whose enterprise stands in another
    row; and both over those without a valid number of their own, where only the name can help. A
    deterministic link is false when its row-reference is another enterprise than its subject.
    """
    employers = rows[rows["unit_type"] == "enterprise"]
    right = employers["subject"].map(_owners(employers)) == employers["person"]
    together = employers.groupby("subject")["record"].transform("size") > 1
    rejoined = employers.groupby(["subject", "person"])["record"].transform("size") > 1
    elsewhere = employers.groupby("person")["record"].transform("size") > 1
    numberless = ~employers["own_number"]
    by_number = employers["rule"].isin(DETERMINISTIC)

    def figures(which: pd.Series) -> dict[str, Any]:
        correct = int((which & rejoined & right).sum())
        return {
            "row_references": int(which.sum()),
            "precision": _share(correct, int((which & together).sum())),
            "recall": _share(correct, int((which & elsewhere).sum())),
        }

    return {
        **figures(numberless | True),
        "without_number": figures(numberless),
        "deterministic": {
            "links": int(by_number.sum()),
            "false_matches": int((by_number & ~right).sum()),
        },
        "subjects": int(employers["subject"].nunique()),
        "true_enterprises": int(employers["person"].nunique()),
    }


def judge_movers(rows: pd.DataFrame, payers: Sequence[str]) -> dict[str, Any]:
    """Children met at several payers: how many, in one year or over the years, seen as one."""
    children = rows[rows["dataset"].isin(payers) & (rows["reference"] == "self")]
    found = {}
    for name, keys in (("in_one_year", ["person", "period"]), ("over_the_years", ["person"])):
        children_of = children.groupby(keys)
        several = children_of["dataset"].nunique() > 1
        one = children_of["subject"].nunique()[several] == 1
        found[name] = {
            "children": int(several.sum()),
            "one_pseudonym": _share(int(one.sum()), len(one)),
        }
    return found


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def judge_stability(
    rows: pd.DataFrame, first: "Package", second: "Package", waves: tuple[str, str]
) -> dict[str, Any]:
    """Whether persons seen in both waves carry one pseudonym in the two downloaded files."""
    persons = rows[rows["unit_type"] == "person"]
    own = persons[persons["own_number"] & persons["name_agrees"].fillna(False).astype(bool)]
    certain, all_of_them = (
        _stable(own, first, second, waves),
        _stable(persons, first, second, waves),
    )
    return {
        "stable_across_waves": _share(*certain),
        "persons_compared": certain[1],
        "stable_all": _share(*all_of_them),
        "persons_compared_all": all_of_them[1],
    }


def _stable(
    persons: pd.DataFrame, first: "Package", second: "Package", waves: tuple[str, str]
) -> tuple[int, int]:
    spoken = []
    for package, wave in ((first, waves[0]), (second, waves[1])):
        rows = persons[
            (persons["period"] == wave) & persons["pseudonym"].isin(package.pseudonyms())
        ]
        names = rows.groupby("person")["pseudonym"]
        spoken.append(pd.DataFrame({"name": names.first(), "names": names.nunique()}))
    both = spoken[0].join(spoken[1], how="inner", lsuffix="_first", rsuffix="_second")
    single = (both["names_first"] == 1) & (both["names_second"] == 1)
    same = single & (both["name_first"] == both["name_second"])
    return int(same.sum()), len(both)


@dataclass(frozen=True)
class Package:
    """A downloaded package: its files, and its tables as a researcher reads them."""

    files: Mapping[str, bytes]

    @property
    def data_files(self) -> dict[str, bytes]:
        """The data, without dictionary, report and the like."""
        endings = tuple(f".{ending}" for ending in FORMATS)
        return {name: data for name, data in self.files.items() if name.endswith(endings)}

    def table(self, name: str) -> pa.Table:
        """One table, from its Parquet file."""
        path = next(path for path in self.files if path.endswith(f"{name}.parquet"))
        return pq.read_table(pa.BufferReader(self.files[path]))

    def tables(self) -> dict[str, pa.Table]:
        """Every table by name."""
        names = [path for path in self.files if path.endswith(".parquet")]
        return {
            path.rpartition("/")[2].removesuffix(".parquet"): pq.read_table(
                pa.BufferReader(self.files[path])
            )
            for path in names
        }

    def shape(self) -> dict[str, list[tuple[str, str]]]:
        """Tables by name, their columns in order and the columns' types."""
        return {
            name: [(column.name, str(column.type)) for column in table.schema]
            for name, table in self.tables().items()
        }

    def pseudonyms(self) -> set[str]:
        """Every pseudonym of a person or enterprise that stands in any table."""
        found: set[str] = set()
        for table in self.tables().values():
            for column in table.columns:
                if pa.types.is_string(column.type):
                    values = pc.unique(column.combine_chunks()).to_pylist()
                    found.update(value for value in values if value and PSEUDONYM.match(value))
        return found


PSEUDONYM = re.compile(r"^[PHE][0-9A-HJKMNP-TV-Z]{28}$")


def judge_disclosure(packages: Mapping[str, Package], keys: list[str]) -> dict[str, Any]:
    """Cells and suppression of each release, counted from the downloaded files."""
    by_release = {}
    for name, package in packages.items():
        units = package.table("units").to_pandas()
        sizes = units.groupby(keys)["unit"].nunique()
        hidden = units[keys].eq(SUPPRESSED).any(axis=1)
        by_release[name] = {
            "units": int(units["unit"].nunique()),
            "cells": len(sizes),
            "smallest_cell": int(sizes.min()),
            "suppressed_share": round(float(hidden.mean()), 6),
        }
    return {
        "smallest_cell": min(entry["smallest_cell"] for entry in by_release.values()),
        "suppressed_share": max(entry["suppressed_share"] for entry in by_release.values()),
        "units": max(entry["units"] for entry in by_release.values()),
        "by_release": by_release,
    }


def judge_attacks(
    rows: pd.DataFrame,
    truths: Sequence[pd.DataFrame],
    packages: Sequence[Package],
    keys: Sequence[str],
    changing: Sequence[str],
) -> list[dict[str, Any]]:
    """What an intruder with a register of the whole true population makes of the last package:
    alone, and together with those before it, of which the values that never change are known too;
    with an exact register, and with one in which some values are wrong.

    `truths` have `person` and the keys, one for each package. Shares are of rows whose person the
    truth knows or not alike: whom nobody can name is named wrongly.
    """
    persons = rows[rows["unit_type"] == "person"]
    owner = persons["subject"].map(_owners(persons))
    owners = (
        persons.assign(owner=owner).drop_duplicates("pseudonym").set_index("pseudonym")["owner"]
    )
    tables = []
    for package, truth in zip(packages, truths, strict=True):
        units = package.table(UNITS).to_pandas()[["unit", *keys]]
        named = units["unit"].map(owners)
        units["unit"] = named.where(named.notna(), units["unit"]).astype(str)
        register = truth.rename(columns={"person": "unit"}).astype({"unit": str})
        tables.append((units, register))
    steady = [key for key in keys if key not in changing]
    together = tables[-1]
    for number, earlier in enumerate(tables[:-1]):
        seen, known = (
            last.merge(
                one.drop_duplicates("unit")[["unit", *steady]].add_suffix(f"_{number}"),
                left_on="unit", right_on=f"unit_{number}", how="left",
            ).drop(columns=f"unit_{number}")
            for last, one in zip(together, earlier, strict=True)
        )  # fmt: skip
        together = (seen, known)
    rng = np.random.default_rng(0)
    tries = [("the last release", *tables[-1]), ("all releases", *together)]
    return [
        made.to_doc()
        for name, units, register in tries
        for released, known in [(_texts(units), _texts(register))]
        for made in (
            attack.attack(f"{name}, exact", released, known),
            attack.attack(f"{name}, with errors", released, known, errors=attack.ERRORS, rng=rng),
        )
    ]


def _texts(frame: pd.DataFrame) -> pa.Table:
    """Columns of texts, null where there is nothing."""
    return pa.table(
        {
            name: pa.Array.from_pandas(frame[name].astype(object), type=pa.string())
            for name in frame.columns
        }
    )


def true_rates(young: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The truth's rate per cell: the keys, persons, neet and rate, sorted by the keys."""
    cells = young.groupby(keys)["neet"].agg(["size", "sum", "mean"]).reset_index()
    return cells.set_axis([*keys, "persons", "neet", "rate"], axis=1)


def neet(package: Package, truth: pd.DataFrame, keys: list[str], period: str) -> dict[str, Any]:
    """The researcher's rate per cell: neither in education nor at work in the last quarter.

    A proxy: being in education is known from child benefit and from the schools that deliver, and
    work from one source.
    """
    tables = package.tables()
    units, work = tables[UNITS].to_pandas(), tables["social-security"].to_pandas()
    learning: set[str] = set()
    for table in tables.values():
        if "in_education" in table.column_names:
            learning.update(table.filter(pc.equal(table["in_education"], True))["unit"].to_pylist())
        if "school_year" in table.column_names:
            now = pc.equal(pc.cast(table["school_year"], pa.string()), period)
            learning.update(table.filter(now)["unit"].to_pylist())
    working = set(work.loc[work["quarter"] == f"{period}Q4", "unit"])
    proxy = ~units["unit"].isin(learning) & ~units["unit"].isin(working)
    cells = units.assign(neet=proxy).groupby(keys)["neet"].agg(["size", "mean"]).reset_index()
    merged = cells.merge(truth, on=keys, how="left")
    return {
        "note": "a proxy: education as payers and schools know it, work as social security does",
        "overall": round(float(proxy.mean()), 4),
        "overall_truth": round(float(truth["neet"].sum() / truth["persons"].sum()), 4),
        "cells": [
            {
                **{key: row[key] for key in keys},
                "units": int(row["size"]),
                "rate": round(float(row["mean"]), 4),
                "truth": None if pd.isna(row["rate"]) else round(float(row["rate"]), 4),
            }
            for row in merged.to_dict("records")
        ],
    }


# -- the search for anything that names somebody ---------------------------------------------------

_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_PIECE = 1 << 22
LABELLED = (".dta", ".sav")
SHORTEST_RAW = 6
"""Bytes of a text that is looked for in raw bytes: shorter ones turn up in any binary by chance."""


def folded(text: str) -> str:
    """Case and accents aside."""
    if text.isascii():
        return text.casefold()
    plain = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).casefold()


class Search:
    """Looks for texts (names, numbers, addresses) in every cell and in the raw bytes of files.

    Of Stata and SPSS files in cells alone: labels name places and activities, and so do surnames.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        texts = [text for text in texts if len(text) > 1]
        self._clean: set[str] = set()
        """Values that were searched and name nobody; packages say the same things many times."""
        self._words = {" ".join(_WORD.findall(folded(text))) for text in texts}
        self._longest = max(len(words.split()) for words in self._words)
        self._starting: dict[bytes, set[bytes]] = {}
        for text in texts:
            for form in (text.encode(), text.upper().encode()):
                if len(form) >= SHORTEST_RAW:
                    self._starting.setdefault(form[:SHORTEST_RAW], set()).add(form)
        starts = [int.from_bytes(start, "little") for start in self._starting]
        self._sieve = np.zeros(1 << 22, bool)
        self._sieve[_bucket(np.array(starts, np.uint64))] = True

    def count(self, files: Mapping[str, bytes]) -> int:
        """How many different texts were found."""
        found: set[str] = set()
        for name, data in files.items():
            if not name.endswith(LABELLED):
                found |= {folded(text.decode("utf-8", "replace")) for text in self._in_bytes(data)}
            found |= self._in_cells(name, data)
        return len(found)

    def _in_cells(self, name: str, data: bytes) -> set[str]:
        """Every run of words of every cell, once per distinct value."""
        found = set()
        for value in _distinct_values(name, data) - self._clean:
            runs = self._named(value)
            found |= runs
            if not runs:
                self._clean.add(value)
        return found

    def _named(self, value: str) -> set[str]:
        words = _WORD.findall(folded(value))
        runs = {
            " ".join(words[start:stop])
            for start in range(len(words))
            for stop in range(start + 1, min(len(words), start + self._longest) + 1)
        }
        return runs & self._words

    def _in_bytes(self, data: bytes) -> set[bytes]:
        """Texts that stand in the bytes between characters that are no letters or digits.

        All windows of `SHORTEST_RAW` bytes become whole numbers at once; where one is how some
        text begins, those texts are compared byte by byte.
        """
        found: set[bytes] = set()
        for begin in range(0, max(0, len(data) - SHORTEST_RAW + 1), _PIECE):
            for start in self._suspects(data[begin : begin + _PIECE + SHORTEST_RAW - 1]).tolist():
                place = begin + start
                for text in self._starting.get(data[place : place + SHORTEST_RAW], ()):
                    if data.startswith(text, place) and _stands_alone(data, place, len(text)):
                        found.add(text)
        return found

    def _suspects(self, piece: bytes) -> Any:
        """Places where some text may begin."""
        content = np.frombuffer(piece, np.uint8).astype(np.uint64)
        count = len(content) - SHORTEST_RAW + 1
        windows = np.zeros(count, np.uint64)
        for place in range(SHORTEST_RAW):
            windows |= content[place : place + count] << np.uint64(8 * place)
        return np.flatnonzero(self._sieve[_bucket(windows)])


def _distinct_values(name: str, data: bytes) -> set[str]:
    """Every text that stands in some cell of a file."""
    if name.endswith(LABELLED):
        return _labelled_values(name, data)
    if name.endswith(".parquet"):
        table = pq.read_table(pa.BufferReader(data))
    else:
        header = next(csv.reader([data.partition(b"\n")[0].decode()]))
        as_texts = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()))
        table = pyarrow.csv.read_csv(pa.BufferReader(data), convert_options=as_texts)
    found: set[str] = set()
    for column in table.columns:
        found.update(pc.unique(column.cast(pa.string()).combine_chunks()).drop_null().to_pylist())
    return found


def _labelled_values(name: str, data: bytes) -> set[str]:
    """The same of a Stata or SPSS file; its reader wants a path, so one in memory is given."""
    import pyreadstat

    read = pyreadstat.read_dta if name.endswith(".dta") else pyreadstat.read_sav
    with os.fdopen(os.memfd_create("table", os.MFD_CLOEXEC), "wb") as file:
        file.write(data)
        file.flush()
        frame, _ = read(f"/proc/self/fd/{file.fileno()}")
    found: set[str] = set()
    for column in frame.columns:
        values = frame[column].dropna().unique().tolist()
        found.update(
            f"{value:.15g}" if isinstance(value, float) else str(value) for value in values
        )
    return found


def _bucket(windows: Any) -> Any:
    """A number below 2^22 for each window: the high bits of a multiplicative hash."""
    return (windows * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(42)


def _stands_alone(data: bytes, start: int, length: int) -> bool:
    before, after = (
        data[start - 1 : start] if start else b"",
        data[start + length : start + length + 1],
    )
    return not before.isalnum() and not after.isalnum()


def plant(files: Mapping[str, bytes], text: str) -> dict[str, bytes]:
    """The same files with a text written into one cell: the search has to find it."""
    name = next(name for name in files if name.endswith(".csv"))
    lines = files[name].split(b"\n")
    cells = lines[1].split(b",")
    cells[-1] = text.encode()
    lines[1] = b",".join(cells)
    return {**files, name: b"\n".join(lines)}
