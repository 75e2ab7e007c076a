"""Routes: find out who asks, call one operation, render what it gives."""

from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from api import auth, idempotency, jobs, schemas, store
from api.operations import (
    Work,
    administration,
    consents,
    deliveries,
    dummies,
    projects,
    releases,
    review,
)
from api.problems import Problem
from api.service import Service
from api.store import Application, Delivery
from policies.access import Actor
from policies.coarsening import Language

router = APIRouter(route_class=schemas.JsonRoute)

Position = Annotated[int, Query(ge=0, le=2**53)]


def the_service(request: Request) -> Service:
    """The service behind this app."""
    service: Service = request.app.state.service
    return service


def the_actor(request: Request) -> Actor:
    """Who sends this request; without a good token nobody gets further."""
    who: Actor = request.app.state.actor(request)
    return who


OfService = Annotated[Service, Depends(the_service)]
By = Annotated[Actor, Depends(the_actor)]


async def the_change(
    request: Request,
    service: OfService,
    actor: By,
    _key: Annotated[str | None, Header(alias=idempotency.HEADER)] = None,
) -> idempotency.Change:
    """The change that this request asks for: once, however often it is sent with the same key."""
    asked = idempotency.asked_of(request, await request.body())
    return idempotency.Change(service, actor, idempotency.key_of(request), asked)


Once = Annotated[idempotency.Change, Depends(the_change)]
"""For every route that changes something; what has no transaction of its own to give, such as the
rotation of the root, is one that may be done again."""


# -- open to everybody -----------------------------------------------------------------------------


@router.get("/health", tags=["open"], summary="Whether the service answers")
def health(service: OfService) -> dict[str, Any]:
    """Says nothing about what is inside."""
    return {"status": "ok" if store.healthy(service.engine) else "failing"}


@router.get("/keys", tags=["open"], summary="Public keys")
def keys(service: OfService) -> dict[str, Any]:
    """The age recipient for uploads, and the keys that verify tokens, receipts and the ledger."""
    with store.reading(service.engine) as session:
        return {
            "issuer": service.settings.issuer,
            **service.vault.public_keys(session.connection()),
        }


async def the_form(request: Request) -> dict[str, str]:
    """A form's fields; read here so that the route itself can wait for the database in a thread."""
    body = await request.body()
    return dict(parse_qsl(body[:16384].decode("utf-8", "replace")))


@router.post("/token", tags=["open"], summary="An access token for a client assertion")
def token(form: Annotated[dict[str, str], Depends(the_form)], service: OfService) -> dict[str, Any]:
    """RFC 7523 `private_key_jwt`; the token lives ten minutes."""
    now = service.clock.now()
    try:
        with store.writing(service.engine) as session:
            return auth.issue_token(session, service.vault, service.settings, form, now)
    except Problem as problem:
        with store.writing(service.engine) as session:
            auth.count_stranger(session, problem.type, now)
        raise


# -- organisations and people ----------------------------------------------------------------------


@router.post("/organisations", status_code=201, tags=["people"], summary="Add an organisation")
def add_organisation(body: schemas.NewOrganisation, change: Once) -> dict[str, Any]:
    """Administrators only."""

    def do(work: Work) -> dict[str, Any]:
        row = administration.add_organisation(work, body.id, body.name)
        return {"id": row.id, "name": row.name}

    return change(do)


@router.get("/organisations", tags=["people"], summary="The organisations known here")
def list_organisations(service: OfService, actor: By) -> list[dict[str, Any]]:
    """Everybody enrolled may look."""
    with service.look(actor) as work:
        return [{"id": row.id, "name": row.name} for row in administration.organisations(work)]


@router.post("/people", status_code=201, tags=["people"], summary="Enrol a person")
def enrol(body: schemas.Enrolment, change: Once) -> dict[str, Any]:
    """With two administrators' signatures; the vault checks them back to the founders."""
    return change(lambda work: administration.enrol(work, body.document, body.signatures))


@router.get("/people", tags=["people"], summary="Who is enrolled")
def people(service: OfService, actor: By) -> list[dict[str, Any]]:
    """For the office's staff."""
    with service.look(actor) as work:
        return administration.people(work)


