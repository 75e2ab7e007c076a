"""Releases: asked for, built and tested by a worker, cleared by a second person, downloaded.

The worker's half opens payload and links with the release role's key, and never sees a name or a
number. A release that doesn't pass is refused with the smallest cells; nothing of it is kept.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyrage
import rfc8785
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from api import jobs
from api.objects import Objects
from api.operations import ABSENT_THING, Stored, Work, assembly, found, new_id
from api.operations.assembly import Source
from api.operations.deliveries import Progress, sealed_object
from api.operations.linkage import open_object
from api.operations.projects import sealed_permit
from api.problems import Problem
from api.store import (
    Admission,
    Application,
    Dataset,
    Delivery,
    Envelope,
    Job,
    Release,
    StoredObject,
    reading,
    writing,
)
from keyvault.keyring import RoleKeys, stored_key
from keyvault.sealing import open_bytes, seal_bytes, write_table
from keyvault.vault import Vault
from linkage.datasets import Dataset as Declaration
from policies import PolicyError, access, coarsening, cumulative, permits, scanner
from policies import releases as packages
from policies.access import Thing
from policies.cumulative import Assessment, Displayed, Suppression
from policies.permits import Permit


def _thing(work: Work, row: Release | None) -> Thing:
    """How people stand to a release: applicant and recipients are its members."""
    sealed = sealed_permit(work, row.permit) if row else None
    if row is None or sealed is None:
        return ABSENT_THING
    return Thing(row.state, members=sealed.members, makers=frozenset({row.builder}))


# -- asking ----------------------------------------------------------------------------------------


def request(work: Work, asked: dict[str, Any]) -> Release:
    """Ask for a package under a permit: link what isn't linked yet, then build and test."""
    work.demand("release.build")
    permit = work.vault.permit(work.session.connection(), asked["permit"], "release", now=work.now)
    wanted = _wanted(permit, asked)
    deliveries = [_delivery(work.session, name, asked["period"]) for name in wanted]
    release = Release(
        id=new_id("release"),
        project=permit.project,
        permit=permit.id,
        state="building",
        request={**asked, "datasets": wanted, "universe": _universe(permit, asked, wanted)},
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
    exclusive = f"scope:{permit.scope}"
    for delivery in deliveries:
        if work.session.scalar(
            select(Admission).where(
                Admission.scope == permit.scope, Admission.delivery == delivery.id
            )
        ):
            continue
        jobs.enqueue(
            work.session,
            "link",
            "linkage",
            {"permit": permit.id, "delivery": delivery.id, "release": release.id},
            work.actor,
            work.now,
            exclusive,
        )
    jobs.enqueue(
        work.session,
        "build",
        "release",
        {"release": release.id},
        work.actor,
        work.now,
        exclusive,
    )
    return release


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
    return [name for name in allowed if name in chosen]


def _delivery(session: Session, dataset: str, period: str) -> Delivery:
    delivery = session.scalar(
        select(Delivery).where(
            Delivery.dataset == dataset, Delivery.period == period, Delivery.state == "accepted"
        )
    )
    if delivery is None:
        raise Problem(
            "nothing-delivered",
            f"No accepted delivery of {dataset} for {period} is here.",
            "Ask its holder to upload it, or leave the dataset out.",
        )
    return delivery


# -- building, with the release role's key ---------------------------------------------------------


@dataclass(frozen=True)
class Built:
    """A package before anything of it is recorded."""

    package: Stored
    profile: Stored
    manifest_sha256: str
    report: dict[str, Any]
    history: list[str]


def build(
    engine: Engine,
    vault: Vault,
    objects: Objects,
    identifier: str,
    now: datetime,
    progress: Progress,
) -> Built | None:
    """Join, coarsen, test and pack one release; None when it isn't being built any more."""
    role = vault.role("release")
    with reading(engine) as session:
        release: Release = found(session.get(Release, identifier))
        if release.state != "building":
            return None
        connection = session.connection()
        permit = vault.permit(connection, release.permit, "release", now=now)
        progress("open", 0.1)
        sources = [
            _source(session, objects, role, permit, name, release.request["period"])
            for name in release.request["datasets"]
        ]
        earlier = _received(session, permit.project)
        history = [_displayed(session, objects, role, row) for row in earlier]
        sealer = vault.sealer(connection)
        title = found(session.get(Application, permit.application)).document["title"]
    _refuse_too_fine(sources)
    progress("join, coarsen and test", 0.3)
    try:
        units = assembly.key_table(sources, permit, release.request["universe"])
        units = assembly.restrict(units, release.request["only"])
        tested = _tested(release, permit, sources, units, history)
        inside = tested.displayed.table["unit"].combine_chunks()
        rows = {
            source.permitted.id: assembly.dataset_rows(source, permit, inside) for source in sources
        }
        progress("pseudonymise", 0.6)
        shown = tested.displayed
        tables = _pseudonymised(engine, vault, release, permit, sources, shown, rows, now)
        _refuse_identifiers(tables)
        progress("pack", 0.8)
        report = packages.report(
            unit_type=permit.unit_type, scenario=permit.scenario, suppression=tested, findings={}
        )
        files = _packed(release, permit, sources, tables, report, title)
    except PolicyError as fault:
        raise Problem(
            "unmappable", str(fault), "The holder corrects its extract, or the permit its rule."
        ) from None
    files = _signed(engine, vault, files)
    key, sealed = sealer.new_key("release", "package", identifier)
    archive = seal_bytes(packages.archive(files), key, f"package|{identifier}|1")
    package = Stored(*objects.put(archive), sealed)
    key, sealed = sealer.new_key("release", "profile", identifier)
    profile_table = write_table(tested.displayed.to_table(), key, f"profile|{identifier}|1")
    return Built(
        package=package,
        profile=Stored(*objects.put(profile_table), sealed),
        manifest_sha256=hashlib.sha256(files[packages.MANIFEST]).hexdigest(),
        report={"summary": _summary(report, rows), "disclosure": report,
                "before": tested.before.to_doc()},
        history=[row.id for row in earlier],
    )  # fmt: skip


def _summary(report: dict[str, Any], rows: dict[str, assembly.Rows]) -> dict[str, Any]:
    """What whoever clears a release wants to see first."""
    return {
        "units": report["units"],
        "k": report["k"],
        "smallest_cell": report["this_release"]["smallest_cell"],
        "smallest_cell_with_earlier_releases": report["all_releases"]["smallest_cell"],
        "suppressed_units": report["suppressed"]["units"],
        "suppressed_share": report["suppressed"]["share"],
        "rows_outside_the_universe": {name: part.outside for name, part in rows.items()},
        "units_delivered_twice": {name: part.repeated for name, part in rows.items()},
    }


def _refuse_identifiers(tables: dict[str, pa.Table]) -> None:
    """S07: nothing that looks like an identifier leaves, whatever a column is called."""
    findings = [
        f"{finding.count} × {finding.kind} in {name}.{finding.column}"
        for name, table in tables.items()
        for finding in scanner.scan(table)
    ]
    if findings:
        raise Problem(
            "identifiers-found",
            f"Values that look like identifiers were found: {'; '.join(findings)}.",
            "Leave these columns out, or have the holder clean them.",
        )


def _source(
    session: Session, objects: Objects, role: RoleKeys, permit: Permit, name: str, period: str
) -> Source:
    delivery = _delivery(session, name, period)
    declared = Declaration.from_mapping(found(session.get(Dataset, name)).declaration)
    admission: Admission = found(
        session.scalar(
            select(Admission).where(
                Admission.scope == permit.scope, Admission.delivery == delivery.id
            )
        )
    )
    payload = open_object(
        session, objects, role, found(delivery.payload), f"payload|{delivery.id}|1"
    )
    links = open_object(
        session, objects, role, admission.links, f"links|{permit.scope}|{delivery.id}"
    )
    return Source.of(declared, found(permit.dataset(name)), period, payload, links)


def _refuse_too_fine(sources: Sequence[Source]) -> None:
    """Asked when the permit was applied for; asked again because the minimum may have risen."""
    for source in sources:
        types = {variable.name: variable.type for variable in source.declared.variables}
        for variable in source.permitted.variables:
            too_fine = coarsening.fault_against_minimum(
                types[variable.name], source.rules[variable.as_]
            )
            if too_fine is not None:
                raise Problem(
                    "finer-than-minimum",
                    f"{variable.name} of {source.permitted.id}: {too_fine}",
                    "The project asks for a coarser value in an amendment.",
                )


def _received(session: Session, project: str) -> list[Release]:
    """What a project has received: everything that was ever cleared for it."""
    return list(
        session.scalars(
            select(Release)
            .where(Release.project == project, Release.cleared_at.is_not(None))
            .order_by(Release.cleared_at, Release.id)
        )
    )


def _displayed(session: Session, objects: Objects, role: RoleKeys, release: Release) -> Displayed:
    return Displayed.from_table(
        open_object(session, objects, role, found(release.profile), f"profile|{release.id}|1")
    )


def _tested(
    release: Release,
    permit: Permit,
    sources: list[Source],
    units: pa.Table,
    history: list[Displayed],
) -> Suppression:
    """What may be shown of the keys, and the figures of the test; a Problem when nothing may."""
    if units.num_rows == 0:
        raise Problem(
            "disclosure",
            "No unit is in the universe asked for.",
            "Check the values that units were chosen by.",
        )
    rules = {
        key: rule
        for source in reversed(sources)
        for key, rule in source.rules.items()
        if key in permit.join.keys
    }
    current = Displayed.under(
        release.id,
        release.request["period"],
        units.rename_columns(["unit", *permit.join.keys]),
        rules,
    )
    limit = permit.thresholds.suppression if release.request["suppress"] else 0.0
    outcome = cumulative.suppress(history, current, permit.scenario, permit.thresholds.k, limit)
    if not outcome.allowed:
        raise Problem(
            "disclosure",
            outcome.reason(),
            "Ask for a larger universe or coarser keys, or for suppression where it is allowed.",
            {
                "only_together": outcome.before.fails_only_together,
                "assessment": outcome.before.to_doc(),
                "told_to_members": _without_cells(outcome.before),
            },
        )
    return outcome


def _without_cells(assessment: Assessment) -> str:
    """Why a release is refused, for those who may not see the cells: nobody released them."""
    together = assessment.failing_together
    return (
        f"{assessment.failing_alone} combinations of known values have fewer than {assessment.k} "
        f"units in this release alone, and {together} together with what the project received. "
        "The office sees which, and can tell what would mend it."
    )


def _pseudonymised(
    engine: Engine,
    vault: Vault,
    release: Release,
    permit: Permit,
    sources: list[Source],
    shown: Displayed,
    rows: dict[str, assembly.Rows],
    now: datetime,
) -> dict[str, pa.Table]:
    """The tables as they leave: pseudonyms of this project in place of subjects."""
    named: dict[str, list[Any]] = {permit.unit_type: [shown.table["unit"].combine_chunks()]}
    for source in sources:
        for reference, subjects in rows[source.permitted.id].subjects.items():
            named.setdefault(source.unit_type(reference), []).append(subjects.drop_null())
    spoken: dict[str, tuple[Any, Any]] = {}
    with writing(engine) as session:
        for kind, pieces in named.items():
            subjects = pc.unique(pa.chunked_array(pieces, pa.binary(16)).combine_chunks())
            names = vault.pseudonyms(
                session.connection(), permit.id, kind, subjects, now=now, actor=release.builder
            )
            spoken[kind] = (subjects, names)

    def of(kind: str, subjects: Any) -> Any:
        known, names = spoken[kind]
        return names.take(pc.index_in(subjects, value_set=known))

    tables = {
        "units": shown.table.set_column(
            0, "unit", of(permit.unit_type, shown.table["unit"].combine_chunks())
        )
    }
    reference = permit.universe.reference
    for source in sources:
        part = rows[source.permitted.id]
        columns: dict[str, Any] = {"unit": of(permit.unit_type, part.subjects[reference])}
        for name in source.permitted.references:
            if name != reference:
                pseudonyms = of(source.unit_type(name), part.subjects[name])
                columns |= coarsening.shown(name, pseudonyms)
        tables[source.permitted.id] = pa.table({**columns, **part.columns})
    return tables


def _columns(source: Source, table: str, names: Sequence[str]) -> Iterator[packages.Variable]:
    """The dictionary's entries for a dataset's variables that stand in a table."""
    declared = {variable.name: variable for variable in source.declared.variables}
    for variable in source.permitted.variables:
        if variable.as_ in names:
            origin = declared[variable.name]
            yield packages.Variable(
                table=table,
                name=variable.as_,
                title=origin.title,
                semantic_type=origin.type,
                dataset=source.permitted.id,
                source=variable.name,
                rule=source.rules[variable.as_],
                codes=origin.codes or {},
            )


def _variables(
    sources: Sequence[Source], permit: Permit, universe: Sequence[str]
) -> list[packages.Variable]:
    """What each column of each table is, for the data dictionary."""
    own = packages.Variable("units", "unit", UNIT_TITLE, permit.unit_type)
    entries = {("units", "unit"): own}
    for source in sources:
        name = source.permitted.id
        if name in universe:  # the first dataset of the universe that has a key describes it
            for variable in _columns(source, "units", permit.join.keys):
                entries.setdefault(("units", variable.name), variable)
        entries[name, "unit"] = packages.Variable(name, "unit", UNIT_TITLE, permit.unit_type)
        for reference in source.permitted.references:
            if reference != permit.universe.reference:
                title = {language: f"{text} ({reference})" for language, text in UNIT_TITLE.items()}
                entries[name, reference] = packages.Variable(
                    name, reference, title, source.unit_type(reference)
                )
        others = [name for name in source.rules if name not in permit.join.keys]
        for variable in _columns(source, name, others):
            entries[name, variable.name] = variable
    return list(entries.values())


UNIT_TITLE = {
    "nl": "Pseudoniem, alleen geldig in dit project",
    "fr": "Pseudonyme, valable dans ce projet seulement",
    "de": "Pseudonym, nur in diesem Projekt gültig",
    "en": "Pseudonym, valid in this project only",
}


def _packed(
    release: Release,
    permit: Permit,
    sources: list[Source],
    tables: dict[str, pa.Table],
    report: dict[str, Any],
    title: str,
) -> dict[str, bytes]:
    return packages.package(
        permit=permit.id,
        project=permit.project,
        period=release.request["period"],
        title=dict.fromkeys(coarsening.LANGUAGES, title),
        tables=tables,
        variables=_variables(sources, permit, release.request["universe"]),
        report=report,
    )


def _signed(engine: Engine, vault: Vault, files: dict[str, bytes]) -> dict[str, bytes]:
    """The package with the service's signature over its manifest."""
    with reading(engine) as session:
        sealed = vault.sign_manifest(session.connection(), json.loads(files[packages.MANIFEST]))
    return {**files, packages.SIGNATURE: rfc8785.dumps(sealed["signature"])}


def record_build(work: Work, identifier: str, built: Built) -> Release:
    """Commit a built package: it waits for a second person now."""
    release: Release = found(work.session.get(Release, identifier))
    release.package = work.recorded(built.package, "package")
    release.profile = work.recorded(built.profile, "profile")
    release.manifest_sha256 = built.manifest_sha256
    release.report = built.report
    release.history = {"releases": built.history}
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
    )
    return release


