"""What a holder says its extract contains: the declaration of a dataset.

A declaration is a YAML document or a dictionary. `Dataset.from_mapping` reads it and refuses what
is unclear, one sentence per fault, before anybody sends a single row. Reading the rows themselves
is the work of `linkage.extracts`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar, get_args

import pyarrow as pa
import pyarrow.compute as pc

Role = Literal["identifier", "quasi-identifier", "sensitive", "other"]
SemanticType = Literal[
    "national_number",
    "enterprise_number",
    "first_name",
    "last_name",
    "birth_date",
    "date",
    "sex",
    "street",
    "house_number",
    "postcode",
    "municipality",
    "nace",
    "amount",
    "weight",
    "integer",
    "employees",
    "code",
    "quarter",
    "year",
    "text",
    "yes_no",
    "phone",
    "email",
    "pseudonym",
]
UnitType = Literal["person", "household", "enterprise"]
Kind = Literal["extract", "conversion", "pseudonyms"]
Shape = Literal["unit", "spells"]
Titles = Mapping[str, str]
Item = TypeVar("Item")

ROLES: Final[tuple[str, ...]] = get_args(Role)
TYPES: Final[tuple[str, ...]] = get_args(SemanticType)
UNIT_TYPES: Final[tuple[str, ...]] = get_args(UnitType)
LANGUAGES: Final = ("nl", "fr", "de", "en")
ENCODINGS: Final = ("utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16")
DELIMITERS: Final = (";", ",", "\t", "|")
FILE_KINDS: Final = ("csv", "parquet")

DIRECT: Final = frozenset(
    {
        "national_number",
        "enterprise_number",
        "first_name",
        "last_name",
        "street",
        "house_number",
        "phone",
        "email",
    }
)
"""Types that name somebody by themselves: their role is `identifier`, whatever is wished."""

IDENTITY_FIELDS: Final = (
    "national_number",
    "enterprise_number",
    "first_name",
    "last_name",
    "birth_date",
    "sex",
    "street",
    "house_number",
    "postcode",
)
"""What a reference may be recognised by; each is filled by a variable of the type of that name."""

# Names that tables made from a delivery use themselves.
_RESERVED = frozenset({"row_key", "record", "unit"})
_SLUG = re.compile(r"[a-z][a-z0-9-]{0,63}")
_KEY = re.compile(r"[a-z_]{1,24}")
_NAME = re.compile(r"[^\W\d_][\w.-]{0,63}")


class LinkageError(Exception):
    """Something about linking can't be done as asked; the message says what to do next."""


class DatasetFault(LinkageError):  # noqa: N818  (faults are what the portal and CLI call them)
    """The declaration of a dataset can't be used as it stands."""


@dataclass(frozen=True)
class Variable:
    """A named column; `format` is a date's (`%d/%m/%Y`) or the pattern (RE2) that old pseudonyms
    have as a whole, `codes` maps allowed texts to titles."""

    name: str
    role: Role
    type: SemanticType
    title: Titles
    required: bool = False
    format: str | None = None
    codes: Mapping[str, Titles] | None = None


@dataclass(frozen=True)
class Reference:
    """One unit that a row names, and which variable fills each identity field."""

    name: str
    unit_type: UnitType
    columns: Mapping[str, str]


@dataclass(frozen=True)
class FileFormat:
    """How the file is written; None means: not stated, find out."""

    delimiter: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    kind: str | None = None


@dataclass(frozen=True)
class Conditions:
    """On what terms a dataset may be used; `consent`: its holder decides on each project."""

    consent: bool = False
    text: Titles | None = None


