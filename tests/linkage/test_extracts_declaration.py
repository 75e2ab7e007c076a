"""Declarations: what is clear is read, what isn't is refused with one sentence that helps."""

import copy
from typing import Any

import pytest
import yaml

from linkage.datasets import DIRECT, Dataset, DatasetFault, date_pattern

DOC = yaml.safe_load(
    """
    id: child-benefit
    title: {nl: Kinderbijslag, en: Child benefit}
    holder: groeipakket
    kind: extract
    shape: unit
    format: {delimiter: ";", encoding: utf-8, decimal: ","}
    missing: ["", "NA"]
    variables:
      - {name: insz, role: identifier, type: national_number, required: true}
      - {name: born, role: quasi-identifier, type: birth_date, format: "%d/%m/%Y"}
      - name: sex
        role: quasi-identifier
        type: sex
        codes: {M: {en: male}, V: {en: female}}
      - {name: school, role: other, type: yes_no}
    references:
      - name: self
        unit_type: person
        columns: {national_number: insz, birth_date: born, sex: sex}
    """
)


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    """The declaration with one thing changed, or taken out when `to` is an ellipsis."""
    doc = copy.deepcopy(DOC)
    at = doc
    for step in path[:-1]:
        at = at[step]
    if to is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = to
    return doc


def test_a_declaration_is_read() -> None:
    dataset = Dataset.from_mapping(DOC)
    assert dataset.title["nl"] == "Kinderbijslag"
    assert dataset.missing == ("", "NA")
    assert dataset.format.decimal == ","
    assert dataset.variable("insz").required
    assert dataset.identifying == ("insz", "born", "sex")
    assert dataset.payload == ("born", "sex", "school")
    with pytest.raises(KeyError):
        dataset.variable("nothing")


def test_what_is_not_said_has_a_default() -> None:
    dataset = Dataset.from_mapping(
        {key: DOC[key] for key in ("id", "holder", "shape", "variables", "references")}
    )
    assert dataset.kind == "extract"
    assert dataset.missing == ("",)
    assert dataset.title == {"en": "child-benefit"}
    assert dataset.variable("school").title == {"en": "school"}
    formats = ["delimiter", "encoding", "decimal", "thousands", "kind"]
    assert vars(dataset.format) == dict.fromkeys(formats)


def test_to_mapping_and_back() -> None:
    dataset = Dataset.from_mapping(DOC)
    assert Dataset.from_mapping(dataset.to_mapping()) == dataset
    assert Dataset.from_mapping(yaml.safe_load(yaml.safe_dump(dataset.to_mapping()))) == dataset


def test_conditions_are_read_and_written() -> None:
    """S05: each source carries machine-readable conditions."""
    assert not Dataset.from_mapping(DOC).conditions.consent
    text = {"nl": "Enkel voor onderzoek."}
    dataset = Dataset.from_mapping({**DOC, "conditions": {"consent": True, "text": text}})
    assert (dataset.conditions.consent, dataset.conditions.text) == (True, text)
    assert Dataset.from_mapping(dataset.to_mapping()) == dataset
    unasked = Dataset.from_mapping({**DOC, "conditions": {"text": text}})
    assert Dataset.from_mapping(unasked.to_mapping()) == unasked
    assert "conditions" not in Dataset.from_mapping({**DOC, "conditions": {}}).to_mapping()


def test_a_reference_is_there_by_its_own_columns() -> None:
    """A mother at the child's address isn't there because the child has an address."""
    name = {"name": "moeder", "role": "identifier", "type": "last_name"}
    columns = {"last_name": "moeder", "birth_date": "born"}
    mother = {"name": "mother", "unit_type": "person", "columns": columns}
    shadow = {"name": "shadow", "unit_type": "person", "columns": {"birth_date": "born"}}
    dataset = Dataset.from_mapping(
        {
            **DOC,
            "variables": [*DOC["variables"], name],
            "references": [*DOC["references"], mother, shadow],
        }
    )
    own = {reference.name: dataset.own_columns(reference) for reference in dataset.references}
    assert own == {"self": ("insz", "sex"), "mother": ("moeder",), "shadow": ("born",)}


