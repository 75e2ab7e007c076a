"""Building a release: a worker's work, with the release role's key.

It opens payload and links, and never sees a name or a number. What doesn't pass is a `Problem`,
and nothing of it is kept. The transactions in here are short: reading what goes in, and asking the
vault for pseudonyms, which it writes down. Everything is computed outside of them.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyrage
import rfc8785
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.objects import Objects
from api.operations import (
    Progress,
    Stored,
    assembly,
    consents,
    found,
    held,
    imports,
    shape,
    standing,
)
from api.operations.assembly import Rows, Source
from api.operations.imports import Imported
from api.operations.sealed import sealed_object
from api.operations.standing import Counted
from api.problems import Problem
from api.store import Application, Dataset, Release, reading, writing
from keyvault.keyring import RoleKeys, stored_key
from keyvault.sealing import open_bytes, seal_bytes, write_table
from keyvault.vault import Vault
from linkage.datasets import Dataset as Declaration
from policies import (
    PolicyError,
    attack,
    coarsening,
    cumulative,
    evidence,
    joinback,
    mending,
    scanner,
)
from policies import releases as packages
from policies.cumulative import Assessment, Displayed, Suppression
from policies.disclosure import DisclosureError
from policies.mending import Mend
from policies.permits import Permit


@dataclass(frozen=True)
class Built:
    """A package before anything of it is recorded."""

    package: Stored
    profile: Stored
    manifest_sha256: str
    report: dict[str, Any]
    history: list[str]
    imported: dict[str, Any] | None
    """The delivery of old pseudonyms it rests on, and how many subjects have one of them."""


@dataclass(frozen=True)
class _Opened:
    """What goes into a release, opened with the release role's key."""

    release: Release
    permit: Permit
    title: str
    sources: list[Source]
    deliveries: dict[str, list[dict[str, Any]]]
    """What each dataset was put together from: generations, modes and counts."""
    organisations: set[str]
    """Those of the recipients."""
    earlier: list[str]
    history: list[Displayed]
    own: int
    """How many of those are this project's own."""
    last: Displayed | None
    """The last of its own."""
    imported: Imported | None


def build(
    engine: Engine,
    vault: Vault,
    objects: Objects,
    identifier: str,
    now: datetime,
    progress: Progress,
) -> Built | None:
    """Join, coarsen, test and pack one release; None when it isn't being built any more."""
    progress("open", 0.1)
    opened = _open(engine, vault, objects, identifier, now)
    if opened is None:
        return None
    _refuse_too_fine(opened.sources)
    try:
        progress("join, coarsen and test", 0.3)
        opened = replace(opened, sources=[one.fitted(opened.permit) for one in opened.sources])
        opened, tested, register = _tested(opened)
        inside = tested.displayed.table["unit"].combine_chunks()
        opened = replace(
            opened, sources=[source.fitted(opened.permit, inside) for source in opened.sources]
        )
        rows = {
            source.permitted.id: assembly.dataset_rows(source, opened.permit, inside)
            for source in opened.sources
        }
        found_back = _joined_back(opened, tested.displayed, rows)
        progress("pseudonymise", 0.6)
        tables, old = _pseudonymised(engine, vault, opened, tested.displayed, rows, now)
        _refuse_identifiers(tables)
        progress("pack", 0.8)
        report = packages.report(
            unit_type=opened.permit.unit_type,
            scenario=opened.permit.scenario,
            suppression=tested,
            findings={},
            deliveries=opened.deliveries,
            holders=[one.to_doc() for one in found_back],
            **_evidence(opened, tested.displayed, register, rows),
        )
        universe = opened.release.request["universe"]
        report |= shape.figures(opened.sources, opened.permit, universe, tested.displayed, rows)
        files = _packed(opened, tables, report)
    except DisclosureError as fault:
        raise Problem(
            "disclosure", f"{fault}.", "Ask for coarser classes or fewer keys in an amendment."
        ) from None
    except PolicyError as fault:
        raise Problem(
            "unmappable", str(fault), "The holder corrects its extract, or the permit its rule."
        ) from None
    imported = opened.imported
    package, profile = _sealed(engine, vault, objects, identifier, files, tested.displayed)
    return Built(
        package=package,
        profile=profile,
        manifest_sha256=hashlib.sha256(files[packages.MANIFEST]).hexdigest(),
        report={
            "summary": _summary(report, rows) | ({"imported_pseudonyms": old} if imported else {}),
            "disclosure": report,
            "before": tested.before.to_doc(),
        },
        history=opened.earlier,
        imported={"delivery": imported.delivery, "subjects": old} if imported else None,
    )


