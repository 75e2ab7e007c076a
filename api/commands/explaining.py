"""One pair of rows from a file of links: found again in its files, and why it weighs what it does.

Rows are read afresh from the files that were linked; the file of links holds the model, and no
value of any row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from api.commands import BadInput
from linkage import files
from linkage.explained import Explanation, Step, Term, explain, fields_of, from_document, said
from linkage.kernel.columns import NUMBERS, Encoded, encode
from linkage.plans import Field, FilePlan

WIDTH: Final = 28
"""Characters of the widest bar of a waterfall."""
OFF: Final = 0.05
"""Bits that a weight in the file may be off by before the files are said to have changed."""


@dataclass(frozen=True)
class Weighed:
    """What a field of the model adds for the pair, beside the values in the files."""

    term: Term
    left: str
    right: str


@dataclass(frozen=True)
class Case:
    """A pair of rows, what was decided about it, and why."""

    left_id: str
    right_id: str
    rule: str | None
    stated: float | None
    numbers: tuple[tuple[str, str, str, str], ...]
    weighed: tuple[Weighed, ...]
    why: Explanation | None

    @classmethod
    def of(cls, links: Path, left_id: str, right_id: str, given: Sequence[Path | None]) -> "Case":
        """The case of two rows by their ids; `given` are files that moved."""
        table, about = files.written(links)
        dedupe = len(about["files"]) == 1
        plan = FilePlan.from_mapping(about["plan"], dedupe=dedupe)
        paths = [
            new or links.parent / old["path"]
            for new, old in zip(given, about["files"], strict=False)
        ]
        tables = [
            _as_before(path, plan, "ab"[n], old["rows"])
            for n, (path, old) in enumerate(zip(paths, about["files"], strict=True))
        ]
        row = _decided(table, left_id, right_id)
        if dedupe and row is None and (row := _decided(table, right_id, left_id)):
            left_id, right_id = right_id, left_id
        places = [
            _place(tables[0], files.id_on(plan, "a"), left_id, paths[0]),
            _place(tables[-1], files.id_on(plan, "b"), right_id, paths[-1]),
        ]
        encoded = encode(tables[0], None if dedupe else tables[1], plan)
        values = _Values(plan, tables[0], tables[-1], places[0], places[1])
        why: Explanation | None = None
        weighed: tuple[Weighed, ...] = ()
        if about["model"]:
            model = from_document(about["model"], encoded)
            why = explain(encoded, model, *places)
            _still_so(row, why, paths)
            weighed = tuple(
                Weighed(term, *values.of(fields_of(one, plan)))
                for one, term in zip(model.weights.comparisons, why.terms, strict=True)
            )
        return cls(
            left_id=left_id,
            right_id=right_id,
            rule=row["rule"] if row else None,
            stated=row["probability"] if row and row["weight"] is not None else None,
            numbers=() if why else tuple(_numbers(encoded, plan, values)),
            weighed=weighed,
            why=why,
        )

    @property
    def probability(self) -> float | None:
        """What the file states; of a pair that isn't in it, what the fields say."""
        if self.stated is not None:
            return self.stated
        return self.why.probability if self.why else None

    @property
    def rivals(self) -> float:
        """Bits that rival pairs, or that there are none, add in the end."""
        return 0.0 if self.why is None or self.stated is None else self.why.rivals(self.stated)

    def told(self) -> dict[str, Any]:
        """All of it, for programs."""
        told: dict[str, Any] = {
            "left_id": self.left_id,
            "right_id": self.right_id,
            "rule": self.rule,
            "probability": self.probability,
            "numbers": [
                dict(zip(("field", "left", "right", "level"), one, strict=True))
                for one in self.numbers
            ],
        }
        if self.why is None:
            return told
        sums = self._sums()
        return told | {
            "prior": self.why.prior,
            "fields": [
                {
                    "field": one.term.name,
                    "left": one.left,
                    "right": one.right,
                    "level": one.term.level,
                    "usual": one.term.usual,
                    "rarity": one.term.rarity,
                    "weight": one.term.weight,
                    "sum": sums[n + 1],
                }
                for n, one in enumerate(self.weighed)
            ],
            "crossed": self.why.crossed,
            "weight": self.why.weight,
            "household": self.why.household,
            "before_rivals": self.why.probability,
            "rivals": self.rivals,
        }

    def _sums(self) -> list[float]:
        sums = [self.why.prior] if self.why else [0.0]
        for one in self.weighed:
            sums.append(sums[-1] + one.term.weight)
        return sums

    def _values(self) -> dict[str, str]:
        """What the two rows say, by field."""
        return {one.term.name: f"{one.left or '–'} | {one.right or '–'}" for one in self.weighed}

    def page(self) -> str:
        """All of it, as a page."""
        from linkage.charts import case_page

        title = f"{self.left_id} and {self.right_id}"
        return case_page(title, f"{title}: {self._outcome()}.", *self.drawn())

    def drawn(self) -> tuple[list[Step], dict[str, str]]:
        """The steps of the waterfall, and what the two rows say by the name of a step."""
        return self.why.steps(self.stated) if self.why else [], self._values()

    def lines(self) -> Iterator[str]:
        """All of it, for people."""
        yield f"{self.left_id} and {self.right_id}: {self._outcome()}"
        for name, left, right, level in self.numbers:
            yield f"{name}: {left or '–'} | {right or '–'}: {level}"
        if self.why is None:
            return
        yield ""
        if self.why.crossed:
            yield "First and last name stand across; they are compared that way."
        yield from _waterfall(*self.drawn())
        yield ""
        yield (
            "Weights are logarithms (base 2) of odds: 1 doubles them, 10 is a factor of a thousand."
        )

    def _outcome(self) -> str:
        if self.rule == "national_number":
            return "linked by number"
        stated = "" if self.probability is None else f", probability {said(self.probability)}"
        if self.rule is None:
            return f"neither linked nor for review{stated}"
        return f"{'linked' if self.rule == 'fuzzy' else 'for review'}{stated}"


