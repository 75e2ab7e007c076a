"""What exactly was allowed.

A permit is the one machine-readable authorisation. The contract's text, the access checks and the
releases are all derived from it, so that plan, contract and practice cannot differ (row P05). It
is canonical JSON (RFC 8785) signed by the vault; this module knows what such a document may say
and when it allows something, and leaves signatures to the vault.

The researcher's application holds the same `Terms`: what was asked for is what gets approved.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import date, datetime, tzinfo
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

import rfc8785
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from policies import PolicyError

Purpose = Literal["link", "pseudonymise", "release", "download"]
"""What somebody wants to do under a permit."""

State = Literal["in_force", "suspended", "expired"]

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
Text = Annotated[str, Field(min_length=1, max_length=4000)]
AgeRecipient = Annotated[str, Field(pattern=r"^age1[02-9ac-hj-np-z]{58}$")]


UNITS = "units"
"""The table of a release with one row per unit."""
LINK_QUALITY = "link_quality"
"""The column that says how well a row is linked."""
LEAST_K: Mapping[str, int] = {"person": 5, "household": 5, "enterprise": 3}
"""Units that every combination holds at least, whatever a permit says."""
BRUSSELS = ZoneInfo("Europe/Brussels")
"""Where a day begins and ends."""


class PermitFault(PolicyError):  # noqa: N818 - the project's word for what is wrong with a document
    """The document is not a permit or application that can be acted on."""


def _iso(value: Any) -> Any:
    """A calendar day in a signed document is text; YAML readers make dates of it."""
    return value.isoformat() if isinstance(value, date) else value


def _is_day(value: str) -> str:
    if date.fromisoformat(value).isoformat() != value:
        raise ValueError("a day is written as 2026-01-31, so that days compare as texts do")
    return value


def plain(value: Any) -> Any:
    """The same document with YAML's dates and numeric keys as the text that gets signed."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return _iso(value)


Day = Annotated[str, BeforeValidator(_iso), AfterValidator(_is_day)]
_PERIOD = r"^[0-9]{4}(-(Q[1-4]|W[0-9]{2}|[0-9]{2}))?$"
# YAML reads an unquoted period such as 2024 as a number; a period is a name.
Period = Annotated[str, BeforeValidator(str), Field(pattern=_PERIOD)]
Rule = Annotated[list[dict[str, Any]], BeforeValidator(plain), Field(min_length=1)]


def is_period(text: str) -> bool:
    """Whether a text names a reference period: a year, quarter, week or month."""
    return re.fullmatch(_PERIOD, text) is not None


