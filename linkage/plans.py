"""Plan files: which columns of two files mean what, and what `schakel link` shall do with them.

    unit: person                          # or household, address, enterprise
    id: {a: rec_id, b: record}            # the column with a row's own id on either side
    fields:
      - {type: first_name, a: first_name, b: voornaam}
      - {type: birth_date, a: dob, b: geboortedatum, format: "%d/%m/%Y"}
    blocking: [[first_name, birth_date]]  # optional from here on
    assignment: one-to-one
    thresholds: {link: 0.95, review: 0.50}

A plan is wrong as a whole or right: `FilePlan.from_mapping` says in one sentence what to change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from linkage.datasets import LinkageError, date_pattern

TYPES: Final = (
    "national_number",
    "enterprise_number",
    "first_name",
    "last_name",
    "full_name",
    "birth_date",
    "birth_year",
    "sex",
    "street",
    "house_number",
    "address",
    "postcode",
    "municipality",
    "phone",
    "email",
    "company_name",
    "code",
    "text",
)
UNITS: Final = ("person", "household", "address", "enterprise")
ASSIGNMENTS: Final = ("one-to-one", "many-to-one", "one-to-many", "group")
PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "full_name": ("first_name", "last_name"),
    "address": ("street", "house_number", "postcode"),
}
"""Types that are compared as several others."""

MOSTLY_DISTINCT: Final = frozenset(
    {"national_number", "enterprise_number", "phone", "email", "full_name", "address"}
)
"""Types of which nearly every value is another one: dictionaries cost more than they save."""

_REPEATABLE: Final = ("code", "text")
_KEYS: Final = ("unit", "id", "fields", "blocking", "assignment", "thresholds")
_FIELD_KEYS: Final = ("type", "a", "b", "format")


class PlanError(LinkageError):
    """A plan can't be used as it stands; the message says what to change."""


