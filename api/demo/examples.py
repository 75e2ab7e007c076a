"""Files to try Schakel with: the demo's application, and one dataset with its extract."""

import json
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

from api.demo.extracts import AGENCIES, NEWCOMER, PAYERS, declarations, extracts
from api.demo.population import BREAKS, PERIODS, population

K = 5
K_ENTERPRISES = 3
YEAR = 365
SEED = 2026


UNIVERSE = (*PAYERS, "employment-service", "social-security")
"""The datasets whose units the project is about: everybody who stands in any of them."""
DATASETS = (*PAYERS, "employment-service", "social-security", "education")
"""What the project asks for before the last holder joins."""
EDUCATION = {PAYERS[0]: "in_onderwijs", PAYERS[1]: "studeert", PAYERS[2]: "aux_etudes"}
"""The variable by which each payer tells that a child is in education."""


def application(
    project: str,
    researcher: str,
    recipient: str,
    today: date,
    area: str = "arrondissement",
    datasets: Sequence[str] = DATASETS,
    universe: Sequence[str] = UNIVERSE,
) -> dict[str, Any]:
    """The request of a project that looks for young people neither in work nor in education.

    `area` is the level of geography: `arrondissement`, or `province` for small populations.
    """
    return {
        "project": project,
        "title": "Young people neither in work nor in education",
        "purpose": "scientific",
        "motivation": "Where and at which age young people leave school without finding work.",
        "necessity": "Published tables know schooling or work, never both for the same person.",
        "legal_basis": "Scientific research, Regulation (EU) 2016/679, article 89.",
        "unit_type": "person",
        "datasets": [
            _asked(name, _keys(name, area) if name in universe else []) for name in datasets
        ],
        "universe": {"datasets": [*universe], "reference": "self"},
        "join": {"keys": ["age_class", area]},
        "linkage_keys": LINKAGE_KEYS,
        "scenario": {
            "known": ["age_class", area],
            "changing": [area],
            "moments": 1,
            "sensitive": ["status", "wage", "in_education"],
        },
        # a tenth is what one aims for at 5,000 persons; a little room, for people differ by seed
        "thresholds": {"k": K, "suppression": 0.12},
        **_to_whom(researcher, recipient, today),
    }


def enterprises(
    project: str, researcher: str, recipient: str, today: date, keys: Sequence[str]
) -> dict[str, Any]:
    """The request of a project about employers of the young, which are units of their own.

    `keys` are `section`, and `size` where there are employers enough.
    """
    known = {
        "section": ("activite", {"nace": {"level": "section", "version": 2025}}),
        "size": ("effectif", {"size_class": {"scheme": "eu"}}),
    }
    variables = [{"name": known[key][0], "as": key, "rule": [known[key][1]]} for key in keys]
    return {
        **application(project, researcher, recipient, today),
        "title": "Who employs the young, and at what wages",
        "motivation": "What kinds of enterprises young people find work in.",
        "necessity": "Accounts know wages by enterprise, never by the age of who earns them.",
        "unit_type": "enterprise",
        "datasets": [
            {
                "id": "social-security",
                "periods": list(PERIODS),
                "variables": [*variables, *_WORK],
                "references": ["employer"],
            }
        ],
        "universe": {"datasets": ["social-security"], "reference": "employer"},
        "join": {"keys": [*keys]},
        "scenario": {"known": [*keys], "changing": [], "moments": 1, "sensitive": ["wage"]},
        "thresholds": {"k": K_ENTERPRISES, "suppression": 0.12},
    }


def in_deciles(asked: dict[str, Any]) -> dict[str, Any]:
    """The same request with wages as tenths of those of the release's people."""
    document: dict[str, Any] = json.loads(json.dumps(asked))
    for dataset in document["datasets"]:
        for variable in dataset["variables"]:
            if variable["as"] == "wage":
                variable["as"] = "wage_decile"
                variable["rule"] = [{"percentile": {"groups": 10, "over": "universe"}}]
    sensitive = document["scenario"]["sensitive"]
    document["scenario"]["sensitive"] = [
        "wage_decile" if name == "wage" else name for name in sensitive
    ]
    return document