def refuse(work: Work, identifier: str, problem: Problem) -> None:
    """A release that can't be: its reason is kept, nothing of its data is."""
    release: Release = found(work.session.get(Release, identifier))
    if release.state != "building":
        return
    release.state, release.refusal = "refused", problem.document()
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
    signer = work.vault.verify(work.session.connection(), document, signature)
    if signer.id != work.actor.person or document.get("by") != work.actor.person:
        raise Problem(
            "signed-by-another",
            "The signature is somebody else's.",
            "Everybody signs with a key of their own, and sends it in themselves.",
        )
    if (
        document.get("type") != "clearance"
        or document.get("release") != identifier
        or document.get("manifest_sha256") != release.manifest_sha256
    ):
        raise Problem(
            "bad-signature",
            "What was signed is not the clearance of this package.",
            "Read the release again and sign its clearance (`schakel release clear`).",
        )
    work.vault.permit(work.session.connection(), release.permit, "release", now=work.now)
    received = [earlier.id for earlier in _received(work.session, release.project)]
    if received != found(release.history)["releases"]:
        raise Problem(
            "history-moved-on",
            "Another release of this project was cleared after this one was tested.",
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
    jobs.enqueue(
        work.session, "envelopes", "release", {"release": identifier}, work.actor, work.now
    )
    return release


def seal_envelopes(
    engine: Engine,
    vault: Vault,
    objects: Objects,
    identifier: str,
    now: datetime,
    progress: Progress,
) -> dict[str, Stored]:
    """Encrypt a cleared package to each recipient that its permit names, one envelope each."""
    role = vault.role("release")
    with reading(engine) as session:
        release: Release = found(session.get(Release, identifier))
        permit = vault.permit(session.connection(), release.permit, "release", now=now)
        stored: StoredObject = sealed_object(session, found(release.package))
        key = role.open(stored_key(session.connection(), found(stored.key)))
        archive = open_bytes(
            objects.get(stored.name, stored.sha256), key, f"package|{identifier}|1"
        )
    envelopes = {}
    for number, recipient in enumerate(permit.recipients):
        progress("seal envelopes", number / len(permit.recipients))
        sealed = io.BytesIO()
        to = pyrage.x25519.Recipient.from_str(recipient.age_recipient)
        pyrage.encrypt_io(io.BytesIO(archive), sealed, [to])
        envelopes[recipient.person] = Stored(*objects.put(sealed.getvalue()))
    return envelopes


def record_envelopes(work: Work, identifier: str, made: dict[str, Stored]) -> None:
    """Commit the envelopes: recipients can download from now on."""
    if work.session.scalar(select(Envelope).where(Envelope.release == identifier)) is not None:
        return
    for person, stored in made.items():
        name = work.recorded(stored, "envelope")
        work.session.add(Envelope(release=identifier, person=person, object=name))
    work.note("release.sealed", release=identifier, envelopes=len(made))


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
            "The applicant can ask for an amendment that does.",
        )
    envelope = work.session.get(Envelope, (identifier, work.actor.person))
    if envelope is None:
        raise Problem("wrong-state", "The envelopes are being sealed.", "Try again in a moment.")
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
    work.note("release.withdrawn", release=identifier, reason=permits.sha256({"reason": reason}))
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
    """Report and refusal as this reader may see them: cells that aren't released are staff's."""
    report, refusal = row.report or {}, row.refusal
    if not work.actor.roles & access.STAFF:
        report = {name: part for name, part in report.items() if name != "before"}
        if refusal is not None and "told_to_members" in refusal:
            kept = ("type", "title", "status", "next_step", "only_together")
            refusal = {name: refusal[name] for name in kept}
            refusal["detail"] = (row.refusal or {})["told_to_members"]
    return report, refusal


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
        "sealing": row.state == "cleared" and sealed is None,
        "stage": working.stage if working and row.state == "building" else "",
        "share": working.share if working and row.state == "building" else 0.0,
        "builder": row.builder,
        "request": row.request,
        "manifest_sha256": row.manifest_sha256,
        "summary": report.get("summary"),
        "report": report,
        "refusal": refusal,
    }
