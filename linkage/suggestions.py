"""A first plan for files nobody described: what do their columns mean, and which belong together.

A column's name says what it may hold (`geb_datum`, `date de naissance`, `dob`), its contents say
whether it does. Columns of two files are brought together by what they mean; one whose name says
nothing, by the values it has in common with one that is known. People read a suggestion before they
use it, so it leaves out what it isn't sure of.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linkage.datasets import LinkageError
from linkage.dates import birth_dates
from linkage.folding import fold, single_values, texts, whole
from linkage.standardise import standard_columns

_HINTS: Final = {
    "national_number": """rijksregisternummer rijksregister rijksregisternr rrn rr rrnr nrn niss
        insz inss nn ssin nationalnumber nationalnr nationaalnummer nationalregisternumber
        numeronational registrenational numeroregistrenational nationalregisternummer
        nationalregisternummer bisnummer bisnumber""",
    "enterprise_number": """ondernemingsnummer ondernemingsnr kbo kbonr kbonummer bce bcenr
        numerobce numeroentreprise numerodentreprise enterprisenumber vat vatnumber btw btwnummer
        btwnr tva numerotva cbe cbenumber companynumber unternehmensnummer""",
    "first_name": """firstname firstnames givenname givennames forename forenames fname first given
        voornaam voornamen vnaam roepnaam prenom prenoms vorname vornamen rufname""",
    "last_name": """lastname surname familyname lname sname last familienaam achternaam
        geboortenaam nomdefamille nomfamille patronyme nachname familienname zuname""",
    "name": "name naam nom names",
    "full_name": """fullname personname completename naamvoornaam voornaamnaam naamenvoornaam
        volledigenaam nomprenom prenomnom nomcomplet nometprenom namevorname""",
    "birth_date": """birthdate dateofbirth dob birth born birthday bdate geboortedatum geboortedat
        gebdatum gebdat geboorte geboren naissance datenaissance datedenaissance datenaiss dnaiss
        ddn geburtsdatum geburtstag geborenam""",
    "birth_year": """birthyear yearofbirth yob byear geboortejaar gebjaar anneenaissance
        anneedenaissance geburtsjahr""",
    "sex": "sex gender geslacht sekse sexe genre geschlecht",
    "street": """street streetname straat straatnaam rue nomrue nomdelarue strasse strassenname
        road voie""",
    "house_number": """housenumber houseno housenr housenum house streetnumber streetno streetnr
        huisnummer huisnr nummer numero numeromaison numerorue num nr hausnummer hausnr""",
    "address": """address adres adresse addressline addr anschrift adresregel fulladdress
        streetaddress""",
    "postcode": "postcode postalcode zip zipcode postnummer postnr cp codepostal plz postleitzahl",
    "municipality": """municipality city town village suburb locality place gemeente stad woonplaats
        plaats plaatsnaam commune ville localite ort gemeinde stadt wohnort nis niscode refnis
        codeins""",
    "phone": """phone phonenumber telephone telephonenumber tel telnr mobile mobilephone cell
        cellphone gsm telefoon telefoonnummer telefon handy""",
    "email": "email mail emailaddress emailadres courriel adresseemail adressemail",
    "company_name": """company companyname firm firmname firma firmanaam firmenname bedrijf
        bedrijfsnaam onderneming ondernemingsnaam maatschappelijkenaam handelsnaam denomination
        denominationsociale raisonsociale societe entreprise unternehmen businessname organisation
        organization""",
    "id": "id recid recordid record rowid row key rowkey uuid guid identifier volgnummer seq",
}
"""What columns are called in Dutch, French, German and English, in one word and without accents."""

_TYPE_OF: Final = {name.upper(): type_ for type_, names in _HINTS.items() for name in names.split()}
_SIDES: Final = frozenset({"A", "B", "L", "R", "LEFT", "RIGHT", "X", "Y"})
# A mother's name says nothing about who the row is about, nor does a place of birth or a death.
_OF_OTHERS: Final = re.compile(
    "MOTHER|FATHER|PARENT|SPOUSE|PARTNER|MAIDEN|MOEDER|VADER|OUDER|ECHTGENO|MERE|PERE|CONJOINT"
    "|EPOUX|EPOUSE|MUTTER|VATER|GEBOORTEPLAATS|LIEUDENAISSANCE|LIEUNAISSANCE|BIRTHPLACE"
    "|PLACEOFBIRTH|GEBURTSORT|DEATH|OVERLIJD|OVERLEDEN|DECES|EMPLOYER|WERKGEVER|EMPLOYEUR"
)
_SURE: Final = ("national_number", "enterprise_number", "email")
"""Types that contents alone can tell."""

_SHAPES: Final = {
    "first_name": r"^[^0-9@]{2,}$",
    "last_name": r"^[^0-9@]{2,}$",
    "full_name": r"^[^0-9@]+[ ,][^0-9@]+$",
    "postcode": "^.{3,10}$",
    "street": r"^.*[^\W\d_]{3}.*$",
    "address": r"[^\W\d_]{3}.*[0-9]|[0-9].*[^\W\d_]{3}",
    "birth_year": r"^[0-9]{4}(?:\.0)?$",
    "municipality": r"^[0-9]{5}$|^[^0-9]+$",
}
_FORMATS: Final = (
    *("%Y-%m-%d", "%Y%m%d", "%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y"),
    *("%m/%d/%Y", "%m-%d-%Y", "%Y/%m/%d", "%d%m%Y"),
)
_SAMPLE: Final = 5_000
_WHOLE: Final = 1_000_000
_CONFIRMED, _CERTAIN, _SHARED, _TELLING = 0.6, 0.8, 0.3, 20
_WITHIN: Final = {
    "full_name": ("first_name", "last_name"),
    "address": ("street", "house_number"),
    "birth_year": ("birth_date",),
}
"""Types that say nothing new where all of these are known, and make one of these say nothing."""


@dataclass(eq=False)
class _Column:
    """A column with what is found out about it; `type` is None while nothing is known."""

    name: str
    values: Any
    type: str | None = None
    _standard: dict[tuple[str, int], Any] = field(default_factory=dict)

    @property
    def plain_name(self) -> str:
        """In one word of capitals and digits: no accents, no mark of the side."""
        return "".join([*_words(self.name), *re.findall("[0-9]+", self.name)])

    def standard(self, type_: str, rows: int) -> Any:
        """The distinct standard values of at most so many rows, evenly spread."""
        if (type_, rows) not in self._standard:
            columns = standard_columns(type_, _spread(self.values, rows))
            part = columns["last_name" if type_ == "full_name" else next(iter(columns))]
            self._standard[type_, rows] = part.dictionary.drop_null()
        return self._standard[type_, rows]

    def sample(self) -> Any:
        """Texts of rows that say something, evenly spread."""
        said = texts(whole(_spread(self.values, _SAMPLE)))
        return said.filter(pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(said), ""), False))

    def confirms(self, type_: str) -> float:
        """The share of values that can be of this type."""
        said = self.sample()
        if not len(said):
            return 0.0
        columns = standard_columns(type_, said)
        good = pc.is_valid(columns["last_name" if type_ == "full_name" else next(iter(columns))])
        if type_ == "address":
            good = pc.and_(good, pc.is_valid(columns["house_number"]))
        if type_ in _SHAPES:
            trimmed = pc.utf8_trim_whitespace(said)
            good = pc.and_(good, pc.match_substring_regex(trimmed, _SHAPES[type_]))
        return float(pc.mean(good.cast(pa.float64())).as_py())


def suggest(a: Any, b: Any | None) -> dict[str, Any]:
    """A plan for two tables, or for one (`b` None), as `FilePlan.from_mapping` reads it.

    It says unit, id and fields; blocking, assignment and thresholds are left to the engine. Raises
    LinkageError when a table is empty or has no column that names each row, or when nothing can be
    compared.
    """
    sides = [_columns(table) for table in (a, b) if table is not None]
    ids = [
        _id(table, columns, place)
        for table, columns, place in zip((a, b), sides, ("first", "second"), strict=False)
    ]
    rest = [
        [column for column in columns if column is not its_id]
        for columns, its_id in zip(sides, ids, strict=True)
    ]
    for columns in rest:
        _typed(columns)
    pairs = _paired(*rest) if b is not None else [(c.type, c, c) for c in rest[0] if c.type]
    fields = _without_repetition([*pairs, *_others(rest, pairs)])
    if not fields:
        raise LinkageError(
            "no column could be told to mean the same on both sides; write the plan's fields "
            "yourself"
        )
    names = ("a", "b")[: len(sides)]
    return {
        "unit": _unit({type_ for type_, *_ in fields}),
        "id": {side: column.name for side, column in zip(names, ids, strict=True)},
        "fields": [
            {"type": type_, **dict(zip(names, (one.name, other.name), strict=False))}
            | _format(type_, (one, other))
            for type_, one, other in fields
        ],
    }


def _columns(table: Any) -> list[_Column]:
    return [
        _Column(name, table[name])
        for name in table.column_names
        if table[name].null_count < table.num_rows and single_values(table[name].type)
    ]


def _spread(values: Any, rows: int) -> Any:
    if len(values) <= rows:
        return values
    return values.take(pa.array(np.linspace(0, len(values) - 1, rows).astype(np.int64)))


def _words(name: str) -> list[str]:
    """The words of a column's name: `dateOfBirth_2` gives DATE OF BIRTH."""
    apart = re.sub(r"(?<=[a-zà-ÿ])(?=[A-Z])", " ", name)
    words = re.findall(r"[A-Z]+", fold(apart))
    return [word for word in words if word not in _SIDES] or words