def is_slug(text: object) -> bool:
    """Whether a text can name a project."""
    return isinstance(text, str) and re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", text) is not None


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PermittedVariable(_Document):
    """One variable of a dataset, the rule that coarsens it and the name it leaves under."""

    name: Name
    as_: Name = Field(alias="as")
    rule: Rule

    @model_validator(mode="before")
    @classmethod
    def _named_like_the_source(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "name" in value and "as" not in value:
            return {**value, "as": value["name"]}
        return value


class PermittedDataset(_Document):
    """One dataset: for which reference periods, which variables, whose pseudonyms."""

    id: Slug
    periods: list[Period] = Field(min_length=1)
    variables: list[PermittedVariable]
    references: list[Name] = Field(default_factory=lambda: ["self"], min_length=1)


class Universe(_Document):
    """Whom the release is about: every unit of `reference` in any of these datasets."""

    datasets: list[Slug] = Field(min_length=1)
    reference: Name = "self"


class Join(_Document):
    """The columns of the table of units, in order; each is some variable's `as`."""

    keys: list[Name] = Field(min_length=1)


class Scenario(_Document):
    """What an intruder is taken to know about somebody, and what that must not reveal."""

    known: list[Name] = Field(min_length=1)
    changing: list[Name] = []
    moments: Annotated[int, Field(ge=1, le=12)] = 1
    sensitive: list[Name] = []

    @model_validator(mode="after")
    def _changing_are_known(self) -> "Scenario":
        if not set(self.changing) <= set(self.known):
            raise ValueError("a changing variable has to be among the known ones")
        return self


class Thresholds(_Document):
    """`k`: distinct units that every combination of known values must hold. `suppression`: the
    share of units whose values may be suppressed to get there (0: none, a release is refused)."""

    k: Annotated[int, Field(ge=3, le=1000)] = 5
    suppression: Annotated[float, Field(ge=0, le=0.5)] = 0.0


class ImportedPseudonyms(_Document):
    """Where the pseudonyms stand that a running project has from before: a dataset of the kind
    `pseudonyms`, and the period it was delivered for. Whoever has one keeps it."""

    dataset: Slug
    period: Period


class Recipient(_Document):
    """One named person and the age recipient that releases are encrypted to for them."""

    person: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
    age_recipient: AgeRecipient


class Terms(_Document):
    """What a project asks for and a permit grants, in the same words."""

    project: Slug
    unit_type: Literal["person", "household", "enterprise"] = "person"
    datasets: list[PermittedDataset] = Field(min_length=1)
    universe: Universe
    join: Join
    linkage_keys: list[Name] = Field(min_length=1)
    scenario: Scenario
    thresholds: Thresholds
    recipients: list[Recipient] = Field(min_length=1)
    link_quality: bool = False
    """Whether each row says how well it is linked, in the classes of `links.QUALITY`."""
    imported_pseudonyms: ImportedPseudonyms | None = None
    legal_basis: Text
    valid_from: Day
    valid_until: Day
    retention_until: Day

    @model_validator(mode="after")
    def _consistent(self) -> "Terms":
        named = [dataset.id for dataset in self.datasets]
        if len(set(named)) < len(named):
            raise ValueError("a dataset is named twice; put its variables under one entry")
        if UNITS in named:
            raise ValueError(f"`{UNITS}` is the name of the table of units, and of no dataset")
        if self.thresholds.k < LEAST_K[self.unit_type]:
            raise ValueError(f"k is {LEAST_K[self.unit_type]} at least for a {self.unit_type}")
        if unknown := set(self.universe.datasets) - set(named):
            raise ValueError(f"the universe names datasets not asked for: {sorted(unknown)}")
        for dataset in self.datasets:
            leaves_as = [variable.as_ for variable in dataset.variables]
            if len(set(leaves_as)) < len(leaves_as):
                raise ValueError(f"dataset {dataset.id}: two variables would leave under one name")
            sources = [variable.name for variable in dataset.variables]
            if len(set(sources)) < len(sources):
                raise ValueError(
                    f"dataset {dataset.id}: a variable is asked for twice; two coarse views of one "
                    "value can make a fine one"
                )
            if any(name.endswith("_status") for name in leaves_as):
                raise ValueError(
                    f"dataset {dataset.id}: names that end in _status tell why a value is missing"
                )
            if taken := set(leaves_as) & {"unit", LINK_QUALITY, *dataset.references}:
                raise ValueError(
                    f"dataset {dataset.id}: {sorted(taken)} are names of pseudonym columns or of "
                    "the link's quality; choose another `as`"
                )
        keys_of = {
            dataset.id: {variable.as_ for variable in dataset.variables}
            for dataset in self.datasets
            if dataset.id in self.universe.datasets
        }
        for key in self.join.keys:
            if not any(key in leaves for leaves in keys_of.values()):
                raise ValueError(f"join key {key} comes from no dataset of the universe")
            self._refuse_two_rules(key)
        if set(self.scenario.known) != set(self.join.keys):
            raise ValueError(
                "the scenario's known variables and the keys of the table of units must be the "
                "same: what an intruder may know stands in that table and is tested there"
            )
        if self.imported_pseudonyms and self.imported_pseudonyms.dataset in named:
            raise ValueError(
                "imported pseudonyms stand in the place of computed ones; no variable of theirs "
                "can be asked for"
            )
        if not self.valid_from < self.valid_until <= self.retention_until:
            raise ValueError("valid_from < valid_until ≤ retention_until doesn't hold")
        if len({recipient.person for recipient in self.recipients}) < len(self.recipients):
            raise ValueError("a recipient is named twice")
        return self

    def _refuse_two_rules(self, key: str) -> None:
        """One key, one rule: what a label implies must not depend on the source it came from."""
        asked = [
            (dataset.id, variable.rule)
            for dataset in self.datasets
            for variable in dataset.variables
            if variable.as_ == key
        ]
        if any(rule != asked[0][1] for _, rule in asked):
            raise ValueError(f"key {key} has different rules in different datasets")
        if outside := [name for name, _ in asked if name not in self.universe.datasets]:
            raise ValueError(
                f"key {key} is asked of {outside}, which is outside the universe: keys are taken "
                "from the universe's datasets alone"
            )

    def dataset(self, identifier: str) -> PermittedDataset | None:
        """The entry for one dataset, or None when the permit doesn't name it."""
        return next((entry for entry in self.datasets if entry.id == identifier), None)

    def allows(self, identifier: str, period: str) -> bool:
        """Whether a delivery of a dataset for a period may be linked and read."""
        entry, imported = self.dataset(identifier), self.imported_pseudonyms
        if entry is not None:
            return period in entry.periods
        return imported is not None and (imported.dataset, imported.period) == (identifier, period)

    def periods(self) -> list[str]:
        """Every reference period named for some dataset, in order."""
        return sorted({period for dataset in self.datasets for period in dataset.periods})


class Permit(Terms):
    """The signed outcome of an application; see the module's text."""

    type: Literal["permit"] = "permit"
    version: Literal[1] = 1
    id: Slug
    application: Slug
    scope: Slug
    kind: Literal["pseudonymised"] = "pseudonymised"
    conditions: list[Text] = []
    signatures: dict[str, Any]

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Permit":
        """Read a permit; PermitFault names every place that is wrong."""
        return _read(cls, document)

    def document(self) -> dict[str, Any]:
        """The JSON object that gets signed."""
        return self.model_dump(by_alias=True)

    def recipient(self, person: str) -> Recipient | None:
        """The recipient entry of a person, or None."""
        return next((entry for entry in self.recipients if entry.person == person), None)


class Application(Terms):
    """What a researcher writes: the terms asked for, and why (rows S01, S02, S06)."""

    title: Text
    purpose: Literal["scientific", "statistical", "policy-preparatory"]
    motivation: Text
    necessity: Text

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Application":
        """Read an application; PermitFault names every place that is wrong."""
        return _read(cls, document)

    def document(self) -> dict[str, Any]:
        """The JSON object that advice and approval are about."""
        return self.model_dump(by_alias=True)

    def terms(self) -> dict[str, Any]:
        """The part that a permit takes over word for word."""
        return self.model_dump(by_alias=True, include=set(Terms.model_fields))


_Doc = TypeVar("_Doc", bound=BaseModel)


def _read(cls: type[_Doc], document: Mapping[str, Any]) -> _Doc:
    try:
        return cls.model_validate(document)
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'document'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise PermitFault(f"The {cls.__name__.lower()} can't be used: {places}.") from None


def sha256(document: Mapping[str, Any]) -> str:
    """Hex SHA-256 of a document's canonical JSON (RFC 8785): what signatures name it by."""
    return hashlib.sha256(rfc8785.dumps(plain(document))).hexdigest()


def approval_fault(
    application_sha256: str, advice: Mapping[str, Any], approval: Mapping[str, Any]
) -> str | None:
    """Why these two documents are no favourable decision on that application, or None.

    Row S26: the director approves by signing the advice, so that a changed advice, or advice on
    something else, carries no approval. Signatures themselves are the vault's to verify.
    """
    if advice.get("type") != "advice" or approval.get("type") != "approval":
        return "The advice or the approval is a document of another type."
    if advice.get("application_sha256") != application_sha256:
        return "The advice is about another text of the application."
    if advice.get("opinion") != "favourable":
        return "The advice is not favourable."
    if approval.get("application") != advice.get("application"):
        return "Advice and approval are about two applications."
    if approval.get("advice_sha256") != sha256(advice):
        return "The approval was given to another text of the advice."
    if approval.get("decision") != "approved":
        return "The decision is not an approval."
    if not advice.get("by") or advice.get("by") == approval.get("by"):
        return "Advice and approval must come from two different people."
    return None


def _moment(day: str, zone: tzinfo = BRUSSELS) -> datetime:
    """When a day begins, where the office's clocks are."""
    return datetime.combine(date.fromisoformat(day), datetime.min.time(), zone)


def state(permit: Terms, stored: str, now: datetime) -> State:
    """The permit's state at a moment: what is stored, unless its time is over."""
    if now >= _moment(permit.valid_until):
        return "expired"
    return "suspended" if stored == "suspended" else "in_force"


def refusal(permit: Permit, *, purpose: Purpose, now: datetime, state: str) -> str | None:
    """Why a permit does not allow something now, as one sentence, or None when it does.

    `state` is the stored one; `now` is aware and in UTC. Every purpose needs a permit in force; it
    is named because the day comes when one of them does not.
    """
    if now < _moment(permit.valid_from):
        return f"Permit {permit.id} allows no {purpose} before {permit.valid_from}."
    if now >= _moment(permit.valid_until):
        return f"Permit {permit.id} expired on {permit.valid_until}; ask for an extension."
    if state == "suspended":
        return f"Permit {permit.id} is suspended; the office can tell why and until when."
    if state != "in_force":
        return f"Permit {permit.id} is not in force."
    return None