@dataclass(frozen=True)
class Dataset:
    """A catalogue entry of one holder; `conversion` is (bis variable, national variable), and
    `project` the one project that a dataset of kind pseudonyms is for."""

    id: str
    title: Titles
    holder: str
    kind: Kind
    shape: Shape
    variables: tuple[Variable, ...]
    references: tuple[Reference, ...]
    format: FileFormat = field(default_factory=FileFormat)
    missing: tuple[str, ...] = ("",)
    conversion: tuple[str, str] | None = None
    project: str | None = None
    conditions: Conditions = field(default_factory=Conditions)

    @classmethod
    def from_mapping(cls, doc: object) -> "Dataset":
        """Read a declaration as YAML gives it. Raises DatasetFault with the first thing unclear."""
        top = _mapping(doc, "A dataset declaration")
        identity = _slug(top, "id")
        where = f"Dataset {identity}"
        _only(top, _DATASET_KEYS, where)
        kind = _choice(top, "kind", get_args(Kind), where, default="extract")
        variables = _read_list(top, "variables", where, _variable)
        references = _read_list(top, "references", where, _reference) if "references" in top else ()
        dataset = cls(
            id=identity,
            title=_titles(top.get("title"), where, default=identity),
            holder=_slug(top, "holder", where),
            kind=kind,
            shape=_choice(top, "shape", get_args(Shape), where, default=_default_shape(kind)),
            variables=variables,
            references=references,
            format=_format(top.get("format"), where),
            missing=_missing(top.get("missing"), where),
            conversion=_conversion(top.get("conversion"), where),
            project=_slug(top, "project", where) if "project" in top else None,
            conditions=_conditions(top.get("conditions"), where),
        )
        _check_variables(dataset, where)
        _check_references(dataset, where)
        _check_conversion(dataset, where)
        _check_pseudonyms(dataset, where)
        return dataset

    def to_mapping(self) -> dict[str, Any]:
        """The declaration as plain data; `from_mapping` gives an equal Dataset back."""
        doc: dict[str, Any] = {
            "id": self.id,
            "title": dict(self.title),
            "holder": self.holder,
            "kind": self.kind,
            "shape": self.shape,
            "missing": list(self.missing),
            "variables": [_variable_mapping(variable) for variable in self.variables],
        }
        stated = {key: value for key, value in vars(self.format).items() if value is not None}
        if stated:
            doc["format"] = stated
        if self.references:
            doc["references"] = [
                {"name": r.name, "unit_type": r.unit_type, "columns": dict(r.columns)}
                for r in self.references
            ]
        if self.conversion:
            doc["conversion"] = dict(zip(("from", "to"), self.conversion, strict=True))
        if self.project:
            doc["project"] = self.project
        if self.conditions != Conditions():
            doc["conditions"] = {"consent": self.conditions.consent}
            if self.conditions.text is not None:
                doc["conditions"]["text"] = dict(self.conditions.text)
        return doc

    def variable(self, name: str) -> Variable:
        """The variable of that name; KeyError when there is none."""
        for variable in self.variables:
            if variable.name == name:
                return variable
        raise KeyError(name)

    def own_columns(self, reference: Reference) -> tuple[str, ...]:
        """The variables that no other reference uses; all of this one's when it shares them all.

        A row names the reference when one of these is filled: a mother looked for at her child's
        address isn't there because the child has an address.
        """
        shared = {
            name
            for other in self.references
            if other.name != reference.name
            for name in other.columns.values()
        }
        used = tuple(reference.columns.values())
        return tuple(name for name in used if name not in shared) or used

    @property
    def identifying(self) -> tuple[str, ...]:
        """Variables that references (or a conversion) are recognised by, in declared order."""
        used = {name for reference in self.references for name in reference.columns.values()}
        used.update(self.conversion or ())
        return tuple(v.name for v in self.variables if v.name in used)

    @property
    def payload(self) -> tuple[str, ...]:
        """Variables that policy may derive from: every one that isn't an identifier. Of old
        pseudonyms it is these alone: whom they stand for is linkage's to know."""
        if self.kind == "pseudonyms":
            return tuple(v.name for v in self.variables if v.type == "pseudonym")
        return tuple(v.name for v in self.variables if v.role != "identifier")


_DATASET_KEYS = (
    "id",
    "title",
    "holder",
    "kind",
    "shape",
    "format",
    "missing",
    "variables",
    "references",
    "conversion",
    "project",
    "conditions",
)