@dataclass(frozen=True)
class Field:
    """What is compared: a semantic type, its column on either side (`b` None: within one file),
    and for a birth date how it is written."""

    type: str
    a: str
    b: str | None
    format: str | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The types that it is compared as."""
        return PARTS.get(self.type, (self.type,))


@dataclass(frozen=True)
class FilePlan:
    """A plan that holds together.

    `blocking` names types that some field has or is made of (never full_name or address: their
    parts); None leaves the choice to the engine. A pair is a link from the probability `link` on,
    and for a human to look at from `review` on. An address gives no postcode where the plan has a
    postcode of its own.
    """

    unit: str
    id_a: str
    id_b: str | None
    fields: tuple[Field, ...]
    blocking: tuple[tuple[str, ...], ...] | None
    assignment: str
    link: float = 0.95
    review: float = 0.50

    @classmethod
    def from_mapping(cls, doc: object, *, dedupe: bool = False) -> "FilePlan":
        """The plan in a YAML document, of one file (`dedupe`) or of two.

        Raises PlanError with one sentence about the first thing that is wrong.
        """
        plan = _mapping(doc, "the plan", _KEYS)
        unit = _one_of(plan.get("unit", "person"), UNITS, "unit")
        id_a, id_b = _ids(plan, dedupe)
        fields = _fields(plan, dedupe)
        link, review = _thresholds(plan)
        return cls(
            unit=unit,
            id_a=id_a,
            id_b=id_b,
            fields=fields,
            blocking=_blocking(plan, fields),
            assignment=_assignment(plan, dedupe),
            link=link,
            review=review,
        )


def _mapping(value: object, what: str, keys: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise PlanError(f"{what} is not a mapping; write it with {_listed(keys)}")
    for key in value:
        if key not in keys:
            raise PlanError(f"{what} has the unknown key {key}; it may have {_listed(keys)}")
    return value


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _one_of(value: object, allowed: Sequence[str], what: str) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise PlanError(f"the {what} {value} is unknown; it is one of {', '.join(allowed)}")
    return value


def _column(value: object, what: str) -> str:
    if isinstance(value, str) and value:
        return value
    if value is None or value == "":
        raise PlanError(f"{what} names no column; add it")
    raise PlanError(f"{what} is no text; put the column's name in quotes")


def _ids(plan: Mapping[str, Any], dedupe: bool) -> tuple[str, str | None]:
    form = "id: {a: COLUMN}" if dedupe else "id: {a: COLUMN, b: COLUMN}"
    if plan.get("id") is None:
        raise PlanError(f"the plan has no id, a column that names each row; add {form}")
    if dedupe and isinstance(plan["id"], str):
        return _column(plan["id"], "id"), None
    if not isinstance(plan["id"], Mapping):
        raise PlanError(f"the id doesn't say which side is meant; write {form}")
    ids = _mapping(plan["id"], "id", ("a", "b"))
    a = _column(ids.get("a"), "a of id")
    if dedupe:
        _only_a(ids, "id")
        return a, None
    return a, _column(ids.get("b"), "b of id")


def _only_a(entry: Mapping[str, Any], what: str) -> None:
    if entry.get("b") is not None:
        raise PlanError(f"{what} names a column b, but one file has only side a; leave b out")


def _fields(plan: Mapping[str, Any], dedupe: bool) -> tuple[Field, ...]:
    entries = plan.get("fields")
    if not isinstance(entries, list) or not entries:
        raise PlanError("the plan has no fields; list at least one with type, a and b")
    fields = tuple(
        _field(entry, f"field {number}", dedupe) for number, entry in enumerate(entries, 1)
    )
    _unambiguous(fields)
    return fields


def _field(value: object, what: str, dedupe: bool) -> Field:
    entry = _mapping(value, what, _FIELD_KEYS)
    if entry.get("type") is None:
        raise PlanError(f"{what} has no type; it is one of {', '.join(TYPES)}")
    type_ = _one_of(entry["type"], TYPES, f"type of {what},")
    what = f"{what} ({type_})"
    a = _column(entry.get("a"), f"a of {what}")
    if dedupe:
        _only_a(entry, what)
    b = None if dedupe else _column(entry.get("b"), f"b of {what}")
    return Field(type_, a, b, _format(entry.get("format"), type_, what))


def _format(value: object, type_: str, what: str) -> str | None:
    if value is None:
        return None
    if type_ != "birth_date":
        raise PlanError(f"{what} has a format, which only a birth_date may have; leave it out")
    if not isinstance(value, str):
        raise PlanError(f'the format of {what} is no text; write it as in "%d/%m/%Y"')
    try:
        date_pattern(value)
    except ValueError as fault:
        raise PlanError(f'the format of {what} can\'t be used: {fault}, as "%d/%m/%Y"') from None
    return value


def _unambiguous(fields: Sequence[Field]) -> None:
    """One column per thing compared; only a postcode may stand beside an address."""
    owner: dict[str, str] = {}
    types = [field.type for field in fields if field.type not in _REPEATABLE]
    for type_ in types:
        if types.count(type_) > 1:
            raise PlanError(f"several fields have the type {type_}; keep one, call others text")
        for part in PARTS.get(type_, (type_,)):
            other = owner.setdefault(part, type_)
            if other != type_ and {other, type_} != {"address", "postcode"}:
                raise PlanError(
                    f"{other} and {type_} both say the {part}; keep one of them as a field"
                )


def _blocking(
    plan: Mapping[str, Any], fields: Sequence[Field]
) -> tuple[tuple[str, ...], ...] | None:
    rules = plan.get("blocking")
    if rules is None:
        return None
    if not isinstance(rules, list) or not rules:
        raise PlanError(
            "blocking is no list of rules; write [[last_name, birth_date], [postcode]], or leave "
            "it out and the engine chooses"
        )
    types = [field.type for field in fields]
    known = dict.fromkeys(
        part
        for field in fields
        for part in (field.type, *field.parts)
        if types.count(part) < 2  # which of several texts would be meant?
    )
    return tuple(
        _rule(rule, f"blocking rule {number}", tuple(known)) for number, rule in enumerate(rules, 1)
    )


def _rule(rule: object, what: str, known: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(rule, list) or not rule:
        raise PlanError(f"{what} is no list of types; write it as in [last_name, birth_date]")
    for type_ in rule:
        if type_ not in known:
            raise PlanError(
                f"{what} names {type_}, which isn't the type of one field of this plan; "
                f"it may name {', '.join(known)}"
            )
    return tuple(dict.fromkeys(part for type_ in rule for part in PARTS.get(type_, (type_,))))


def _assignment(plan: Mapping[str, Any], dedupe: bool) -> str:
    assignment = _one_of(
        plan.get("assignment", "group" if dedupe else "one-to-one"), ASSIGNMENTS, "assignment"
    )
    if dedupe and assignment != "group":
        raise PlanError("the rows of one file are put into groups; leave assignment out")
    return assignment


def _thresholds(plan: Mapping[str, Any]) -> tuple[float, float]:
    given = _mapping(plan.get("thresholds") or {}, "thresholds", ("link", "review"))
    link = _probability(given.get("link", FilePlan.link), "link")
    review = _probability(given.get("review", min(FilePlan.review, link)), "review")
    if review > link:
        raise PlanError("the threshold review is above link; it must be at most as high")
    return link, review


def _probability(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise PlanError(f"the threshold {what} is no probability; give a number between 0 and 1")
    return float(value)