@router.get("/people/me", tags=["people"], summary="Who I am here")
def me(actor: By) -> dict[str, Any]:
    """The person behind the token, with organisation and roles."""
    return {
        "person": actor.person,
        "organisation": actor.organisation,
        "roles": sorted(actor.roles),
    }


# -- datasets and deliveries -----------------------------------------------------------------------


@router.post("/datasets", status_code=201, tags=["datasets"], summary="Declare a dataset")
def add_dataset(body: dict[str, Any], change: Once) -> dict[str, Any]:
    """The declaration as JSON; linkage/README.md has its words."""
    return change(lambda work: deliveries.add_dataset(work, body).declaration)


@router.get("/datasets", tags=["datasets"], summary="The catalogue")
def list_datasets(service: OfService, actor: By) -> list[dict[str, Any]]:
    """Declarations, which hold no data."""
    with service.look(actor) as work:
        return [row.declaration for row in deliveries.list_datasets(work)]


@router.get("/datasets/{dataset}", tags=["datasets"], summary="One dataset's declaration")
def show_dataset(dataset: str, service: OfService, actor: By) -> dict[str, Any]:
    """Variables, roles, references, code lists."""
    with service.look(actor) as work:
        return deliveries.dataset(work, dataset).declaration


def _delivery(row: Delivery) -> dict[str, Any]:
    return {
        "id": row.id,
        "dataset": row.dataset,
        "period": row.period,
        "mode": row.mode,
        "generation": row.generation,
        "state": row.state,
        "superseded_by": row.superseded_by,
        "bytes": row.length,
        "offset": row.offset,
        "rows": row.rows,
        "receipt": row.receipt,
        "report": row.report,
    }


@router.get("/deliveries", tags=["deliveries"], summary="Deliveries")
def list_deliveries(service: OfService, actor: By) -> list[dict[str, Any]]:
    """A holder sees its own organisation's, staff see all; nobody sees a row of data."""
    with service.look(actor) as work:
        return [_delivery(row) for row in deliveries.deliveries(work)]


@router.get("/deliveries/{delivery}", tags=["deliveries"], summary="One delivery")
def show_delivery(delivery: str, service: OfService, actor: By) -> dict[str, Any]:
    """State, receipt and fault report (by row, variable and reason, never a value)."""
    with service.look(actor) as work:
        row = deliveries.delivery(work, delivery)
        return {**_delivery(row), "reasons": projects.reasons(work, delivery)}


@router.post("/deliveries/{delivery}/withdraw", tags=["deliveries"], summary="Withdraw a delivery")
def withdraw_delivery(delivery: str, body: schemas.Reason, change: Once) -> dict[str, Any]:
    """Nothing that isn't cleared yet uses it from now on."""

    def do(work: Work) -> dict[str, Any]:
        row = deliveries.withdraw(work, delivery, body.reason)
        return {**_delivery(row), "reasons": projects.reasons(work, delivery)}

    return change(do)


# -- applications and permits ----------------------------------------------------------------------


def _application(work: Work, row: Application) -> dict[str, Any]:
    return {**projects.describe(row), "consents": consents.told(work, row)}


@router.post("/applications", status_code=201, tags=["applications"], summary="Draft a request")
def draft(body: dict[str, Any], change: Once) -> dict[str, Any]:
    """The application's document as JSON."""
    return change(lambda work: _application(work, projects.draft(work, body)))


@router.get("/applications", tags=["applications"], summary="Requests")
def list_applications(service: OfService, actor: By) -> list[dict[str, Any]]:
    """One's own; those who judge see all."""
    with service.look(actor) as work:
        return [_application(work, row) for row in projects.applications_of(work)]


@router.get("/applications/{application}", tags=["applications"], summary="One request")
def show_application(application: str, service: OfService, actor: By) -> dict[str, Any]:
    """Its text, state, advice and decision."""
    with service.look(actor) as work:
        return _application(work, projects.application(work, application))