LINKAGE_KEYS = [
    *("national_number", "enterprise_number", "conversion", "first_name", "last_name"),
    *("birth_date", "sex", "street", "house_number", "postcode"),
]
_WORK = [
    {"name": "trimestre", "as": "quarter", "rule": [{"keep": {}}]},
    {
        "name": "salaire_brut",
        "as": "wage",
        "rule": [{"round": {"to": 500}}, {"top_code": {"at": 15000}}],
    },
]


def _asked(name: str, keys: list[dict[str, Any]]) -> dict[str, Any]:
    """What is asked of one dataset: the keys, and what else leaves, coarsened."""
    references = ["self"]
    keep: list[dict[str, Any]] = [{"keep": {}}]
    if name in EDUCATION:
        others = [{"name": EDUCATION[name], "as": "in_education", "rule": keep}]
        references += ["mother", "father"]
    elif name == "employment-service":
        others = [
            {"name": "begin", "as": "begin", "rule": [{"quarter": {}}]},
            {"name": "categorie", "as": "status", "rule": keep},
        ]
    elif name == "social-security":
        others = _WORK
        references += ["employer"]
    else:
        level, year = (
            ("niveau", "schooljaar") if name == AGENCIES[0] else ("niveau_etudes", "annee_scolaire")
        )
        others = [
            {"name": level, "as": "level", "rule": keep},
            {"name": year, "as": "school_year", "rule": keep},
        ]
    periods = list(PERIODS[-1:] if name == NEWCOMER else PERIODS)
    return {
        "id": name,
        "periods": periods,
        "variables": [*keys, *others],
        "references": references,
    }


def newcomer() -> dict[str, Any]:
    """What is asked of the holder that joins in the third wave."""
    return _asked(NEWCOMER, [])


def _keys(name: str, area: str) -> list[dict[str, Any]]:
    """Age class and area, from a dataset's own date of birth and municipality of the person."""
    days = {period: f"{period}-12-31" for period in PERIODS}
    declared = declarations()[name]
    birth = next(r for r in declared.references if r.name == "self").columns["birth_date"]
    place = next(v.name for v in declared.variables if v.type == "municipality")
    return [
        {
            "name": birth,
            "as": "age_class",
            "rule": [{"age_class": {"reference_date": days, "breaks": list(BREAKS)}}],
        },
        {"name": place, "as": area, "rule": [{"geography": {"level": area, "situation": 2025}}]},
    ]


def _to_whom(researcher: str, recipient: str, today: date) -> dict[str, Any]:
    return {
        "recipients": [{"person": researcher, "age_recipient": recipient}],
        "valid_from": (today - timedelta(days=1)).isoformat(),
        "valid_until": (today + timedelta(days=5 * YEAR)).isoformat(),
        "retention_until": (today + timedelta(days=10 * YEAR)).isoformat(),
    }


def write(folder: Path, persons: int, researcher: str, recipient: str, today: date) -> list[Path]:
    """One dataset's declaration, its extract of 2024, and an application that asks for it alone."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "employment-service"
    file = extracts(population(persons, SEED), PERIODS[0])[name]
    written = {
        f"{name}.yaml": _yaml(file.dataset.to_mapping()),
        f"{name}-2024.csv": file.content,
        "application.yaml": _yaml(_small_application(name, researcher, recipient, today)),
    }
    for path, content in written.items():
        (folder / path).write_bytes(content)
    return [folder / path for path in written]


def _small_application(name: str, researcher: str, recipient: str, today: date) -> dict[str, Any]:
    """The same request for one dataset, by province: coarse enough for a small population."""
    asked = application("first-project", researcher, recipient, today, "province", [name], [name])
    return {
        **asked,
        "datasets": [{**asked["datasets"][0], "periods": PERIODS[:1]}],
        "scenario": {**asked["scenario"], "sensitive": ["status"]},
    }


def _yaml(document: dict[str, Any]) -> bytes:
    plain = json.loads(json.dumps(document))  # lists and texts only, so that nothing is tagged
    text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    return text.encode()
