"""Names and places to draw from, with the frequencies of the real ones (`PROVENANCE.md`)."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

Texts = npt.NDArray[np.object_]
Integers = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]
Generation = Literal["child", "parent"]

REGIONS: Final = ("V", "W", "B")
"""Flanders, Wallonia, Brussels; people carry the position in this tuple."""

# The 1,000 published surnames belong to some 45% of the people in the demo.
_PUBLISHED: Final = 0.45
_DUTCH: Final = (
    (
        "Van ",
        "Van de ",
        "Van den ",
        "Van der ",
        "Vande",
        "Vander",
        "Vanden",
        "De ",
        "Ver",
        "Op de ",
    ),
    (
        "Aker",
        "Berk",
        "Biest",
        "Boom",
        "Bos",
        "Brem",
        "Brug",
        "Dael",
        "Dries",
        "Eeck",
        "Elst",
        "Gaver",
    ),
    (
        "",
        "beke",
        "berghe",
        "broeck",
        "daele",
        "donck",
        "haege",
        "hove",
        "meersch",
        "velde",
        "winckel",
    ),
)
_FRENCH: Final = (
    ("", "De", "Del", "Du", "Le", "La"),
    (
        "bois",
        "champ",
        "croix",
        "fontaine",
        "haye",
        "mare",
        "marche",
        "motte",
        "noue",
        "pont",
        "roche",
    ),
    ("", "et", "elle", "emont", "ier", "illon", "in", "ois", "ville", "villers", "vaux"),
)


TRADES: Final = {
    "V": ("Bakkerij", "Bouwwerken", "Garage", "Transport", "Slagerij", "Schrijnwerkerij",
          "Drukkerij", "Tuinen", "Verzekeringen", "Kapsalon", "Restaurant", "Schoonmaak",
          "Uitzendbureau", "Metaal", "Elektro", "Apotheek", "Meubelen", "Logistiek"),
    "W": ("Boulangerie", "Constructions", "Garage", "Transports", "Boucherie", "Menuiserie",
          "Imprimerie", "Jardins", "Assurances", "Coiffure", "Restaurant", "Nettoyage",
          "Intérim", "Métal", "Électricité", "Pharmacie", "Meubles", "Logistique"),
    "B": ("Brasserie", "Consulting", "Garage", "Transport", "Traiteur", "Immo", "Studio", "Voyages",
          "Assurances", "Coiffure", "Restaurant", "Cleaning", "Interim", "Horeca", "Electro",
          "Pharmacie", "Conseil", "Services"),
}  # fmt: skip
"""What enterprises do, as their names say it, by region."""
LEGAL_FORMS: Final = {"V": ("BV", "NV", "CV"), "W": ("SRL", "SA", "SC"), "B": ("SRL", "SA", "BV")}


def pick(rng: np.random.Generator, weights: Weights, size: int) -> Integers:
    """Positions, drawn with these weights."""
    cumulative = np.cumsum(weights)
    drawn = np.searchsorted(cumulative, rng.random(size) * cumulative[-1], side="right")
    return np.asarray(drawn, np.int64)


@dataclass(frozen=True)
class Draw:
    """Texts and how often each is met; `pick` draws positions."""

    texts: Texts
    weights: Weights

    def pick(self, rng: np.random.Generator, size: int) -> Integers:
        """Positions in `texts`, drawn with the weights."""
        return pick(rng, self.weights, size)


@dataclass(frozen=True)
class Places:
    """One entry per postcode; codes by situation (2019, 2025), regions as positions in REGIONS."""

    postcode: Texts
    region: Integers
    municipality: dict[int, Texts]
    arrondissement: dict[int, Texts]
    residents: Weights


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (Path(__file__).parent / name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def texts(values: Any) -> Texts:
    """A numpy column of texts."""
    return np.array(list(values), dtype=object)


@cache
def first_names(generation: Generation, region: str, sex: str) -> Draw:
    """First names of a generation in a region; sex is M or F."""
    column = f"{generation}_{region}"
    rows = [r for r in _rows("first_names.csv") if r["sex"] == sex and r[column]]
    return _draw([r["name"] for r in rows], [float(r[column]) for r in rows])


@cache
def surnames(region: str) -> Draw:
    """Surnames in a region: the published ones, and composed ones in the place of the rare ones."""
    if region == "B":
        flemish, walloon = surnames("V"), surnames("W")
        both = np.concatenate([flemish.texts, walloon.texts])
        return Draw(both, np.concatenate([flemish.weights, 2 * walloon.weights]))
    rows = [r for r in _rows("surnames.csv") if r[region]]
    names = [r["name"] for r in rows]
    counts = np.array([float(r[region]) for r in rows])
    composed = sorted(set(_composed(_DUTCH if region == "V" else _FRENCH)) - set(names))
    tail = np.full(len(composed), (1 - _PUBLISHED) / len(composed))
    return Draw(texts(names + composed), np.concatenate([_PUBLISHED * counts / counts.sum(), tail]))


def _composed(parts: tuple[tuple[str, ...], ...]) -> Iterator[str]:
    for prefix, stem, ending in product(*parts):
        apart = not prefix or prefix.endswith(" ")
        yield (prefix + (stem.capitalize() if apart else stem.lower()) + ending).strip()


@cache
def streets(language: str) -> Draw:
    """Common street names in Dutch (nl) or French (fr)."""
    names = [r["name"] for r in _rows("streets.csv") if r["language"] == language]
    return _draw(names, [1.0] * len(names))


@cache
def places() -> Places:
    """Every postcode, in ascending order."""
    rows = list(_rows("places.csv"))

    def by_situation(column: str) -> dict[int, Texts]:
        return {year: texts(r[f"{column}_{year}"] for r in rows) for year in (2019, 2025)}

    return Places(
        postcode=texts(r["postcode"] for r in rows),
        region=np.array([REGIONS.index(r["region"]) for r in rows]),
        municipality=by_situation("municipality"),
        arrondissement=by_situation("arrondissement"),
        residents=np.array([float(r["residents"]) for r in rows]),
    )


def _draw(names: list[str], weights: list[float]) -> Draw:
    return Draw(texts(names), np.array(weights))