@router.get(
    "/applications/{application}/dummy",
    tags=["applications"],
    summary="Dummy data with the exact shape of its release",
    response_class=Response,
    responses={200: {"content": {"application/x-tar": {}}}},
)
def dummy(
    application: str,
    service: OfService,
    actor: By,
    units: Annotated[int, Query(ge=dummies.FEWEST, le=dummies.MOST)] = 1000,
    period: str | None = None,
    language: Language = "en",
) -> Response:
    """Made from terms and declarations alone, for whoever handed it in and those who judge."""
    with service.look(actor) as work:
        archive = dummies.dummy(work, application, units, period, language)
    name = f"DUMMY-{application}.tar"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(archive, media_type="application/x-tar", headers=headers)


@router.put("/applications/{application}", tags=["applications"], summary="Rewrite a draft")
def edit(application: str, body: dict[str, Any], change: Once) -> dict[str, Any]:
    """Only while it is a draft."""
    return change(lambda work: _application(work, projects.edit(work, application, body)))


@router.post("/applications/{application}/submit", tags=["applications"], summary="Hand it in")
def submit(application: str, change: Once) -> dict[str, Any]:
    """Checked against catalogue and minimum coarsening first."""
    return change(lambda work: _application(work, projects.submit(work, application)))


@router.post("/applications/{application}/withdraw", tags=["applications"], summary="Withdraw it")
def withdraw(application: str, change: Once) -> dict[str, Any]:
    """Before it has been decided."""
    return change(lambda work: _application(work, projects.withdraw(work, application)))


@router.post("/applications/{application}/advice", tags=["applications"], summary="Advise")
def advise(application: str, body: schemas.Signed, change: Once) -> dict[str, Any]:
    """The data protection officer's signed advice."""
    return change(
        lambda work: _application(
            work, projects.advise(work, application, body.document, body.signature)
        )
    )


@router.post("/applications/{application}/decision", tags=["applications"], summary="Decide")
def decide(application: str, body: schemas.Signed, change: Once) -> dict[str, Any]:
    """The director's signed decision; an approval seals the permit."""
    return change(
        lambda work: _application(
            work, projects.decide(work, application, body.document, body.signature)
        )
    )


@router.get("/consents", tags=["applications"], summary="What holders are asked to consent to")
def list_consents(service: OfService, actor: By) -> list[dict[str, Any]]:
    """A holder sees what is asked of its own datasets, staff see all."""
    with service.look(actor) as work:
        return consents.cases(work)


CONSENT = "/applications/{application}/consents/{dataset}"


@router.get(CONSENT, tags=["applications"], summary="What a holder is asked to consent to")
def show_consent(application: str, dataset: str, service: OfService, actor: By) -> dict[str, Any]:
    """The terms about its own dataset, the recipients' organisations, and what was decided."""
    with service.look(actor) as work:
        return consents.case(work, application, dataset)


@router.post(CONSENT, tags=["applications"], summary="Give, withhold or withdraw consent")
def decide_consent(
    application: str, dataset: str, body: schemas.Signed, change: Once
) -> dict[str, Any]:
    """Signed by a person of the dataset's holder; a later decision takes an earlier one's place."""
    return change(
        lambda work: consents.decide(work, application, dataset, body.document, body.signature)
    )


@router.get("/permits/{permit}", tags=["permits"], summary="A permit as it was sealed")
def show_permit(permit: str, service: OfService, actor: By) -> dict[str, Any]:
    """Document, signature and present state."""
    with service.look(actor) as work:
        return projects.permit(work, permit)


@router.post("/permits/{permit}/suspend", tags=["permits"], summary="Suspend a permit")
def suspend(permit: str, body: schemas.Reason, change: Once) -> dict[str, Any]:
    """Everything under it stops at once."""
    return change(lambda work: projects.suspend(work, permit, body.reason))


@router.post("/permits/{permit}/resume", tags=["permits"], summary="End a suspension")
def resume(permit: str, change: Once) -> dict[str, Any]:
    """The director's."""
    return change(lambda work: releases.resume(work, permit))


# -- review ----------------------------------------------------------------------------------------


@router.get("/review", tags=["review"], summary="Pairs that a human must decide about")
def list_pairs(
    service: OfService,
    actor: By,
    scope: str | None = None,
    state: review.State = "open",
    most: Annotated[int, Query(ge=1, le=10000)] = 100,
) -> list[dict[str, Any]]:
    """Those first that change most; of what the two say, only how it differs is shown."""
    with service.look(actor) as work:
        return review.pairs(work, scope, state, most)


