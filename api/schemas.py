"""What requests may hold. Unknown fields are refused, so that a typo is heard of."""

import math
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from api.problems import Problem

DEEPEST = 40
"""How deep a JSON body may be nested; our own documents need ten."""
LARGEST = 2**53 - 1
"""The largest whole number that every reader of JSON reads alike (RFC 8785 takes no other)."""


class JsonRoute(APIRoute):
    """A route that looks at a JSON body before anything of it is believed or stored."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler, with that look before it."""
        handler = super().get_route_handler()
        takes_json = self.body_field is not None

        async def looking(request: Request) -> Response:
            if takes_json:
                await run_in_threadpool(request.app.state.actor, request)  # strangers hear no more
                try:
                    refuse_unfit(await request.json())
                except (ValueError, RecursionError):  # ValueError: not UTF-8 too, and long numbers
                    raise NO_JSON from None
            return await handler(request)

        return looking


def refuse_unfit(document: Any) -> None:
    """Refuse what can't be signed, stored or read back as it was sent (RFC 7493, I-JSON)."""
    level = [document]
    for _ in range(DEEPEST):
        if not all(_fits(item) for item in level):
            raise NO_JSON
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return
    raise Problem(
        "bad-request",
        f"The body is nested more than {DEEPEST} deep.",
        "See /openapi.json for what this route takes.",
    )


def _inside(item: Any) -> list[Any]:
    match item:
        case dict():
            return [*item, *item.values()]
        case list():
            return item
    return []


def _fits(item: Any) -> bool:
    match item:
        case float():
            return math.isfinite(item)
        case int():
            return abs(item) <= LARGEST
        case str():
            return not any("\ud800" <= letter <= "\udfff" for letter in item)
    return True


NO_JSON = Problem(
    "bad-request",
    "The body is not JSON that every reader reads alike.",
    "Send UTF-8 JSON with finite numbers, whole ones of at most 15 digits, and no lone surrogates.",
)


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


class Ceremony(_Body):
    """What is to be done with a key, with the signatures of two administrators."""

    document: dict[str, Any]
    signatures: list[dict[str, Any]]


class Reason(_Body):
    """Why."""

    reason: Annotated[str, Field(min_length=1, max_length=2000)]


class ReviewDecision(_Body):
    """What is decided on a pair in review, and why."""

    verdict: Literal["same", "never"]
    reason: Annotated[str, Field(min_length=1, max_length=2000)]


class ReleaseRequest(_Body):
    """One package under one permit for one period; narrower than the permit where it says so."""

    permit: str
    period: str
    datasets: list[str] | None = None
    universe: list[str] | None = None
    only: dict[str, list[str]] = Field(default_factory=dict)
    suppress: bool = True
    coarser: dict[str, str] = Field(default_factory=dict)
    """Key → how it is shown instead, coarser than permitted; a refusal says what would pass."""
    leave_out: list[str] = Field(default_factory=list)
    """Columns (`dataset.column`) that the permit allows and this release goes without."""
    formats: list[Literal["parquet", "csv", "dta", "sav"]] = Field(
        default=["parquet", "csv", "dta", "sav"], min_length=1
    )
    language: Literal["en", "nl", "fr", "de"] = "en"
    """Of the labels inside Stata and SPSS files."""


def fields() -> frozenset[str]:
    """The names of all fields that a body may have: words of ours, and no caller's."""
    return frozenset(name for body in _Body.__subclasses__() for name in body.model_fields)