def _as_before(path: Path, plan: FilePlan, side: str, rows: int) -> Any:
    """A file that was linked, read again."""
    table = files.read_for(plan, side, path)
    if table.num_rows != rows:
        raise BadInput(
            f"{path} has {table.num_rows} rows and had {rows} when it was linked; name the file "
            f"of then with --{side}, or link again."
        )
    return table


def _decided(table: Any, left_id: str, right_id: str) -> dict[str, Any] | None:
    """The row of the file of links about a pair."""
    found = table.filter(
        pc.and_(_is(table["left_id"], left_id), _is(table["right_id"], right_id))
    ).to_pylist()
    return found[0] if found else None


def _is(column: Any, value: str) -> Any:
    if not pa.types.is_string(column.type):
        column = pc.cast(column, pa.string())
    return pc.equal(column, value)


def _place(table: Any, column: str, value: str, path: Path) -> int:
    place: int = pc.index(_is(table[column], value), True).as_py()
    if place < 0:
        raise BadInput(f"{path} has no row with the id {value} in column {column}.")
    return place


def _still_so(row: dict[str, Any] | None, why: Explanation, paths: Sequence[Path]) -> None:
    """Refuse to explain a weight that the files of today don't give."""
    if row and row["weight"] is not None and abs(row["weight"] - why.weight) > OFF:
        names = " or ".join(str(path) for path in paths)
        raise BadInput(f"{names} has changed since it was linked; link again.")


@dataclass(frozen=True)
class _Values:
    """What the files say of the two rows."""

    plan: FilePlan
    a: Any
    b: Any
    left: int
    right: int

    def of(self, fields: Sequence[Field]) -> tuple[str, str]:
        """The values of fields on either side, as one text each."""
        left = [self._text(self.a, one.a, self.left) for one in fields]
        right = [self._text(self.b, one.b or one.a, self.right) for one in fields]
        return " ".join(filter(None, left)), " ".join(filter(None, right))

    @staticmethod
    def _text(table: Any, column: str, row: int) -> str:
        value = table[column][row].as_py()
        return "" if value is None else str(value).strip()


def _numbers(
    encoded: Encoded, plan: FilePlan, values: _Values
) -> Iterator[tuple[str, str, str, str]]:
    """Where there is nothing but numbers: what they are to one another."""
    for field in plan.fields:
        if field.type in NUMBERS:
            one = int(encoded.a.codes[field.type][values.left])
            other = int(encoded.b.codes[field.type][values.right])
            level = "not valid or missing" if min(one, other) < 0 else "different numbers"
            yield field.type, *values.of([field]), "the same number" if one == other >= 0 else level


def _waterfall(steps: Sequence[Step], values: dict[str, str]) -> Iterator[str]:
    """A waterfall in characters: each bar begins where the one before ended."""
    ends, total = [0.0], 0.0
    for step in steps:
        total += step.bits
        ends.append(total)
    low, high = min(ends), max(ends)
    scale = WIDTH / max(high - low, 1e-9)
    name = max(len(step.name) for step in steps)
    words = max(len(step.words) for step in steps)
    for step, begin, end in zip(steps, ends, ends[1:], strict=False):
        first, last = (
            round((min(begin, end) - low) * scale),
            round((max(begin, end) - low) * scale),
        )
        bar = " " * first + ("█" if step.bits >= 0 else "▒") * max(last - first, 1)
        shown = f"{step.name:<{name}}  {step.words:<{words}}  {step.bits:+7.2f}  {end:+7.2f}  {bar}"
        yield shown.rstrip()
        if step.name in values:
            yield f"{'':<{name}}  {values[step.name]}"