@router.get("/review/{pair}", tags=["review"], summary="One pair")
def show_pair(pair: str, service: OfService, actor: By) -> dict[str, Any]:
    """With everything that was decided on it, by whom and why."""
    with service.look(actor) as work:
        return review.pair(work, pair)


@router.post("/review/{pair}/decision", tags=["review"], summary="Decide about a pair")
def decide_pair(pair: str, body: schemas.ReviewDecision, change: Once) -> dict[str, Any]:
    """The two are the same, or never are; every later linkage and release holds to it."""
    return change(lambda work: review.decide(work, pair, body.verdict, body.reason))


@router.post("/review/{pair}/undo", tags=["review"], summary="Undo a decision about a pair")
def undo_pair(pair: str, body: schemas.Reason, change: Once) -> dict[str, Any]:
    """The pair is in review again, as before."""
    return change(lambda work: review.undo(work, pair, body.reason))


# -- releases --------------------------------------------------------------------------------------


@router.post("/releases", status_code=202, tags=["releases"], summary="Build a release")
def build(body: schemas.ReleaseRequest, change: Once) -> dict[str, Any]:
    """Links what isn't linked yet, then builds and tests the package, in the background."""
    return change(lambda work: releases.describe(work, releases.request(work, body.model_dump())))


@router.get("/releases", tags=["releases"], summary="Releases")
def list_releases(service: OfService, actor: By) -> list[dict[str, Any]]:
    """A project's members see its own, staff see all."""
    with service.look(actor) as work:
        return releases.releases(work)


@router.get("/releases/{release}", tags=["releases"], summary="One release")
def show_release(release: str, service: OfService, actor: By) -> dict[str, Any]:
    """State, disclosure report, and the refusal's reason if it was refused."""
    with service.look(actor) as work:
        return releases.release(work, release)


@router.post("/releases/{release}/clearance", tags=["releases"], summary="Clear a release")
def clear(release: str, body: schemas.Signed, change: Once) -> dict[str, Any]:
    """Signed by a second statistician."""
    return change(
        lambda work: releases.describe(
            work, releases.clear(work, release, body.document, body.signature)
        )
    )


@router.post("/releases/{release}/withdraw", tags=["releases"], summary="Withdraw a release")
def withdraw_release(release: str, body: schemas.Reason, change: Once) -> dict[str, Any]:
    """Nobody can download it from now on."""
    return change(
        lambda work: releases.describe(work, releases.withdraw(work, release, body.reason))
    )


@router.get(
    "/releases/{release}/package",
    tags=["releases"],
    summary="Download",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/age": {}}}},
)
def download(release: str, service: OfService, actor: By) -> Response:
    """The recipient's own age envelope; the permit is checked at this moment."""
    with service.work(actor) as work:
        envelope = releases.download(work, release)
    data = service.objects.get(envelope.name, envelope.sha256)
    return Response(
        data,
        media_type="application/age",
        headers={
            "Content-Disposition": f'attachment; filename="{release}.tar.age"',
            "Cache-Control": "no-store",
        },
    )


# -- keys, ledger, jobs ----------------------------------------------------------------------------


@router.get("/vault/keys", tags=["keys"], summary="Which keys live, and since when")
def list_keys(service: OfService, actor: By) -> list[dict[str, Any]]:
    """Never a key byte."""
    with service.look(actor) as work:
        return administration.keys(work)


@router.post("/vault/root", tags=["keys"], summary="Rotate the root key")
def rotate_root(body: schemas.Ceremony, service: OfService, actor: By) -> dict[str, Any]:
    """While the service runs; no file is rewritten and no pseudonym changes."""
    return {"root_version": service.rotate_root(actor, body.model_dump())}


@router.post("/vault/roles/{role}", tags=["keys"], summary="Rotate a process role's key pair")
def rotate_role(role: str, body: schemas.Ceremony, service: OfService, actor: By) -> dict[str, Any]:
    """One step of it; ask again until the step that was done is `destroyed`."""
    return service.rotate_role(actor, role, body.model_dump())


@router.post("/vault/keys", tags=["keys"], summary="Give a key its next version")
def rotate_key(body: schemas.Ceremony, change: Once) -> dict[str, Any]:
    """One of the service's own keys, or a project's pseudonym key."""
    return change(lambda work: administration.rotate_key(work, body.model_dump()))