# -- what goes in ----------------------------------------------------------------------------------


def _open(
    engine: Engine, vault: Vault, objects: Objects, identifier: str, now: datetime
) -> _Opened | None:
    role = vault.role("release")
    with reading(engine) as session:
        release: Release = found(session.get(Release, identifier))
        if release.state != "building":
            return None
        permit = vault.permit(session.connection(), release.permit, "release", now=now)
        consents.demand(session, vault, permit, release.request["deliveries"])
        application: Application = found(session.get(Application, permit.application))
        earlier = held.everything(session, vault, permit)
        imported = _imported(session, objects, role, permit, release)
        imports.refuse_change(held.received(session, permit.project), imported)
        sources = {
            name: _source(session, objects, role, permit, release, name)
            for name in release.request["datasets"]
        }
        history = held.displayed(session, vault, objects, role, permit, earlier)
        ours = [
            shown
            for row, shown in zip(earlier, history, strict=True)
            if row.project == permit.project
        ]
        return _Opened(
            release=release,
            permit=permit,
            title=application.document["title"],
            sources=[source for source, _ in sources.values()],
            deliveries={name: told for name, (_, told) in sources.items()},
            organisations=held.organisations(session, vault, permit),
            earlier=[row.id for row in earlier],
            own=len(ours),
            last=ours[-1] if ours else None,
            history=history,
            imported=imported,
        )


def _source(
    session: Session, objects: Objects, role: RoleKeys, permit: Permit, release: Release, name: str
) -> tuple[Source, list[dict[str, Any]]]:
    """What a dataset brings, and what is told of the deliveries it came in."""
    declared, counted = _counted(session, objects, role, permit, release, name)
    period, permitted = release.request["period"], found(permit.dataset(name))
    without = release.request.get("leave_out", [])
    kept = [one for one in permitted.variables if f"{name}.{one.as_}" not in without]
    permitted = permitted.model_copy(update={"variables": kept})
    return Source.of(declared, permitted, period, counted.payload, counted.links), counted.told


def _imported(
    session: Session, objects: Objects, role: RoleKeys, permit: Permit, release: Release
) -> Imported | None:
    """The pseudonyms that the project has from before, when its permit names them."""
    named = permit.imported_pseudonyms
    if named is None:
        return None
    declared, counted = _counted(session, objects, role, permit, release, named.dataset)
    made_of = "+".join(release.request["deliveries"][named.dataset])
    return imports.read(permit, declared, made_of, counted.payload, counted.links)


def _counted(
    session: Session, objects: Objects, role: RoleKeys, permit: Permit, release: Release, name: str
) -> tuple[Declaration, Counted]:
    """A dataset's declaration, and the rows that count of the deliveries a release is made of."""
    declared = Declaration.from_mapping(found(session.get(Dataset, name)).declaration)
    deliveries = standing.named(session, release, name)
    return declared, standing.opened(session, objects, role, permit.scope, deliveries)


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


# -- the test --------------------------------------------------------------------------------------


