"""Releases: asked for, recorded when a worker built them, cleared by another, downloaded."""

from typing import Any

from sqlalchemy import select

from api import jobs
from api.operations import ABSENT_THING, Stored, Work, consents, found, held, projects, standing
from api.operations.building import Built, clears
from api.operations.projects import keep_reason, reasons, sealed_permit, signed_by_actor
from api.operations.sealed import sealed_object
from api.problems import Problem
from api.store import Admission, Delivery, Envelope, Job, Release, StoredObject, new_id
from keyvault.errors import PermitChangedError
from policies import access
from policies.access import Thing
from policies.permits import Permit


def _thing(work: Work, row: Release | None) -> Thing:
    """How people stand to a release: applicant and recipients are its members."""
    if row is None:
        return ABSENT_THING
    try:
        sealed = sealed_permit(work, row.permit)
    except PermitChangedError:  # one damaged permit hides its releases from members, and no others
        sealed = None
    members = sealed.members if sealed else ABSENT_THING.members
    return Thing(row.state, members=members, makers=frozenset({row.builder}))


# -- asking ----------------------------------------------------------------------------------------


def request(work: Work, asked: dict[str, Any]) -> Release:
    """Ask for a package under a permit: link what isn't linked yet, then build and test."""
    work.demand("release.build")
    permit = work.vault.permit(work.session.connection(), asked["permit"], "release", now=work.now)
    wanted, period = _wanted(permit, asked), asked["period"]
    _refuse_unknown_columns(permit, asked)
    periods = dict.fromkeys(wanted, period)
    if permit.imported_pseudonyms is not None:
        periods[permit.imported_pseudonyms.dataset] = permit.imported_pseudonyms.period
    consents.demand(work.session, work.vault, permit, periods)
    deliveries = {
        name: standing.counting(work.session, name, when) for name, when in periods.items()
    }
    release = Release(
        id=new_id("release"),
        project=permit.project,
        permit=permit.id,
        state="building",
        request={
            **asked,
            "datasets": wanted,
            "universe": _universe(permit, asked, wanted),
            "deliveries": {name: [row.id for row in rows] for name, rows in deliveries.items()},
        },
        builder=work.actor.person,
        created_at=work.now,
    )
    work.session.add(release)
    work.session.flush()
    work.note(
        "release.requested",
        release=release.id,
        permit=permit.id,
        project=permit.project,
        period=asked["period"],
    )
    _enqueue(work, permit, release, [row for rows in deliveries.values() for row in rows])
    return release


def _enqueue(work: Work, permit: Permit, release: Release, deliveries: list[Delivery]) -> None:
    """One job after the other within a scope: link what isn't linked yet, then build."""
    exclusive = f"scope:{permit.scope}"

    def add(kind: str, queue: str, **more: str) -> None:
        arguments = {"release": release.id, **more}
        jobs.enqueue(work, kind, queue, arguments, exclusive)

    for delivery in deliveries:
        linked = select(Admission).where(
            Admission.scope == permit.scope, Admission.delivery == delivery.id
        )
        if work.session.scalar(linked) is None:
            add("link", "linkage", permit=permit.id, delivery=delivery.id)
    add("build", "release")


def _wanted(permit: Permit, asked: dict[str, Any]) -> list[str]:
    """The datasets of a request: the permit's for this period, or fewer."""
    allowed = [entry.id for entry in permit.datasets if asked["period"] in entry.periods]
    chosen = asked.get("datasets") or allowed
    if not allowed or not set(chosen) <= set(allowed):
        raise Problem(
            "no-permit",
            f"Permit {permit.id} doesn't name these datasets for {asked['period']}.",
            f"For that period it names: {', '.join(allowed) or 'none'}.",
        )
    return [name for name in allowed if name in chosen]


def _universe(permit: Permit, asked: dict[str, Any], wanted: list[str]) -> list[str]:
    """The datasets whose units a release is about: the permit's universe, or part of it."""
    allowed = [name for name in permit.universe.datasets if name in wanted]
    chosen = asked.get("universe") or allowed
    if not chosen or not set(chosen) <= set(allowed):
        raise Problem(
            "no-permit",
            "The universe asked for isn't part of the permit's.",
            f"It can be taken from: {', '.join(allowed) or 'none of the datasets asked for'}.",
        )
    if unknown := set(asked.get("only") or {}) - set(permit.join.keys):
        raise Problem(
            "bad-request",
            f"Units can't be chosen by {', '.join(sorted(unknown))}.",
            f"The keys are {', '.join(permit.join.keys)}.",
        )
    if both := set(asked.get("only") or {}) & set(asked.get("coarser") or {}):
        raise Problem(
            "bad-request",
            f"Units are chosen by {', '.join(sorted(both))}: that tells its value of each of them.",
            "Choose units by other keys, or show this one as the permit says.",
        )
    if unknown := set(asked.get("coarser") or {}) - set(permit.join.keys):
        raise Problem(
            "bad-request",
            f"{', '.join(sorted(unknown))} can't be shown coarser: only keys can.",
            f"The keys are {', '.join(permit.join.keys)}.",
        )
    return [name for name in allowed if name in chosen]