def _hint(column: _Column) -> str | None:
    """What the name says, as a whole or in its longest part that says anything."""
    words = _words(column.name)
    glued = "".join(words)
    if glued in _TYPE_OF:
        return _TYPE_OF[glued]
    if _OF_OTHERS.search(glued):
        return None
    parts = {
        "".join(words[start:end])
        for start in range(len(words))
        for end in range(start + 1, len(words) + 1)
    }
    found = [part for part in parts if part in _TYPE_OF and _TYPE_OF[part] != "id"]
    found += [name for name in _TYPE_OF if len(name) > 5 and name in glued]
    return _TYPE_OF[max(found, key=lambda name: (len(name), name))] if found else None


def _id(table: Any, columns: Sequence[_Column], place: str) -> _Column:
    """The column with a value of its own in each row: one called so, else the first one."""
    rows = table.num_rows
    if not rows:
        raise LinkageError(f"the {place} file has no rows; a plan is made from what they hold")
    unique = [
        column
        for column in columns
        if not column.values.null_count and _distinct(_spread(column.values, _SAMPLE))
    ]
    unique = [column for column in unique if rows <= _SAMPLE or _distinct(column.values)]
    if not unique:
        raise LinkageError(
            f"no column of the {place} file has a value of its own in each row; add a column with "
            "the number of the row"
        )
    called = [c for c in unique if _hint(c) == "id" or _words(c.name)[-1:] == ["ID"]]
    unnamed = [c for c in unique if _hint(c) is None]
    return [*called, *unnamed, *unique][0]