def _tested(opened: _Opened) -> tuple[_Opened, Suppression, pa.Table]:
    """What may be shown of the keys, and the figures of the test; a Problem when nothing may. What
    was opened comes back with the rules by which the keys are shown, and beside it the keys of
    everybody in the universe by the same rules, nothing withheld.

    `only` chooses units by a key's value, and so shows that value of each of them: nothing can be
    suppressed then, and whoever's value was withheld before for the same moment isn't chosen.
    """
    release, permit = opened.release, opened.permit
    only, period = release.request["only"], release.request["period"]
    everybody = assembly.key_table(opened.sources, permit, release.request["universe"])
    everybody = units = everybody.rename_columns(["unit", *permit.join.keys])
    for key in only:
        hidden = cumulative.withheld(opened.history, period, key)
        units = units.filter(pc.invert(pc.is_in(units["unit"], value_set=hidden)))
    units = assembly.restrict(units, only)
    if units.num_rows == 0:
        raise Problem(
            "disclosure",
            "No unit is in the universe asked for.",
            "Check the values that units were chosen by.",
        )
    rules = {
        key: rule
        for source in opened.sources
        for key, rule in source.rules.items()
        if key in permit.join.keys
    }
    k, scenario, allowed = permit.thresholds.k, permit.scenario, permit.thresholds.suppression
    coarser = release.request.get("coarser", {})
    try:
        shown, shown_by = mending.shown_as(units, rules, coarser)
    except mending.NoSuchViewError as fault:
        raise Problem("bad-request", str(fault), "Build it again with one of these.") from None
    current = Displayed.under(release.id, period, shown, shown_by, scenario, k)
    limit = allowed if release.request["suppress"] and not only else 0.0
    outcome = cumulative.suppress(opened.history, current, scenario, k, limit)
    if not outcome.allowed:
        reason = outcome.reason()
        if limit < allowed:
            why = "units are chosen by a key's value" if only else "none was asked for"
            reason = f"{outcome.before.reason()} Nothing could be suppressed: {why}."
        whole = Displayed.under(release.id, period, everybody, rules, scenario, k)
        mends = [
            mending.mildest(opened.history, whole, rules, scenario, k, most)
            for most in dict.fromkeys([allowed, 0.0])
        ]
        raise _stands_out(outcome, reason, mends, only)
    register, _ = mending.shown_as(everybody, rules, coarser)
    sources = [one.shown_by(shown_by) for one in opened.sources]
    return replace(opened, sources=sources), outcome, register


def _stands_out(
    outcome: Suppression, reason: str, mends: Sequence[Mend | None], only: Mapping[str, Any]
) -> Problem:
    """A refusal in two versions: cells that nobody released are for the office's eyes alone.
    `mends` are the mildest change, and the mildest without suppression where that is another."""
    mend, plain = mends[0], mends[-1]
    if mend is not None and not mend.suppression.units:
        plain = None
    documents = {
        "mend": mend and {**mend.to_doc(), "everybody": bool(only)},
        "mend_without_suppression": plain and {**plain.to_doc(), "everybody": bool(only)},
    }
    return Problem(
        "disclosure",
        _without_cells(outcome.before),
        _how_to_mend(mend, plain, only),
        {"only_together": outcome.before.fails_only_together, **documents},
        {"detail": reason, "assessment": outcome.before.to_doc()},
    )


def _how_to_mend(mend: Mend | None, plain: Mend | None, only: Mapping[str, Any]) -> str:
    """What to ask for instead, so that it can be typed."""
    if mend is None:
        return (
            "None of the coarser ways to show these keys passes, with as much suppression as the "
            "permit allows: ask for a larger universe, or wait until more units are known."
        )
    first = f"Don't choose units by {' and '.join(only)}, but take them all. " if only else ""
    said = f"{first}{mend.describe()}{_typed(mend)}"
    if plain is not None:
        said += f" {plain.describe('The mildest that suppresses nothing')}{_typed(plain)}"
    return said


def _typed(mend: Mend) -> str:
    """A change as it is asked for at a command line."""
    asked = [f"--coarser '{key}={name}'" for key, name in mend.coarser.items()]
    asked.append("--suppress" if mend.suppression.units else "--no-suppress")
    return f" Build it again with {' '.join(asked)}."


def _without_cells(assessment: Assessment) -> str:
    """Why a release is refused, for those who may not see the cells: nobody released them."""
    together = assessment.failing_together
    return (
        f"{assessment.failing_alone} combinations of known values have fewer than {assessment.k} "
        f"units in this release alone, and {together} together with what its recipients received. "
        "The office sees which, and can tell what would mend it."
    )


def _evidence(
    opened: _Opened, shown: Displayed, register: pa.Table, rows: Mapping[str, Rows]
) -> dict[str, Any]:
    """What the report tells besides the test: see `packages.report`."""
    permit, scenario = opened.permit, opened.permit.scenario
    released = {
        name: pa.table({"unit": part.subjects[permit.universe.reference], **part.columns})
        for name, part in rows.items()
    }
    tries = attack.simulate(
        opened.history, shown, register, scenario.changing, scenario.moments, seed=0
    )
    last, k = opened.last, permit.thresholds.k
    return {
        "own": opened.own + 1,
        "coarser": opened.release.request.get("coarser", {}),
        "attacks": [one.to_doc() for one in tries],
        "changes": [evidence.changes(last, shown, k)] if last is not None else [],
        "diversity": evidence.diversity(shown, released, scenario.sensitive),
    }