FAULTS: dict[str, tuple[Any, str]] = {
    "not a mapping": ([1], "must be a mapping"),
    "key that isn't text": ({**DOC, True: 1}, "put it in quotes"),
    "no id": (changed("id", to=...), "`id`"),
    "id that isn't a slug": (changed("id", to="Child Benefit"), "a-z, 0-9"),
    "no holder": (changed("holder", to=None), "`holder`"),
    "unknown key": (changed("colour", to="red"), "`colour` is not known"),
    "unknown kind": (changed("kind", to="list"), "`kind` must be one of extract"),
    "no shape": (changed("shape", to=...), "`shape` must be one of unit, spells"),
    "no variables": (changed("variables", to=[]), "at least one entry"),
    "variable without name": (changed("variables", 0, "name", to=...), "`name`"),
    "name with a space": (changed("variables", 0, "name", to="in sz"), "starts with a letter"),
    "unknown role": (changed("variables", 3, "role", to="secret"), "`role` must be one of"),
    "unknown type": (changed("variables", 3, "type", to="bool"), "`type` must be one of"),
    "required that isn't yes or no": (
        changed("variables", 3, "required", to="no"),
        "true or false",
    ),
    "unknown key of a variable": (changed("variables", 3, "size", to=1), "`size` is not known"),
    "date format of something else": (
        changed("variables", 3, "format", to="%d"),
        "for dates and old",
    ),
    "weight of another role": (
        changed("variables", 3, to={"name": "w", "role": "sensitive", "type": "weight"}),
        "its role must be other",
    ),
    "date format without year": (changed("variables", 1, "format", to="%d/%m"), "once each"),
    "date format of two digits": (changed("variables", 1, "format", to="%d/%m/%y"), "once each"),
    "codes that aren't text": (
        changed("variables", 2, "codes", to={1: {"en": "male"}}),
        "put it in quotes",
    ),
    "no codes": (changed("variables", 2, "codes", to={}), "lists nothing"),
    "title in another language": (changed("title", to={"es": "x"}), "`es` is not known"),
    "title that isn't text": (changed("title", to={"en": 3}), "isn't text"),
    "title without language": (changed("title", to="Child benefit"), "must be a mapping"),
    "variable twice": (changed("variables", 3, "name", to="born"), "declared twice"),
    "reserved name": (changed("variables", 3, "name", to="row_key"), "can't be called row_key"),
    "name of a reference": (changed("variables", 3, "name", to="self"), "can't be called self"),
    "number in a release": (changed("variables", 0, "role", to="other"), "role must be identifier"),
    "no references": (changed("references", to=...), "must be called self"),
    "references that aren't a list": (changed("references", to={}), "must be a list"),
    "no self": (changed("references", 0, "name", to="mother"), "must be called self"),
    "same reference twice": (changed("references", to=DOC["references"] * 2), "the same name"),
    "reference named in capitals": (changed("references", 0, "name", to="Self"), "a-z, 0-9"),
    "unknown unit": (changed("references", 0, "unit_type", to="cat"), "`unit_type` must be one of"),
    "no columns": (changed("references", 0, "columns", to={}), "which variable holds"),
    "unknown identity field": (
        changed("references", 0, "columns", to={"colour": "sex"}),
        "`colour` is not known",
    ),
    "column that isn't there": (
        changed("references", 0, "columns", to={"sex": "gender"}),
        "gender, which isn't declared",
    ),
    "column of another type": (
        changed("references", 0, "columns", to={"sex": "born"}),
        "born is declared as birth_date",
    ),
    "unknown delimiter": (changed("format", to={"delimiter": "#"}), "`delimiter` must be one of"),
    "unknown encoding": (changed("format", to={"encoding": "ebcdic"}), "`encoding` must be one of"),
    "thousands without decimal": (changed("format", to={"thousands": "."}), "needs a `decimal`"),
    "thousands equal to decimal": (
        changed("format", to={"thousands": ".", "decimal": "."}),
        "another character",
    ),
    "missing that isn't a list": (changed("missing", to="NA"), "`missing` must be a list"),
    "missing that isn't text": (changed("missing", to=[None]), "`missing` must be a list"),
    "conversion of an extract": (
        changed("conversion", to={"from": "insz", "to": "insz"}),
        "kind conversion only",
    ),
    "conditions that aren't named": (changed("conditions", to="consent"), "must be a mapping"),
    "unknown condition": (changed("conditions", to={"ask": True}), "`ask` is not known"),
    "consent that isn't yes or no": (
        changed("conditions", to={"consent": "yes"}),
        "`consent` must be true or false",
    ),
    "conditions in another language": (
        changed("conditions", to={"text": {"es": "x"}}),
        "`text`: `es` is not known",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_one_sentence(case: str) -> None:
    doc, sentence = FAULTS[case]
    with pytest.raises(DatasetFault) as refused:
        Dataset.from_mapping(doc)
    assert sentence in str(refused.value)
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", sorted(DIRECT))
def test_what_names_somebody_is_an_identifier(kind: str) -> None:
    """S07: such a variable can't be declared as anything that a release may hold."""
    doc = changed("variables", 3, to={"name": "it", "role": "sensitive", "type": kind})
    with pytest.raises(DatasetFault, match="must be identifier"):
        Dataset.from_mapping(doc)


CONVERSION = {
    "id": "turned",
    "holder": "ksz",
    "kind": "conversion",
    "variables": [
        {"name": "old", "role": "identifier", "type": "national_number"},
        {"name": "new", "role": "identifier", "type": "national_number"},
        {"name": "since", "role": "other", "type": "date"},
    ],
    "conversion": {"from": "old", "to": "new"},
}


def test_a_conversion_list_has_two_numbers_and_no_references() -> None:
    dataset = Dataset.from_mapping(CONVERSION)
    assert dataset.conversion == ("old", "new")
    assert dataset.identifying == ("old", "new")
    assert Dataset.from_mapping(dataset.to_mapping()) == dataset


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"conversion": None}, "says which variable"),
        ({"conversion": {"from": "old", "to": "old"}}, "says which variable"),
        ({"conversion": {"from": "old", "to": "since"}}, "declared as date"),
        ({"conversion": {"from": "old", "to": "newer"}}, "isn't declared"),
        ({"conversion": {"from": "old", "by": "new"}}, "`by` is not known"),
        ({"references": DOC["references"]}, "has no references"),
    ],
)
def test_a_conversion_list_that_is_not_clear(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DatasetFault, match=sentence):
        Dataset.from_mapping({**CONVERSION, **change})


def test_date_patterns_are_exact() -> None:
    assert date_pattern("%d.%m.%Y") == r"^(?P<day>\d{2})\.(?P<month>\d{2})\.(?P<year>\d{4})$"
    with pytest.raises(ValueError, match="once each"):
        date_pattern("%d/%m/%Y %H")