def _distinct(values: Any) -> bool:
    return len(values.unique()) == len(values)


def _typed(columns: Sequence[_Column]) -> None:
    """Give each column of a file its type where name and contents agree, or contents alone tell."""
    hints = {id(column): _hint(column) for column in columns}
    for column in columns:
        for type_ in _readings(hints[id(column)], set(hints.values())):
            if column.confirms(type_) >= _CONFIRMED:
                column.type = type_
                break
        else:
            column.type = next((t for t in _SURE if column.confirms(t) >= _CERTAIN), None)


def _readings(hint: str | None, beside: set[str | None]) -> tuple[str, ...]:
    """What a hint may mean, the likeliest first, given the hints of the columns beside it."""
    if hint == "name":
        if "first_name" in beside:
            return ("last_name",)
        if beside & {"company_name", "enterprise_number"}:
            return ("company_name",)
        return ("full_name", "last_name")
    if hint in ("address", "street"):
        return ("street", "address") if "house_number" in beside else ("address", "street")
    return () if hint in (None, "id") else (str(hint),)


def _overlap(type_: str, one: _Column, other: _Column) -> float:
    """The share of one column's values that the other one has, or the other way round."""
    shares = [0.0]
    for some, all_ in ((one, other), (other, one)):
        few, many = some.standard(type_, _SAMPLE), all_.standard(type_, _WHOLE)
        if len(few):
            shares.append(pc.mean(pc.is_in(few, many).cast(pa.float64())).as_py())
    return max(shares)


def _paired(
    left: Sequence[_Column], right: Sequence[_Column]
) -> list[tuple[str, _Column, _Column]]:
    """Columns of one meaning, brought together; of several the ones that have most in common."""
    pairs: list[tuple[str, _Column, _Column]] = []
    types = dict.fromkeys(column.type for column in (*left, *right) if column.type)
    for type_ in types:
        ones = [c for c in left if _may_be(c, type_)]
        others = [c for c in right if _may_be(c, type_)]
        known = [
            (_same(type_, one, other), -place, one, other)
            for place, (one, other) in enumerate((one, other) for one in ones for other in others)
            if one.type == type_ or other.type == type_
        ]
        known = [pair for pair in known if pair[0] > 0]
        if known:
            *_, one, other = max(known, key=lambda pair: pair[:2])
            pairs.append((type_, one, other))
            one.type = other.type = type_
    return _apart(pairs)


def _may_be(column: _Column, type_: str) -> bool:
    """Of the type, or of none yet; a street may also be read as an address."""
    return column.type in (type_, None) or (type_, column.type) == ("address", "street")


