"""What the ledger answers: who touched a dataset's variables, and what a person touched.

Entries name things by id and say no more of them than happened just then: a release's download
names the release, and which variables that held stands in the entry of its building. So the
entries are gone through twice, once to learn what belongs together.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from keyvault.ledger import Entry

Entries = Callable[[], Iterable[Entry]]
"""Goes through a ledger from its beginning; called twice."""


@dataclass(frozen=True)
class Touch:
    """One act: who did what to which variables, when, under which permit."""

    position: int
    at: str
    actor: str | None
    """None for what the service does by itself."""
    kind: str
    dataset: str | None
    variables: tuple[str, ...] | None
    """None where it was about a delivery as a whole, or about no data at all."""
    permit: str | None
    project: str | None
    about: dict[str, Any]
    """The entry's other ids: delivery, release, period, scope, person …"""


@dataclass
class _Things:
    """What belongs together, as the entries tell."""

    delivered: dict[str, str] = field(default_factory=dict)
    """Delivery → dataset."""
    built: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Release → permit, project, datasets, variables."""
    projects: dict[str, str] = field(default_factory=dict)
    """Permit → project."""

    def learn(self, entry: Entry) -> None:
        facts = entry.facts
        if "delivery" in facts and "dataset" in facts:
            self.delivered[facts["delivery"]] = facts["dataset"]
        if "release" in facts:
            known = self.built.setdefault(facts["release"], {})
            names = ("permit", "project", "datasets", "variables")
            known |= {name: facts[name] for name in names if name in facts}
        if "permit" in facts and "project" in facts:
            self.projects[facts["permit"]] = facts["project"]

    def datasets(self, facts: dict[str, Any]) -> list[str]:
        """The datasets that an entry is about."""
        if "dataset" in facts:
            return [facts["dataset"]]
        if facts.get("delivery") in self.delivered:
            return [self.delivered[facts["delivery"]]]
        held = facts.get("datasets") or self._release(facts).get("datasets") or []
        return [str(name) for name in held]

    def _release(self, facts: dict[str, Any]) -> dict[str, Any]:
        return self.built.get(str(facts.get("release")), {})

    def touch(self, entry: Entry, dataset: str | None) -> Touch:
        facts = entry.facts
        release = self._release(facts)
        permit = facts.get("permit") or release.get("permit")
        told = ("permit", "project", "dataset", "datasets", "variables")
        return Touch(
            entry.position,
            entry.at,
            entry.actor,
            entry.kind,
            dataset,
            _of(dataset, facts.get("variables") or release.get("variables")),
            permit,
            facts.get("project") or release.get("project") or self.projects.get(str(permit)),
            {name: value for name, value in facts.items() if name not in told},
        )


def _of(dataset: str | None, variables: list[str] | None) -> tuple[str, ...] | None:
    """The names of a dataset's variables among `dataset.variable`."""
    if dataset is None or variables is None:
        return None
    start = f"{dataset}."
    return tuple(name[len(start) :] for name in variables if name.startswith(start))


def who(entries: Entries, dataset: str, variable: str | None = None) -> Iterator[Touch]:
    """Everything that was done with a dataset, oldest first.

    With a variable: what was done with that one, and with deliveries as a whole.
    """
    things = _learned(entries)
    for entry in entries():
        if dataset in things.datasets(entry.facts):
            touch = things.touch(entry, dataset)
            if variable is None or touch.variables is None or variable in touch.variables:
                yield touch


def what(entries: Entries, person: str) -> Iterator[Touch]:
    """Everything that a person did, oldest first: for each dataset that it was about."""
    things = _learned(entries)
    for entry in entries():
        if entry.actor == person:
            datasets: list[str | None] = [*things.datasets(entry.facts)]
            yield from (things.touch(entry, dataset) for dataset in datasets or [None])


def _learned(entries: Entries) -> _Things:
    things = _Things()
    for entry in entries():
        things.learn(entry)
    return things
