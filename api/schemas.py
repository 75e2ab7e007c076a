"""What requests may hold. Unknown fields are refused, so that a typo is heard of."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewOrganisation(_Body):
    """An organisation to be made known."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    name: Annotated[str, Field(min_length=1, max_length=400)]


class Signed(_Body):
    """A document and one person's signature on its canonical JSON."""

    document: dict[str, Any]
    signature: dict[str, Any]


class Enrolment(_Body):
    """A person's enrolment with the signatures of two administrators."""

    document: dict[str, Any]
    signatures: list[dict[str, Any]]


class Reason(_Body):
    """Why."""

    reason: Annotated[str, Field(min_length=1, max_length=2000)]


class ReleaseRequest(_Body):
    """One package under one permit for one period; narrower than the permit where it says so."""

    permit: str
    period: str
    datasets: list[str] | None = None
    universe: list[str] | None = None
    only: dict[str, list[str]] = Field(default_factory=dict)
    suppress: bool = True
