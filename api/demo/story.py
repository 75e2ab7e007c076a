"""The main job, told from beginning to end over real HTTP, real encryption and a real database.

Young people neither in work nor in education: six holders deliver, a researcher gets one tested
file; a second project gets the same people under other pseudonyms, a third their employers; a year
passes, the root key is rotated, a second wave lines up with the first; a seventh holder joins. On
the way everything is tried that must be refused.
"""

import base64
import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pandas as pd
import pyarrow as pa
import pysqlite3.dbapi2 as sqlite
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from rich.table import Table

from api import founding, store
from api.client import ServiceRefusal
from api.demo import evaluate, examples
from api.demo.cast import ADMINISTRATORS, ORGANISATIONS, PEOPLE, Cast
from api.demo.evaluate import Package, Search
from api.demo.examples import YEAR, K
from api.demo.extracts import (
    CONVERSIONS,
    NEWCOMER,
    PAYERS,
    ExtractFile,
    declarations,
    extracts,
    names_numbers_addresses,
)
from api.demo.population import PERIODS, Population, population
from api.operations.linkage import admissions
from api.service import Service
from keyvault import ledger as ledgers
from policies import classifications, permits, releases
from policies.classifications import Level

AREAS: tuple[tuple[int, Level], ...] = ((5000, "arrondissement"), (2000, "province"), (0, "region"))
"""How finely places are told apart, by how many young people there are to hide among."""
EMPLOYERS: tuple[tuple[int, list[str]], ...] = (
    (20_000, ["section", "size"]), (0, ["section"]),
)  # fmt: skip
"""The same for their employers: what an intruder is taken to know about an enterprise."""