def _same(type_: str, one: _Column, other: _Column) -> float:
    """How surely two columns are a pair of this type; 0 for not at all."""
    common = _overlap(type_, one, other)
    if one.type is not None and other.type is not None:
        return 1 + common + (one.plain_name == other.plain_name)
    telling = min(len(c.standard(type_, _SAMPLE)) for c in (one, other)) >= _TELLING
    unknown = one if one.type is None else other
    sure = telling and common >= _SHARED and unknown.confirms(type_) >= _CONFIRMED
    return common if sure else 0.0


def _apart(pairs: Sequence[tuple[str, _Column, _Column]]) -> list[tuple[str, _Column, _Column]]:
    """Without pairs that use a column a second time."""
    used: set[int] = set()
    kept = []
    for type_, one, other in pairs:
        if not used & {id(one), id(other)}:
            kept.append((type_, one, other))
            used |= {id(one), id(other)}
    return kept


def _others(
    sides: Sequence[Sequence[_Column]], pairs: Sequence[tuple[str, _Column, _Column]]
) -> list[tuple[str, _Column, _Column]]:
    """Columns without a known meaning that may still be compared, as code or text."""
    used = {id(column) for _, *both in pairs for column in both}
    free = [[c for c in columns if id(c) not in used] for columns in sides]
    if len(free) == 1:
        return [(_plain_type(c), c, c) for c in free[0] if _says_something(c)]
    found = []
    for one in free[0]:
        common = {other.name: _in_common(one, other) for other in free[1]}
        best = max(free[1], key=lambda other: common[other.name], default=None)
        if best is not None and common[best.name] > 0:
            found.append((_plain_type(one), one, best))
            free[1].remove(best)
    return found


def _in_common(one: _Column, other: _Column) -> float:
    """How surely two unknown columns are a pair: called alike with some values in common, or with
    most of many values in common; 0 for not at all."""
    if not (_says_something(one) and _says_something(other)):
        return 0.0
    common = _overlap("text", one, other)
    if one.plain_name == other.plain_name:
        return 1 + common if common > 0.02 else 0.0
    many = min(len(c.standard("text", _SAMPLE)) for c in (one, other)) >= _TELLING
    return common if many and common >= 0.5 else 0.0


def _says_something(column: _Column) -> bool:
    """More than one value, in a good part of the rows."""
    said = len(column.sample()) / max(1, min(_SAMPLE, len(column.values)))
    return said >= 0.1 and len(column.standard("text", _SAMPLE)) > 1


def _plain_type(column: _Column) -> str:
    """Code for values with digits and without spaces, text for anything else."""
    said = pc.utf8_trim_whitespace(column.sample())
    coded = pc.match_substring_regex(said, r"^\S*[0-9]\S*$")
    return "code" if pc.mean(coded.cast(pa.float64())).as_py() >= _CERTAIN else "text"


def _without_repetition(
    pairs: Sequence[tuple[str, _Column, _Column]],
) -> list[tuple[str, _Column, _Column]]:
    """One field per type, a second one as text; none for what two other fields say, or one."""
    known = {type_ for type_, *_ in pairs}
    whole_ones = {type_ for type_, parts in _WITHIN.items() if known.issuperset(parts)}
    parts = {part for type_ in known - whole_ones for part in _WITHIN.get(type_, ())}
    fields: list[tuple[str, _Column, _Column]] = []
    for type_, one, other in pairs:
        if type_ in whole_ones | parts:
            continue
        taken = type_ in {kind for kind, *_ in fields} and type_ not in ("code", "text")
        fields.append(("text" if taken else type_, one, other))
    return fields


def _unit(types: set[str]) -> str:
    of_enterprises = types & {"company_name", "enterprise_number"}
    of_people = types & {"first_name", "full_name", "birth_date", "national_number", "sex"}
    return "enterprise" if of_enterprises and not of_people else "person"


def _format(type_: str, columns: Iterable[_Column]) -> dict[str, str]:
    """The format of a birth date, where all columns are written in the same one."""
    if type_ != "birth_date":
        return {}
    formats = {_date_format(column) for column in columns}
    only = formats.pop()
    return {} if formats or only is None else {"format": only}


def _date_format(column: _Column) -> str | None:
    """The format in which most of the column are dates; None for dates that aren't texts."""
    if pa.types.is_temporal(column.values.type):
        return None
    said = column.sample()
    read = [len(said) - birth_dates(said, form).null_count for form in _FORMATS]
    best = int(np.argmax(read))
    return _FORMATS[best] if read[best] >= _CERTAIN * len(said) else None