def _refuse_unknown_columns(permit: Permit, asked: dict[str, Any]) -> None:
    """What is left out has to be something that would have been in it, and no key."""
    columns = {
        f"{entry.id}.{variable.as_}"
        for entry in permit.datasets
        for variable in entry.variables
        if variable.as_ not in permit.join.keys
    }
    if unknown := set(asked.get("leave_out") or []) - columns:
        raise Problem(
            "bad-request",
            f"{', '.join(sorted(unknown))} can't be left out: the permit has no such column, or it "
            "is a key.",
            f"It has {', '.join(sorted(columns)) or 'none but keys'}; a key is withheld with "
            "--coarser KEY=withheld.",
        )


# -- what a worker built ---------------------------------------------------------------------------


def record_build(work: Work, identifier: str, built: Built) -> Release:
    """Commit a built package: it waits for a second person now."""
    release: Release = found(work.session.get(Release, identifier))
    release.package = work.recorded(built.package, "package")
    release.profile = work.recorded(built.profile, "profile")
    release.manifest_sha256 = built.manifest_sha256
    release.report = built.report
    imported = built.imported
    release.history = {"releases": built.history, "imported": imported and imported["delivery"]}
    release.state = "built"
    permit = found(sealed_permit(work, release.permit)).permit
    work.note(
        "release.built",
        release=identifier,
        project=release.project,
        permit=release.permit,
        sha256=built.manifest_sha256,
        datasets=release.request["datasets"],
        variables=[
            f"{entry.id}.{variable.name}"
            for entry in permit.datasets
            if entry.id in release.request["datasets"]
            for variable in entry.variables
        ],
        **({"imported_pseudonyms": imported} if imported else {}),
    )
    return release


def refuse(work: Work, identifier: str, problem: Problem) -> None:
    """A release that can't be: its reason is kept, nothing of its data is."""
    release: Release = found(work.session.get(Release, identifier))
    if release.state != "building":
        return
    release.state = "refused"
    release.refusal = {**problem.document(), "staff": problem.staff or {}}
    work.note(
        "release.refused",
        type=problem.type,
        release=identifier,
        project=release.project,
        permit=release.permit,
    )


# -- clearing and downloading ----------------------------------------------------------------------


def clear(
    work: Work, identifier: str, document: dict[str, Any], signature: dict[str, Any]
) -> Release:
    """A second person signs the manifest; the package is then sealed for each recipient."""
    row = work.session.get(Release, identifier)
    work.demand("release.clear", _thing(work, row))
    release: Release = found(row)
    signed_by_actor(work, document, signature)
    if not clears(document, identifier, release.manifest_sha256):
        raise Problem(
            "bad-signature",
            "What was signed is not the clearance of this package.",
            "Read the release again and sign its clearance (`schakel release clear`).",
        )
    permit = work.vault.permit(work.session.connection(), release.permit, "release", now=work.now)
    consents.demand(work.session, work.vault, permit, release.request["deliveries"])
    for name in release.request["deliveries"]:
        standing.named(work.session, release, name)  # none of it was withdrawn since
    earlier = [row.id for row in held.everything(work.session, work.vault, permit)]
    if earlier != found(release.history)["releases"]:
        raise Problem(
            "history-moved-on",
            "Another release of this project, or of one with a recipient of the same organisation, "
            "was cleared after this one was tested.",
            "Withdraw this one and build it again, so that both are tested together.",
        )
    release.state, release.cleared_at = "cleared", work.now
    release.clearance = {"document": document, "signature": signature}
    work.note(
        "release.cleared",
        release=identifier,
        project=release.project,
        permit=release.permit,
        sha256=release.manifest_sha256,
    )
    jobs.enqueue(work, "envelopes", "release", {"release": identifier})
    return release


def record_envelopes(work: Work, identifier: str, made: dict[str, Stored]) -> None:
    """Commit the envelopes: recipients can download from now on."""
    if work.session.scalar(select(Envelope).where(Envelope.release == identifier)) is not None:
        return
    for person, stored in made.items():
        name = work.recorded(stored, "envelope")
        work.session.add(Envelope(release=identifier, person=person, object=name))
    work.note("release.sealed", release=identifier, envelopes=len(made))


