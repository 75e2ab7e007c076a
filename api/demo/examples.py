"""Files to try Schakel with: the demo's application, and one dataset with its extract."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

from api.demo.extracts import extracts
from api.demo.population import BREAKS, PERIODS, population

K = 5
YEAR = 365
SEED = 2026


def application(
    project: str, researcher: str, recipient: str, today: date, area: str = "arrondissement"
) -> dict[str, Any]:
    """The request of a project that looks for young people neither in work nor in education.

    `area` is the level of geography: `arrondissement`, or `province` for small populations.
    """
    days = {period: f"{period}-12-31" for period in PERIODS}
    age = [{"age_class": {"reference_date": days, "breaks": list(BREAKS)}}]
    place = [{"geography": {"level": area, "situation": 2025}}]
    wage = [{"round": {"to": 500}}, {"top_code": {"at": 15000}}]
    keys = [
        {"name": "geboortedatum", "as": "age_class", "rule": age},
        {"name": "gemeente", "as": area, "rule": place},
    ]
    return {
        "project": project,
        "title": "Young people neither in work nor in education",
        "purpose": "scientific",
        "motivation": "Where and at which age young people leave school without finding work.",
        "necessity": "Published tables know schooling or work, never both for the same person.",
        "legal_basis": "Scientific research, Regulation (EU) 2016/679, article 89.",
        "unit_type": "person",
        "datasets": [
            {
                "id": "child-benefit",
                "periods": list(PERIODS),
                "variables": [
                    *keys,
                    {"name": "in_onderwijs", "as": "in_education", "rule": [{"keep": {}}]},
                ],
                "references": ["self", "mother", "father"],
            },
            {
                "id": "employment-service",
                "periods": list(PERIODS),
                "variables": [
                    *keys,
                    {"name": "begin", "as": "begin", "rule": [{"quarter": {}}]},
                    {"name": "categorie", "as": "status", "rule": [{"keep": {}}]},
                ],
            },
            {
                "id": "social-security",
                "periods": list(PERIODS),
                "variables": [
                    {"name": "trimestre", "as": "quarter", "rule": [{"keep": {}}]},
                    {"name": "salaire_brut", "as": "wage", "rule": wage},
                ],
                "references": ["self", "employer"],
            },
        ],
        "universe": {"datasets": ["child-benefit", "employment-service"], "reference": "self"},
        "join": {"keys": ["age_class", area]},
        "linkage_keys": [
            *("national_number", "enterprise_number", "conversion", "first_name", "last_name"),
            *("birth_date", "sex", "street", "house_number", "postcode"),
        ],
        "scenario": {
            "known": ["age_class", area],
            "changing": [area],
            "moments": 1,
            "sensitive": ["status", "wage", "in_education"],
        },
        # a tenth is what one aims for at 5,000 persons; a little room, for people differ by seed
        "thresholds": {"k": K, "suppression": 0.12},
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
    asked = application("first-project", researcher, recipient, today, "province")
    entry = next(entry for entry in asked["datasets"] if entry["id"] == name)
    return {
        **asked,
        "datasets": [{**entry, "periods": PERIODS[:1]}],
        "universe": {"datasets": [name], "reference": "self"},
        "scenario": {**asked["scenario"], "sensitive": ["status"]},
    }


def _yaml(document: dict[str, Any]) -> bytes:
    plain = json.loads(json.dumps(document))  # lists and texts only, so that nothing is tagged
    text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    return text.encode()