@router.post("/vault/keys/destroy", tags=["keys"], summary="Destroy a key that nothing needs")
def destroy_key(body: schemas.Ceremony, change: Once) -> dict[str, Any]:
    """Refused, naming what needs it; what it sealed can't be read by anybody afterwards."""
    return change(lambda work: administration.destroy_key(work, body.model_dump()))


@router.get("/ledger", tags=["ledger"], summary="Ledger entries and the present checkpoint")
def ledger(
    service: OfService,
    actor: By,
    start: Position = 0,
    most: Annotated[int, Query(ge=1, le=10000)] = 1000,
) -> dict[str, Any]:
    """Leaves byte for byte, each with its checkpoint, so that anybody can verify them offline."""
    with service.look(actor) as work:
        return administration.ledger_entries(work, start, most)


@router.get("/ledger/checkpoint", tags=["ledger"], summary="The checkpoint, and that it only grew")
def checkpoint(service: OfService, actor: By, since: Position | None = None) -> dict[str, Any]:
    """With `since`, the size of a checkpoint kept earlier: the RFC 6962 consistency proof."""
    with service.look(actor) as work:
        return administration.checkpoint(work, since)


@router.get("/ledger/inclusion", tags=["ledger"], summary="The proof that an entry is in it")
def inclusion(service: OfService, actor: By, position: Position) -> dict[str, Any]:
    """RFC 6962, in the tree of the present checkpoint. The entry itself for those it concerns."""
    with service.look(actor) as work:
        return administration.inclusion(work, position)


@router.get("/ledger/who", tags=["ledger"], summary="Who touched which variables of a dataset")
def who(
    service: OfService, actor: By, dataset: str, variable: str | None = None
) -> list[dict[str, Any]]:
    """When, and under which permit; for the dataset's holder and the office."""
    with service.look(actor) as work:
        return administration.who(work, dataset, variable)


@router.get("/ledger/what", tags=["ledger"], summary="What a person touched")
def what(service: OfService, actor: By, person: str) -> list[dict[str, Any]]:
    """Every act of theirs, and the variables that it was about."""
    with service.look(actor) as work:
        return administration.what(work, person)


@router.get(
    "/tlog/checkpoint",
    tags=["ledger"],
    summary="The checkpoint as a C2SP signed note",
    response_class=PlainTextResponse,
)
def note(service: OfService, actor: By) -> str:
    """What programs by others ask a log for; below it are the tiles."""
    with service.look(actor) as work:
        return administration.note(work)


@router.get(
    "/tlog/{name:path}",
    tags=["ledger"],
    summary="A tile of the tree, or a bundle of entries (C2SP tlog-tiles)",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def tile(name: str, service: OfService, actor: By) -> Response:
    """Such as tile/0/000 and tile/entries/000.p/5; entries are for those who read the ledger."""
    with service.look(actor) as work:
        data = administration.tile(work, name)
    return Response(data, media_type="application/octet-stream")


@router.get("/ledger/refusals", tags=["ledger"], summary="Refusals of known callers, counted")
def refusals(service: OfService, actor: By) -> list[dict[str, Any]]:
    """By hour, person, route and type."""
    with service.look(actor) as work:
        return administration.refused_requests(work)


@router.get("/ledger/strangers", tags=["ledger"], summary="Refusals of unknown callers, counted")
def strangers(service: OfService, actor: By) -> list[dict[str, Any]]:
    """By day and type."""
    with service.look(actor) as work:
        return administration.strangers(work)


@router.get("/jobs", tags=["jobs"], summary="Jobs")
def list_jobs(service: OfService, actor: By) -> list[dict[str, Any]]:
    """Work in the background, newest first."""
    with service.look(actor) as work:
        return [jobs.describe(row) for row in administration.readable_jobs(work)]


@router.get("/jobs/{job}", tags=["jobs"], summary="One job")
def show_job(job: str, service: OfService, actor: By) -> dict[str, Any]:
    """State, stage, how far it is, and what became of it."""
    with service.look(actor) as work:
        return jobs.describe(administration.job(work, job))