def date_pattern(text: str) -> str:
    """The regular expression (named groups year, month, day) of a date format such as `%d/%m/%Y`.

    Only `%d`, `%m` and `%Y` are known, each once: two-digit years leave the century to be guessed.
    Raises ValueError otherwise.
    """
    parts = {"%Y": r"(?P<year>\d{4})", "%m": r"(?P<month>\d{2})", "%d": r"(?P<day>\d{2})"}
    pieces = re.split(r"(%.)", text)
    if sorted(piece for piece in pieces if piece.startswith("%")) != sorted(parts):
        raise ValueError("a date format names %d, %m and %Y once each")
    return "^" + "".join(parts.get(piece, re.escape(piece)) for piece in pieces) + "$"


def _default_shape(kind: str) -> str | None:
    return {"conversion": "unit", "pseudonyms": "spells"}.get(kind)


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DatasetFault(f"{what} must be a mapping of names to values.")
    for key in value:
        if not isinstance(key, str):
            raise DatasetFault(f"{what} has the key {key!r}; put it in quotes so that it is text.")
    return value


def _only(doc: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    """A key that doesn't look like one of ours isn't repeated: it could be somebody's name."""
    known = tuple(keys)
    for key in doc:
        if key not in known:
            field = f"`{key}`" if _KEY.fullmatch(str(key)) else "one of the fields"
            raise DatasetFault(f"{where}: {field} is not known here; use {', '.join(known)}.")


def _string(doc: Mapping[str, Any], key: str, where: str) -> str:
    value = doc.get(key)
    if not isinstance(value, str) or not value:
        raise DatasetFault(f"{where}: `{key}` is missing or isn't text.")
    return value


def _slug(doc: Mapping[str, Any], key: str, where: str = "A dataset declaration") -> str:
    value = _string(doc, key, where)
    if not _SLUG.fullmatch(value):
        raise DatasetFault(
            f"{where}: `{key}` must begin with a letter and be made of a-z, 0-9 and hyphens, "
            "64 characters at most."
        )
    return value


def _choice(
    doc: Mapping[str, Any],
    key: str,
    choices: tuple[str, ...],
    where: str,
    default: str | None = None,
) -> Any:
    value = doc.get(key, default)
    if value not in choices:
        raise DatasetFault(f"{where}: `{key}` must be one of {', '.join(choices)}.")
    return value


def _titles(value: object, where: str, default: str) -> Titles:
    return {"en": default} if value is None else _texts(value, f"{where}: `title`")


def _texts(value: object, where: str) -> Titles:
    texts = _mapping(value, where)
    _only(texts, LANGUAGES, where)
    return {language: _string(texts, language, where) for language in texts}


def _read_list(
    doc: Mapping[str, Any], key: str, where: str, read: Callable[[object, str], Item]
) -> tuple[Item, ...]:
    value = doc.get(key)
    if not isinstance(value, list) or not value:
        raise DatasetFault(f"{where}: `{key}` must be a list with at least one entry.")
    return tuple(read(item, where) for item in value)


def _variable(value: object, dataset: str) -> Variable:
    doc = _mapping(value, f"{dataset}: a variable")
    name = _string(doc, "name", f"{dataset}: a variable")
    where = f"{dataset}, variable {name}"
    if not _NAME.fullmatch(name):
        raise DatasetFault(
            f"{where}: a name starts with a letter and holds letters, digits, `_`, `.` and `-`."
        )
    _only(doc, ("name", "role", "type", "title", "required", "format", "codes"), where)
    required = doc.get("required", False)
    if not isinstance(required, bool):
        raise DatasetFault(f"{where}: `required` must be true or false.")
    return Variable(
        name=name,
        role=_choice(doc, "role", ROLES, where),
        type=_choice(doc, "type", TYPES, where),
        title=_titles(doc.get("title"), where, default=name),
        required=required,
        format=_value_format(doc, where),
        codes=_codes(doc.get("codes"), where),
    )


def _value_format(doc: Mapping[str, Any], where: str) -> str | None:
    if doc.get("type") == "pseudonym":
        return _pattern(_string(doc, "format", where), where)
    if doc.get("type") not in ("birth_date", "date"):
        if "format" in doc:
            raise DatasetFault(f"{where}: `format` is for dates and old pseudonyms only.")
        return None
    text = _string(doc, "format", where) if "format" in doc else "%Y-%m-%d"
    try:
        date_pattern(text)
    except ValueError as fault:
        raise DatasetFault(f"{where}: {fault}, for instance %d/%m/%Y.") from None
    return text


def _pattern(text: str, where: str) -> str:
    try:
        pc.match_substring_regex(pa.array([""]), f"^(?:{text})$")
    except pa.ArrowInvalid:
        raise DatasetFault(
            f"{where}: `format` must be a regular expression (RE2), such as [A-Z]{{2}}[0-9]{{6}}."
        ) from None
    return text


def _codes(value: object, where: str) -> Mapping[str, Titles] | None:
    if value is None:
        return None
    codes = _mapping(value, f"{where}: `codes`")
    if not codes:
        raise DatasetFault(f"{where}: `codes` lists nothing; leave it out or list the codes.")
    return {
        code: _titles(titles, f"{where}, code {code}", default=code)
        for code, titles in codes.items()
    }


def _reference(value: object, dataset: str) -> Reference:
    doc = _mapping(value, f"{dataset}: a reference")
    name = _string(doc, "name", f"{dataset}: a reference")
    where = f"{dataset}, reference {name}"
    if not _SLUG.fullmatch(name):
        raise DatasetFault(f"{where}: a name is made of a-z, 0-9 and hyphens.")
    _only(doc, ("name", "unit_type", "columns"), where)
    columns = _mapping(doc.get("columns"), f"{where}: `columns`")
    if not columns:
        raise DatasetFault(
            f"{where}: `columns` must say which variable holds which identity field."
        )
    _only(columns, IDENTITY_FIELDS, f"{where}: `columns`")
    return Reference(
        name=name,
        unit_type=_choice(doc, "unit_type", UNIT_TYPES, where),
        columns={key: _string(columns, key, f"{where}: `columns`") for key in columns},
    )


def _format(value: object, where: str) -> FileFormat:
    if value is None:
        return FileFormat()
    where = f"{where}: `format`"
    doc = _mapping(value, where)
    allowed: dict[str, tuple[str, ...]] = {
        "delimiter": DELIMITERS,
        "encoding": ENCODINGS,
        "decimal": (",", "."),
        "thousands": (",", ".", " ", "'"),
        "kind": FILE_KINDS,
    }
    _only(doc, allowed, where)
    for key, values in allowed.items():
        if key in doc and doc[key] not in values:
            shown = ", ".join(repr(v) for v in values)
            raise DatasetFault(f"{where}: `{key}` must be one of {shown}.")
    stated = FileFormat(**{key: str(text) for key, text in doc.items()})
    if stated.thousands is not None and stated.decimal in (None, stated.thousands):
        raise DatasetFault(f"{where}: `thousands` needs a `decimal` that is another character.")
    return stated


def _missing(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return ("",)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DatasetFault(
            f'{where}: `missing` must be a list of texts, in quotes, such as ["", "NA"].'
        )
    return tuple(value)


def _conversion(value: object, where: str) -> tuple[str, str] | None:
    if value is None:
        return None
    where = f"{where}: `conversion`"
    doc = _mapping(value, where)
    _only(doc, ("from", "to"), where)
    return (_string(doc, "from", where), _string(doc, "to", where))


def _conditions(value: object, where: str) -> Conditions:
    if value is None:
        return Conditions()
    where = f"{where}: `conditions`"
    doc = _mapping(value, where)
    _only(doc, ("consent", "text"), where)
    consent = doc.get("consent", False)
    if not isinstance(consent, bool):
        raise DatasetFault(f"{where}: `consent` must be true or false.")
    text = _texts(doc["text"], f"{where}: `text`") if "text" in doc else None
    return Conditions(consent, text)


def _check_variables(dataset: Dataset, where: str) -> None:
    seen: set[str] = set()
    taken = _RESERVED | {r.name for r in dataset.references}
    for variable in dataset.variables:
        if variable.name in seen:
            raise DatasetFault(f"{where}: variable {variable.name} is declared twice.")
        if variable.name in taken:
            raise DatasetFault(
                f"{where}: a variable can't be called {variable.name}, which names something else "
                "in the tables made from a delivery; rename it here and in the file."
            )
        if variable.type in DIRECT and variable.role != "identifier":
            raise DatasetFault(
                f"{where}: variable {variable.name} is a {variable.type}, which names somebody; "
                "its role must be identifier."
            )
        if variable.type == "weight" and (variable.role, dataset.shape) != ("other", "unit"):
            raise DatasetFault(
                f"{where}: variable {variable.name} is a weight, which says how many units a unit "
                "stands for; its role must be other, in a dataset with one row per unit."
            )
        seen.add(variable.name)


def _check_references(dataset: Dataset, where: str) -> None:
    names = [reference.name for reference in dataset.references]
    if len(set(names)) != len(names):
        raise DatasetFault(f"{where}: two references have the same name.")
    if dataset.kind == "conversion":
        if names:
            raise DatasetFault(f"{where}: a conversion list has no references.")
        return
    if "self" not in names:
        raise DatasetFault(f"{where}: one reference must be called self: the unit a row is about.")
    for reference in dataset.references:
        for identity, name in reference.columns.items():
            _check_column(dataset, f"{where}, reference {reference.name}", identity, name)


def _check_column(dataset: Dataset, where: str, identity: str, name: str) -> None:
    types = {variable.name: variable.type for variable in dataset.variables}
    if name not in types:
        raise DatasetFault(f"{where}: {identity} names variable {name}, which isn't declared.")
    if types[name] != identity:
        raise DatasetFault(
            f"{where}: {identity} needs a variable of type {identity}; "
            f"{name} is declared as {types[name]}."
        )


def _check_conversion(dataset: Dataset, where: str) -> None:
    if dataset.kind != "conversion":
        if dataset.conversion:
            raise DatasetFault(
                f"{where}: `conversion` belongs to datasets of kind conversion only."
            )
        return
    if dataset.conversion is None or len(set(dataset.conversion)) != 2:
        raise DatasetFault(
            f"{where}: a conversion list says which variable holds the old number and which the "
            "new one, as `conversion: {from: …, to: …}`."
        )
    for name in dataset.conversion:
        _check_column(dataset, f"{where}, conversion", "national_number", name)


def _check_pseudonyms(dataset: Dataset, where: str) -> None:
    """Old pseudonyms are declared apart, for one project, so that they never are a variable."""
    held = [variable for variable in dataset.variables if variable.type == "pseudonym"]
    if dataset.kind != "pseudonyms":
        if held or dataset.project:
            raise DatasetFault(
                f"{where}: old pseudonyms and `project` belong to datasets of kind pseudonyms only."
            )
        return
    if dataset.project is None or len(held) != 1 or not held[0].required:
        raise DatasetFault(
            f"{where}: a list of old pseudonyms names its `project`, and has one required variable "
            "of type pseudonym."
        )
    if held[0].role != "other" or dataset.shape != "spells":
        raise DatasetFault(
            f"{where}: a list of old pseudonyms has the shape spells, so that one with two rows "
            f"about somebody is noticed, and the role of {held[0].name} must be other."
        )
    if [reference.name for reference in dataset.references] != ["self"]:
        raise DatasetFault(f"{where}: a list of old pseudonyms has the one reference self.")


def _variable_mapping(variable: Variable) -> dict[str, Any]:
    doc: dict[str, Any] = {
        "name": variable.name,
        "role": variable.role,
        "type": variable.type,
        "title": dict(variable.title),
    }
    if variable.required:
        doc["required"] = True
    if variable.format is not None:
        doc["format"] = variable.format
    if variable.codes is not None:
        doc["codes"] = {code: dict(titles) for code, titles in variable.codes.items()}
    return doc