class Story:
    """The demo's stage: people, service, figures, and a console to tell it on."""

    def __init__(self, persons: int, seed: int, folder: Path, console: Console) -> None:
        self.persons, self.seed, self.folder = persons, seed, folder
        self.area = next(level for enough, level in AREAS if persons >= enough)
        self.employer_keys = next(keys for enough, keys in EMPLOYERS if persons >= enough)
        self.datasets, self.universe = examples.DATASETS, examples.UNIVERSE
        self.console = console
        self.report: dict[str, Any] = {"persons": persons, "seed": seed}
        self.refusals: list[dict[str, Any]] = []
        self.seconds: dict[str, float] = {}
        self.truths: dict[tuple[str, str], ExtractFile] = {}
        self.rows = 0
        self.newest_release = ""
        """The last release that the first project received."""
        self.sources: dict[str, dict[str, int]] = {}
        self.receipts: list[dict[str, Any]] = []

    # -- telling ----------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """A sentence of the story."""
        self.console.print(text, markup=False)

    @contextmanager
    def chapter(self, name: str, title: str) -> Iterator[None]:
        """A stage of the story, timed."""
        self.console.print(f"\n[bold]{title}[/bold]")
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begun, 2)

    def refused(self, tried: str, attempt: Callable[[], Any]) -> dict[str, Any]:
        """Try what must be refused; that it was is written down, that it wasn't ends the demo."""
        try:
            attempt()
        except ServiceRefusal as refusal:
            entry = {"tried": tried, "type": refusal.type, "status": refusal.status}
            self.refusals.append(entry)
            self.say(f"  refused: {tried}  ({refusal.status} {refusal.type})")
            return refusal.problem
        raise RuntimeError(f"this was not refused: {tried}")

    # -- the chapters -----------------------------------------------------------------------------

    def run(self, cast: Cast) -> dict[str, Any]:
        """Play it all with a cast that stops afterwards; the report comes back."""
        with cast:
            self.play(cast)
        return self.finish()

    def play(self, cast: Cast) -> None:
        """Play it all. It begins a year ago; in the end it is today, and the service still runs."""
        begun = time.perf_counter()
        with self.chapter("population", "A population, and what each holder knows of it"):
            people = self._population()
        with self.chapter("founding", "A service is founded, people are enrolled"):
            self._found(cast)
        with self.chapter("first_deliveries", "Six holders deliver 2024"):
            self.declare(cast)
            self._refuse_strangers(cast)
            self.deliver(cast, "2024", (*self.datasets, CONVERSIONS))
        with self.chapter("permit", "A researcher applies, two people decide"):
            first_permit = self._permit(cast)
        with self.chapter("first_release", "The first release"):
            first = self._first_release(cast, first_permit)
        with self.chapter("second_project", "A second project about the same people"):
            other, other_release = self._second_project(cast)
        with self.chapter("employers", "A third project, about their employers"):
            employers = self._employers(cast)
        cast.stop()
        cast.start()
        with self.chapter("year", "A year passes; the second wave comes, the root key changes"):
            self.refused(
                "downloading after the permit expired",
                lambda: self.download(cast, other_release, "researcher-2"),
            )
            self._second_wave(cast)
        with self.chapter("second_release", "The second release"):
            second = self._second_release(cast, people, first, first_permit)
        with self.chapter("third_wave", "A new holder joins the running project"):
            third, last_permit = self._third_wave(cast)
        with self.chapter("evaluation", "What came of it, held against the truth"):
            packages = {"2024": first, "2025": second, "2025 with the seventh": third}
            others = {"other project": other, "employers": employers}
            self._evaluate(cast, people, last_permit, packages, others)
            self._verify_ledger(cast)
        self.report["memory_mb"] = cast.memory()
        self.seconds["total"] = round(time.perf_counter() - begun, 2)

    def _population(self) -> Population:
        people = population(self.persons, self.seed)
        for period in PERIODS:
            for name, file in extracts(people, period).items():
                self.truths[name, period] = file
        self.say(
            f"  {len(people.present(int(PERIODS[0])))} people of 15 to 29, others of nearly that "
            "age, and their parents: "
            f"{len(people.number)} persons in {len(people.homes.street)} homes."
        )
        return people

    def _found(self, cast: Cast) -> None:
        cast.found(days=-YEAR)
        cast.start(days=-YEAR)
        admin = cast[ADMINISTRATORS[0]]
        for identifier, name in ORGANISATIONS.items():
            admin.post("/organisations", {"id": identifier, "name": name})
        self.refused(
            "enrolling a director with one administrator's signature",
            lambda: cast.enrol("director-1", signers=ADMINISTRATORS[:1]),
        )
        self.refused(
            "enrolling a director with one administrator's signature twice",
            lambda: cast.enrol("director-1", signers=(ADMINISTRATORS[0],) * 2),
        )
        for person in PEOPLE:
            cast.enrol(person)
        self.say(
            f"  {len(ORGANISATIONS)} organisations, {len(PEOPLE) + 2} people, "
            "each with keys of their own."
        )

    def declare(self, cast: Cast) -> None:
        for declared in declarations().values():
            if declared.id != NEWCOMER:
                cast[f"holder-{declared.holder}"].post("/datasets", declared.to_mapping())

    def _refuse_strangers(self, cast: Cast) -> None:
        """Nobody gets in without a good token, and nothing readable gets in at all."""
        holder = cast["holder-vdab"]
        server = holder.profile.server

        def with_token(token: str | None) -> Any:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return holder._answer(httpx.get(f"{server}/deliveries", headers=headers))

        good = holder.token()
        payload = jwt.decode(good, options={"verify_signature": False})
        foreign = jwt.encode(
            {**payload}, Ed25519PrivateKey.generate(), "EdDSA",
            headers={"typ": "at+jwt", "kid": jwt.get_unverified_header(good)["kid"]},
        )  # fmt: skip
        self.refused("a request without a token", lambda: with_token(None))
        self.refused("a token with one character changed", lambda: with_token(_altered(good)))
        self.refused("a token signed by somebody else's key", lambda: with_token(foreign))
        with Service.open(cast.settings).engine.connect() as connection:
            vault = Service.open(cast.settings).vault
            past = vault.sign_token(
                connection,
                subject="holder-vdab",
                issuer=cast.settings.issuer,
                audience=cast.settings.issuer,
                lifetime=timedelta(minutes=10),
                now=cast.clock.now() - timedelta(hours=1),
            )
        self.refused("an expired token", lambda: with_token(past))
        plain = self.folder / "plain.csv"
        plain.write_bytes(self.truths["employment-service", "2024"].content)
        location = holder.open_upload(plain, "employment-service", "2024")
        self.refused("a plaintext upload", lambda: holder.send(location, plain))
        self.refused(
            "another holder's upload",
            lambda: cast["holder-rsz"].get(f"/deliveries/{location.rpartition('/')[2]}"),
        )
        plain.unlink()

    def deliver(self, cast: Cast, period: str, names: tuple[str, ...]) -> None:
        table = Table("dataset", "rows", "state", "warnings", "ledger", box=None)
        for name in names:
            file = self.truths[name, period]
            source = self.folder / file.name
            source.write_bytes(file.content)
            delivery = cast[f"holder-{file.dataset.holder}"].upload(source, name, period)
            source.unlink()
            if delivery["state"] != "accepted":
                raise RuntimeError(f"the delivery of {name} was {delivery['state']}")
            self.rows += delivery["rows"]
            self.sources.setdefault(name, {})[period] = delivery["rows"]
            self.receipts.append(delivery["receipt"])
            table.add_row(
                name, str(delivery["rows"]), delivery["state"],
                str(delivery["report"]["warnings"]), str(delivery["receipt"]["ledger_position"]),
            )  # fmt: skip
        self.console.print(table)

    # -- permits ----------------------------------------------------------------------------------

    def application(
        self, cast: Cast, project: str, researcher: str, **changes: Any
    ) -> dict[str, Any]:
        """The request of a project: what it asks for and why."""
        today = cast.clock.now().date()
        recipient = cast.recipient(researcher)
        document = examples.application(
            project, researcher, recipient, today, self.area, self.datasets, self.universe
        )
        return {**document, **changes}

    def apply(self, cast: Cast, researcher: str, document: dict[str, Any]) -> dict[str, Any]:
        row = cast[researcher].post("/applications", document)
        submitted: dict[str, Any] = cast[researcher].post(f"/applications/{row['id']}/submit")
        return submitted

    def advise(self, cast: Cast, row: dict[str, Any], person: str = "dpo-1") -> dict[str, Any]:
        signed = cast.sign(
            person, "advice", application=row["id"],
            application_sha256=permits.sha256(row["document"]),
            opinion="favourable", text="Proportionate, and coarse enough.",
        )  # fmt: skip
        advised: dict[str, Any] = cast[person].post(f"/applications/{row['id']}/advice", signed)
        return advised

    def approve(
        self, cast: Cast, row: dict[str, Any], person: str = "director-1"
    ) -> dict[str, Any]:
        signed = cast.sign(
            person, "approval", application=row["id"],
            advice_sha256=permits.sha256(row["advice"]["document"]),
            decision="approved", reason="The advice is followed.",
        )  # fmt: skip
        approved: dict[str, Any] = cast[person].post(f"/applications/{row['id']}/decision", signed)
        return approved

    def granted(self, cast: Cast, researcher: str, document: dict[str, Any]) -> str:
        row = self.approve(cast, self.advise(cast, self.apply(cast, researcher, document)))
        return str(row["permit"])

    def _permit(self, cast: Cast) -> str:
        document = self.application(cast, "neet", "researcher-1")
        exact = json.loads(json.dumps(document))
        for dataset in exact["datasets"]:
            if dataset["id"] in self.universe:
                dataset["variables"][0]["rule"][0]["age_class"]["breaks"] = list(range(15, 31))
        self.refused(
            "asking for age in single years, finer than the minimum",
            lambda: self.apply(cast, "researcher-1", exact),
        )
        asked = self.apply(cast, "researcher-1", document)
        self.dummy = self._dummy(cast, asked["id"])
        signed_alone = self.advise(cast, asked, "both-1")
        self.refused(
            "advice and approval signed by one person",
            lambda: self.approve(cast, signed_alone, "both-1"),
        )
        cast["researcher-1"].post(f"/applications/{signed_alone['id']}/withdraw")
        permit = self.granted(cast, "researcher-1", document)
        self.say(f"  The vault sealed permit {permit} on the signatures of dpo-1 and director-1.")
        return permit

    def _dummy(self, cast: Cast, application: str) -> Package:
        """What the release will look like, to write programs on while people decide."""
        out = self.folder / "dummy"
        files = cast["researcher-1"].dummy(application, out, units=200, period=PERIODS[0])
        self.say("  The researcher has dummy data to write programs on: invented, about nobody.")
        return Package({str(file.relative_to(out)): file.read_bytes() for file in files})

    # -- releases ---------------------------------------------------------------------------------

    def build(self, cast: Cast, permit: str, period: str, **asked: Any) -> dict[str, Any]:
        builder = cast["statistician-1"]
        row = builder.post("/releases", {"permit": permit, "period": period, **asked})
        return builder.wait_release(row["id"])

    def clear(self, cast: Cast, release: dict[str, Any], person: str = "statistician-2") -> None:
        signed = cast.sign(
            person, "clearance", release=release["id"], manifest_sha256=release["manifest_sha256"]
        )
        cast[person].post(f"/releases/{release['id']}/clearance", signed)
        cast[person].wait_release(release["id"])

    def download(self, cast: Cast, release: str, person: str = "researcher-1") -> Package:
        archive = cast[person].fetch(release, [cast.identities[person]])
        return Package(releases.contents(archive))

    def _show(self, release: dict[str, Any]) -> None:
        summary = release["summary"]
        self.say(
            f"  {summary['units']} units; smallest cell {summary['smallest_cell']} "
            f"(k = {summary['k']}); values of {summary['suppressed_share']:.1%} of them suppressed."
        )

    def _first_release(self, cast: Cast, permit: str) -> Package:
        self.refused(
            "building a release without a permit",
            lambda: self.build(cast, "permit-that-nobody-signed", "2024"),
        )
        with _one_byte_changed(cast.settings.data / "schakel.sqlite", permit):
            self.refused(
                "building under a permit changed by one byte",
                lambda: self.build(cast, permit, "2024"),
            )
        release = self.build(cast, permit, "2024")
        if release["state"] != "built":
            raise RuntimeError(f"the first release was {release['state']}: {release['refusal']}")
        self.refused(
            "clearing one's own release", lambda: self.clear(cast, release, "statistician-1")
        )
        self.refused(
            "downloading a release that nobody cleared",
            lambda: self.download(cast, release["id"]),
        )
        self.clear(cast, release)
        self.refused(
            "downloading as somebody who is no recipient",
            lambda: self.download(cast, release["id"], "researcher-2"),
        )
        self._show(release)
        return self.download(cast, release["id"])

    def _second_project(self, cast: Cast) -> tuple[Package, str]:
        soon = (cast.clock.now().date() + timedelta(days=100)).isoformat()
        document = self.application(
            cast, "school-leavers", "researcher-2", valid_until=soon, retention_until=soon,
            title="School leavers and their first job",
        )  # fmt: skip
        document = examples.in_deciles(document)
        permit = self.granted(cast, "researcher-2", document)
        release = self.build(cast, permit, "2024")
        self.clear(cast, release)
        self._show(release)
        return self.download(cast, release["id"], "researcher-2"), str(release["id"])

    def _employers(self, cast: Cast) -> Package:
        """Enterprises are units as people are: pseudonyms of their own, three alike at least."""
        recipient, today = cast.recipient("researcher-2"), cast.clock.now().date()
        document = examples.enterprises(
            "first-employers", "researcher-2", recipient, today, self.employer_keys
        )
        release = self.build(cast, self.granted(cast, "researcher-2", document), "2024")
        if release["state"] != "built":
            raise RuntimeError(f"the employers' release was refused: {release['refusal']}")
        self.clear(cast, release)
        self._show(release)
        return self.download(cast, release["id"], "researcher-2")

    def _second_wave(self, cast: Cast) -> None:
        half = len(self.datasets) // 2
        self.deliver(cast, "2025", self.datasets[:half])
        rotated = cast[ADMINISTRATORS[0]].post("/vault/root", cast.ceremony("rotate", "root"))
        self.say(f"  The root key is at version {rotated['root_version']} now; nothing stopped.")
        self.deliver(cast, "2025", (*self.datasets[half:], CONVERSIONS))

    def _second_release(
        self, cast: Cast, people: Population, first: Package, permit: str
    ) -> Package:
        self._refuse_small_universe(cast, people, first, permit)
        release = self.build(cast, permit, "2025")
        if release["state"] != "built":
            raise RuntimeError(f"the second release was refused: {release['refusal']}")
        self.clear(cast, release)
        self._show(release)
        return self.download(cast, release["id"])

    def _refuse_small_universe(
        self, cast: Cast, people: Population, first: Package, permit: str
    ) -> None:
        """Ask for small universes until one is refused for what was released before.

        The first guess is nearly always right; but it is made on the truth, and sources err.
        """
        for asked in self._small_universes(people, first):
            narrow = self.build(cast, permit, "2025", **asked)
            problem = narrow["refusal"]
            if narrow["state"] == "refused" and problem["only_together"]:
                kind = problem["type"].rpartition(":")[2]
                tried = "a release that is fine alone and not fine together with the first"
                entry = {"tried": tried, "type": kind, "status": problem["status"]}
                self.refusals.append(entry)
                self.say(
                    f"  refused: a small universe ({asked['only']})\n    {problem['detail']}\n"
                    f"    {problem['next_step']}"
                )
                self._mend(cast, permit, problem)
                return
        raise RuntimeError("no small universe was refused for what was released before")

    def _mend(self, cast: Cast, permit: str, problem: dict[str, Any]) -> None:
        """Do what the refusal proposes, and look at it. The release that follows is of the classes
        that the permit allows, so that the waves compare, at the price of a few values more."""
        change = problem["mend"]
        hidden = change["suppressed"]["units"] > 0
        mended = self.build(
            cast, permit, "2025", coarser=change["coarser"], suppress=hidden, formats=["csv"]
        )
        figures = mended["summary"] or {}
        self.report["cumulative_test"] = {
            "refused": {"detail": problem["detail"], "next_step": problem["next_step"]},
            "mend": problem["mend"],
            "mend_without_suppression": problem["mend_without_suppression"],
            "mended": {
                "state": mended["state"],
                "coarser": change["coarser"],
                **{name: figures.get(name) for name in (
                    "units", "smallest_cell", "smallest_cell_with_earlier_releases",
                    "suppressed_units")},
            },
        }  # fmt: skip
        shown = [f"{key} as {name}" for key, name in change["coarser"].items()]
        self.say(
            f"  mended as proposed ({', '.join(shown) or 'suppression alone'}): {mended['state']}; "
            f"smallest cell {figures.get('smallest_cell')}, with the first release "
            f"{figures.get('smallest_cell_with_earlier_releases')}."
        )
        if mended["state"] == "built":
            reason = {"reason": "Only to see what mends it; one in the permit's classes follows."}
            cast["statistician-1"].post(f"/releases/{mended['id']}/withdraw", reason)

    def _small_universes(self, people: Population, first: Package) -> list[dict[str, Any]]:
        """Requests that are fine alone and not together, likeliest first: the story needs one.

        It counts as the test does, on the truth: people of one age class in one area, k and some
        more of them in 2025; but seen with what was shown of them a year before (another class,
        another area, not there yet), most stand in groups that are too small.
        """
        shown = set(first.table("units")[self.area].to_pylist())
        now, before = (
            self._in_areas(people.statuses(period).to_pandas()).set_index("person")[self.keys]
            for period in reversed(PERIODS)
        )
        both = now.join(before.add_suffix("_before")).fillna("absent")
        alike = both.groupby([*both.columns])[self.area].transform("size")
        cells = (alike < K).groupby([both[key] for key in self.keys]).agg(["size", "sum", "mean"])
        cells = cells[cells["size"] >= K + 3].reset_index()
        fitting = cells[cells[self.area].isin(shown) & (cells["sum"] > 0)]
        return [
            {"only": {key: [str(cell[key])] for key in self.keys}, "suppress": False}
            for cell in fitting.nlargest(5, "mean").to_dict("records")
        ]

    def _third_wave(self, cast: Cast) -> tuple[Package, str]:
        declared = declarations()[NEWCOMER]
        cast[f"holder-{declared.holder}"].post("/datasets", declared.to_mapping())
        self.deliver(cast, "2025", (NEWCOMER,))
        document = self.application(cast, "neet", "researcher-1")
        document["title"] += ", with enrolments in French-speaking schools"
        document["datasets"].append(examples.newcomer())
        permit = self.granted(cast, "researcher-1", document)
        release = self.build(cast, permit, "2025")
        if release["state"] != "built":
            raise RuntimeError(f"the third release was refused: {release['refusal']}")
        self.clear(cast, release)
        self._show(release)
        self.newest_release = str(release["id"])
        return self.download(cast, release["id"]), permit

    # -- judging ----------------------------------------------------------------------------------

    def _evaluate(
        self,
        cast: Cast,
        people: Population,
        permit: str,
        packages: dict[str, Package],
        others: dict[str, Package],
    ) -> None:
        service = Service.open(cast.settings, cast.clock)
        rows = evaluate.who_is_who(service, "neet", permit, self.truths, cast.clock.now())
        links = evaluate.judge_links(rows)
        links["review"] = self._reviews(service)
        first, second = packages["2024"], packages["2025"]
        pseudonyms = evaluate.judge_stability(rows, first, second, PERIODS)
        spoken = first.pseudonyms()
        pseudonyms["shared_between_projects"] = sum(
            len(spoken & other.pseudonyms()) for other in others.values()
        )
        disclosure = {"k": K, **evaluate.judge_disclosure(packages, self.keys)}
        employers = evaluate.judge_disclosure({"2024": others["employers"]}, self.employer_keys)
        everything = {
            f"{wave}/{path}": data
            for wave, package in {**packages, **others}.items()
            for path, data in package.data_files.items()
        }
        texts = names_numbers_addresses(people)
        search = Search(texts)
        self.report |= {
            "links": links,
            "moved_between_payers": evaluate.judge_movers(rows, PAYERS),
            "enterprises": {
                **evaluate.judge_enterprises(rows),
                "disclosure": {"k": examples.K_ENTERPRISES, **employers},
            },
            "pseudonyms": pseudonyms,
            "disclosure": disclosure,
            "attack": self._attacks(rows, people, first, second),
            "dummy_has_the_shape_of_the_release": self.dummy.shape() == first.shape(),
            "identifiers_found_in_release": search.count(everything),
            "planted_found": self._planted(search, texts, first, people),
            "neet_rate": {
                period: evaluate.neet(package, self._rates(people, period), self.keys, period)
                for period, package in (("2024", first), ("2025", second))
            },
        }

    def _attacks(
        self, rows: pd.DataFrame, people: Population, first: Package, second: Package
    ) -> list[dict[str, Any]]:
        """An intruder with the true population tries to name the rows of the second release."""
        truths = [
            self._in_areas(people.statuses(period).to_pandas())[["person", *self.keys]]
            for period in PERIODS
        ]
        return evaluate.judge_attacks(rows, truths, [first, second], self.keys, [self.area])

    @property
    def keys(self) -> list[str]:
        """The columns that an intruder is taken to know."""
        return ["age_class", self.area]

    def _in_areas(self, young: pd.DataFrame) -> pd.DataFrame:
        """The truth by the areas that the permit asks for."""
        codes = pa.array(young["arrondissement"], pa.string())
        areas = classifications.level(codes, "arrondissement", self.area, 2025)
        return young.assign(**{self.area: areas.to_pandas()})

    def _rates(self, people: Population, period: str) -> pd.DataFrame:
        young = self._in_areas(people.statuses(period).to_pandas())
        return evaluate.true_rates(young, self.keys)

    def _reviews(self, service: Service) -> int:
        with store.reading(service.engine) as session:
            return sum(admission.quality["review"] for admission in admissions(session, "neet"))

    def _planted(
        self, search: Search, texts: list[str], package: Package, people: Population
    ) -> int:
        """A name, a number and an address, each written into a copy: how many were found."""
        number = next(text for text in texts if text.isdigit() and len(text) == 11)
        name = f"{people.first_name[0]} {people.last_name[0]}"
        address = f"{people.homes.street[0]} {people.homes.house[0]}"
        found = [
            search.count(evaluate.plant(package.data_files, text)) > 0
            for text in (number, name, address)
        ]
        return sum(found)

    def _verify_ledger(self, cast: Cast) -> None:
        pack = founding.ledger_of(cast.settings)
        stored = [
            ledgers.Stored(position, entry["leaf"].encode(), entry["checkpoint"])
            for position, entry in enumerate(pack["entries"])
        ]
        olds = [receipt["checkpoint"] for receipt in self.receipts]
        problems = ledgers.verify(stored, pack["ledger"], checkpoints=olds)
        self.report["ledger"] = {
            "entries": len(stored),
            "receipts_agreeing": len(olds),
            "problems": len(problems),
        }

    def finish(self) -> dict[str, Any]:
        """Write the report, with what the whole cost."""
        both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        used = [resource.getrusage(who).ru_maxrss for who in both]
        self.report |= {
            "refusals": self.refusals,
            "seconds": self.seconds,
            "holders": len({declarations()[name].holder for name in self.sources}),
            "sources": self.sources,
            "rows": self.rows,
            "rows_per_second": round(self.rows / self.seconds["total"], 1),
            "peak_rss_mb": round(max(used) / 1024, 1),
        }
        target = self.folder / "report.json"
        target.write_text(json.dumps(self.report, indent=2, default=str) + "\n", encoding="utf-8")
        return self.report


def _altered(token: str) -> str:
    """A token of which one character of the signature is another one."""
    head, _, signature = token.rpartition(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
    raw[0] ^= 1
    return f"{head}.{base64.urlsafe_b64encode(bytes(raw)).decode().rstrip('=')}"


@contextmanager
def _one_byte_changed(database: Path, permit: str) -> Iterator[None]:
    """What somebody with the database in hands could try: widen a permit unseen by the vault."""
    connection = sqlite.connect(str(database), isolation_level=None, timeout=30)
    try:
        (body,) = connection.execute(
            "SELECT body FROM vault_permit WHERE id = ?", (permit,)
        ).fetchone()
        changed = bytes(body).replace(b'"k":5', b'"k":3', 1)
        connection.execute("UPDATE vault_permit SET body = ? WHERE id = ?", (changed, permit))
        yield
        connection.execute("UPDATE vault_permit SET body = ? WHERE id = ?", (body, permit))
    finally:
        connection.close()