def _joined_back(
    opened: _Opened, shown: Displayed, rows: Mapping[str, Rows]
) -> list[joinback.JoinBack]:
    """S39: what each recipient's organisation finds with the datasets that it delivered itself; a
    Problem when that is fewer than k candidates for somebody."""
    permit = opened.permit
    reference, k = permit.universe.reference, permit.thresholds.k
    found_back = []
    for organisation in sorted(opened.organisations):
        own = [source for source in opened.sources if source.declared.holder == organisation]
        if own:
            released = {
                source.permitted.id: pa.table(
                    {
                        "unit": rows[source.permitted.id].subjects[reference],
                        **rows[source.permitted.id].columns,
                    }
                )
                for source in own
            }
            knows = assembly.own_keys(own, opened.sources, permit, shown.table)
            outcome = joinback.join_back(organisation, shown.table, released, knows, k)
            if not outcome.passes:
                raise Problem(
                    "disclosure",
                    outcome.reason(),
                    outcome.next_step(),
                    {"recipient_is_holder": outcome.to_doc()},
                    {"detail": f"{outcome.reason()} {outcome.spelled()}"},
                )
            found_back.append(outcome)
    return found_back


def _refuse_identifiers(tables: Mapping[str, pa.Table]) -> None:
    """S07: nothing that looks like an identifier leaves, whatever a column is called."""
    findings = [
        scanner.told(finding, name)
        for name, table in tables.items()
        for finding in scanner.scan(table)
    ]
    if findings:
        raise Problem(
            "identifiers-found",
            f"Values that look like identifiers were found: {'; '.join(findings)}.",
            "Leave these columns out, or have the holder clean them.",
        )


# -- what comes out --------------------------------------------------------------------------------


def _pseudonymised(
    engine: Engine,
    vault: Vault,
    opened: _Opened,
    shown: Displayed,
    rows: Mapping[str, Rows],
    now: datetime,
) -> tuple[dict[str, pa.Table], int]:
    """The tables as they leave: pseudonyms of this project in place of subjects; and how many
    subjects have one from before."""
    permit, imported = opened.permit, opened.imported
    spoken, old = {}, 0
    with writing(engine) as session:
        for kind, subjects in shape.subjects(opened.sources, permit, shown.table, rows).items():
            names = vault.pseudonyms(
                session.connection(),
                permit.id,
                kind,
                subjects,
                now=now,
                actor=opened.release.builder,
            )
            if imported is not None:
                names, kept = imported.instead(kind, subjects, names)
                old += kept
            spoken[kind] = (subjects, names)
    return shape.tables(opened.sources, permit, shown.table, rows, spoken), old


def _packed(
    opened: _Opened, tables: dict[str, pa.Table], report: dict[str, Any]
) -> dict[str, bytes]:
    request = opened.release.request
    return packages.package(
        permit=opened.permit.id,
        project=opened.permit.project,
        period=request["period"],
        title=dict.fromkeys(coarsening.LANGUAGES, opened.title),
        tables=tables,
        variables=shape.variables(opened.sources, opened.permit, request["universe"]),
        report=report,
        deliveries=opened.deliveries,
        formats=request["formats"],
        language=request["language"],
    )


def _sealed(
    engine: Engine,
    vault: Vault,
    objects: Objects,
    identifier: str,
    files: dict[str, bytes],
    shown: Displayed,
) -> tuple[Stored, Stored]:
    """The package, its manifest signed by the service, and what it showed of whom: both sealed."""
    with reading(engine) as session:
        connection = session.connection()
        manifest = vault.sign_manifest(connection, json.loads(files[packages.MANIFEST]))
        sealer = vault.sealer(connection)
    signed = {**files, packages.SIGNATURE: rfc8785.dumps(manifest["signature"])}
    key, sealed_key = sealer.new_key("release", "package", identifier)
    archive = seal_bytes(packages.archive(signed), key, f"package|{identifier}|1")
    package = Stored(*objects.put(archive, "release"), sealed_key)
    key, sealed_key = sealer.new_key("release", "profile", identifier)
    profile = write_table(shown.to_table(), key, f"profile|{identifier}|1")
    return package, Stored(*objects.put(profile, "release"), sealed_key)