def envelopes_failed(work: Work, identifier: str, problem: Problem) -> None:
    """Sealing failed for good: the release stays cleared, and says what stands in the way."""
    release: Release = found(work.session.get(Release, identifier))
    release.refusal = {**problem.document(), "staff": problem.staff or {}}
    work.note("release.unsealed", release=identifier, type=problem.type, permit=release.permit)


def resume(work: Work, permit: str) -> dict[str, Any]:
    """End a permit's suspension, and seal what was cleared under it and has no envelopes yet."""
    resumed = projects.resume(work, permit)
    projects.seal_again(work, permit)
    return resumed


def download(work: Work, identifier: str) -> StoredObject:
    """One's own envelope of a cleared release; the permit is checked at this very moment."""
    row = work.session.get(Release, identifier)
    work.demand("release.download", _thing(work, row))
    release: Release = found(row)
    permit = work.vault.permit(work.session.connection(), release.permit, "download", now=work.now)
    if permit.recipient(work.actor.person) is None:
        raise Problem(
            "not-a-recipient",
            "The permit doesn't name you as a recipient.",
            "The applicant can apply anew with you among the recipients.",
        )
    consents.demand(work.session, work.vault, permit, release.request["deliveries"])
    envelope = work.session.get(Envelope, (identifier, work.actor.person))
    if envelope is None:
        failed = release.refusal is not None
        raise Problem(
            "wrong-state",
            "The envelopes couldn't be sealed." if failed else "The envelopes are being sealed.",
            "Ask the office; it sees why." if failed else "Try again in a moment.",
        )
    work.note(
        "release.downloaded",
        release=identifier,
        project=release.project,
        permit=release.permit,
        datasets=release.request["datasets"],
    )
    return sealed_object(work.session, envelope.object)


def withdraw(work: Work, identifier: str, reason: str) -> Release:
    """Take a release back: nobody downloads it from now on; what was received stays received."""
    row = work.session.get(Release, identifier)
    work.demand("release.withdraw", _thing(work, row))
    release: Release = found(row)
    release.state = "withdrawn"
    work.note("release.withdrawn", release=identifier, project=release.project)
    keep_reason(work, identifier, reason)
    return release


# -- looking ---------------------------------------------------------------------------------------


def release(work: Work, identifier: str) -> dict[str, Any]:
    """One release with its disclosure report."""
    row = work.session.get(Release, identifier)
    work.demand("release.read", _thing(work, row))
    return describe(work, found(row))


def releases(work: Work) -> list[dict[str, Any]]:
    """The releases that the actor may look at, oldest first."""
    rows = work.session.scalars(select(Release).order_by(Release.created_at, Release.id))
    return [
        describe(work, row)
        for row in rows
        if access.refusal(work.actor, "release.read", _thing(work, row)) is None
    ]


def _told(work: Work, row: Release) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Report and refusal as this reader may see them.

    Cells that nobody released are for the office's own people. A project's members see the figures
    of what was cleared, and why a release was refused, without them.
    """
    refusal = dict(row.refusal) if row.refusal else None
    staff = refusal.pop("staff", {}) if refusal else {}
    if _is_staff(work, row):
        return row.report or {}, {**refusal, **staff} if refusal else None
    report = dict(row.report or {}) if row.cleared_at else {}
    report.pop("before", None)
    return report, refusal


def _is_staff(work: Work, row: Release) -> bool:
    """Whether the reader reads as one of the office's people, and not as a member."""
    members = _thing(work, row).members
    outside = Thing(row.state, members=members - {work.actor.person})
    member = work.actor.person in members
    return not member and access.refusal(work.actor, "release.read", outside) is None


def describe(work: Work, row: Release) -> dict[str, Any]:
    """A release as its readers see it."""
    report, refusal = _told(work, row)
    sealed = work.session.scalar(select(Envelope).where(Envelope.release == row.id).limit(1))
    working = work.session.scalar(
        select(Job).where(Job.exclusive == f"scope:{row.project}", Job.state == "running").limit(1)
    )
    return {
        "id": row.id,
        "project": row.project,
        "permit": row.permit,
        "period": row.request["period"],
        "state": row.state,
        "sealing": row.state == "cleared" and sealed is None and row.refusal is None,
        "stage": working.stage if working and row.state == "building" else "",
        "share": working.share if working and row.state == "building" else 0.0,
        "builder": row.builder,
        "request": row.request,
        "deliveries": [
            {"delivery": one.id, "dataset": name, "mode": one.mode, "state": one.state}
            for name, chosen in row.request["deliveries"].items()
            for one in (work.session.get_one(Delivery, identifier) for identifier in chosen)
        ],
        "manifest_sha256": row.manifest_sha256,
        "summary": report.get("summary"),
        "report": report,
        "refusal": refusal,
        "clearance": row.clearance,
        "reasons": reasons(work, row.id),
    }