def _summary(report: dict[str, Any], rows: Mapping[str, Rows]) -> dict[str, Any]:
    """What whoever clears a release wants to see first."""
    return {
        "units": report["units"],
        "k": report["k"],
        "smallest_cell": report["this_release"]["smallest_cell"],
        "smallest_cell_with_earlier_releases": report["all_releases"]["smallest_cell"],
        "suppressed_units": report["suppressed"]["units"],
        "suppressed_share": report["suppressed"]["share"],
        "intruder_names_rightly": max(
            one["right"] for one in report["attack"]["tries"] if not one["errors"]
        ),
        "measures_allow_at_most": max(
            report["attack"][part]["prosecutor_max"] for part in ("bounds", "bounds_together")
        ),
        "shown_coarser": report["coarser"],
        "changed_since_the_last_release": [_in_short(one) for one in report["changes"]],
        "rows_outside_the_universe": {name: part.outside for name, part in rows.items()},
        "units_delivered_twice": {name: part.repeated for name, part in rows.items()},
    }


def _in_short(change: Mapping[str, Any]) -> str:
    """What changed since a release, in a line."""

    def told(number: int | None) -> str:
        return "few" if number is None else str(number)

    then, now = change["units"]
    others = [f"{told(number)} with another {key}" for key, number in change["changed"].items()]
    parts = [f"{told(change['joined'])} came", f"{told(change['left'])} went", *others]
    return f"{change['since']}: {then} units then, {now} now; {', '.join(parts)}"


def seal_envelopes(
    engine: Engine,
    vault: Vault,
    objects: Objects,
    identifier: str,
    now: datetime,
    progress: Progress,
) -> dict[str, Stored] | None:
    """Encrypt a cleared package to each recipient that its permit names, one envelope each.

    None when the release isn't cleared, or not any more.
    """
    role = vault.role("release")
    with reading(engine) as session:
        release: Release = found(session.get(Release, identifier))
        if release.state != "cleared":
            return None
        permit = vault.permit(session.connection(), release.permit, "release", now=now)
        consents.demand(session, vault, permit, release.request["deliveries"])
        stored: Any = sealed_object(session, found(release.package))
        key = role.open(stored_key(session.connection(), found(stored.key)))
        archive = open_bytes(
            objects.get(stored.name, stored.sha256), key, f"package|{identifier}|1"
        )
        _refuse_uncleared(session, vault, release, archive)
    envelopes = {}
    for number, recipient in enumerate(permit.recipients):
        progress("seal envelopes", number / len(permit.recipients))
        sealed = io.BytesIO()
        to = pyrage.x25519.Recipient.from_str(recipient.age_recipient)
        pyrage.encrypt_io(io.BytesIO(archive), sealed, [to])
        envelopes[recipient.person] = Stored(*objects.put(sealed.getvalue(), "api"))
    return envelopes


def clears(document: Mapping[str, Any], release: str, manifest_sha256: str | None) -> bool:
    """Whether a document is the clearance of this very package."""
    wanted = {"type": "clearance", "release": release, "manifest_sha256": manifest_sha256}
    return all(document.get(name) == value for name, value in wanted.items())


def _refuse_uncleared(session: Session, vault: Vault, release: Release, archive: bytes) -> None:
    """No package leaves on the word of a row, which whoever captured the API or the database could
    write: what a second statistician signed is held against the package itself."""
    clearance = release.clearance or {"document": {}, "signature": {}}
    document = clearance["document"]
    signer = vault.verify(session.connection(), document, clearance["signature"])
    manifest = hashlib.sha256(packages.manifest_of(archive)).hexdigest()
    another = "statistician" in signer.roles and signer.id != release.builder
    if not another or not clears(document, release.id, manifest):
        raise Problem(
            "bad-signature",
            "The clearance that was signed is not one of this package by a second statistician.",
            "Withdraw the release and build it again; find out who wrote to the database.",
        )
