"""Steps on codes: places, activities, a condition, and leaving a value as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from policies import classifications
from policies.classifications import activities
from policies.steps import LANGUAGES, Language, Names, Plain, RuleError, Step, once_per_value

_LEVEL_NAMES: Mapping[str, Mapping[Language, str]] = {
    "municipality": {"en": "municipality", "nl": "gemeente", "fr": "commune", "de": "Gemeinde"},
    "arrondissement": {
        "en": "arrondissement",
        "nl": "arrondissement",
        "fr": "arrondissement",
        "de": "Bezirk",
    },
    "province": {"en": "province", "nl": "provincie", "fr": "province", "de": "Provinz"},
    "region": {"en": "region", "nl": "gewest", "fr": "région", "de": "Region"},
}


@dataclass(frozen=True)
class Geography(Step):
    """The area of a municipality or postcode, at a level, in the borders of a situation."""

    level: classifications.Level
    situation: classifications.Situation
    name: ClassVar[str] = "geography"
    takes: ClassVar[str] = "place"
    gives: ClassVar[str] = "text"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "{level} (NIS code, situation of {situation})",
        "nl": "{level} (NIS-code, toestand van {situation})",
        "fr": "{level} (code INS, situation de {situation})",
        "de": "{level} (NIS-Code, Stand {situation})",
    }
    limits: ClassVar[Mapping[str, str]] = {"finest": "at the level of {} or above"}

    @classmethod
    def parse(cls, level: Any, situation: Any = 2025) -> "Geography":
        if level not in classifications.LEVELS:
            raise RuleError(f"geography knows the levels {', '.join(classifications.LEVELS)}")
        if situation not in classifications.SITUATIONS:
            known = ", ".join(map(str, classifications.SITUATIONS))
            raise RuleError(f"geography knows the situations of {known}")
        return cls(level, situation)

    def apply(self, column: Any, source: str = "municipality") -> Any:
        """`source` says what the codes are: `postcode` or `municipality`."""
        place: classifications.Source = "postcode" if source == "postcode" else "municipality"
        return classifications.level(column, place, self.level, self.situation)

    def describe(self, language: Language) -> str:
        level = _LEVEL_NAMES[self.level][language]
        return self.says[language].format(level=level, situation=self.situation)

    def names(self) -> Names:
        return classifications.labels(self.level)

    def within(self, limits: Mapping[str, Any]) -> bool:
        levels = classifications.LEVELS
        return levels.index(self.level) >= levels.index(limits["finest"])


_DEGREES: Mapping[str, tuple[str, str, str, str]] = {
    "1": ("cities", "steden", "villes", "Städte"),
    "2": (
        "towns and suburbs", "kleinere steden en voorsteden", "petites villes et banlieues",
        "kleinere Städte und Vororte",
    ),
    "3": ("rural areas", "plattelandsgebieden", "zones rurales", "ländliche Gebiete"),
    "mixed": ("unknown (mixed)", "onbekend (gemengd)", "inconnu (mixte)", "unbekannt (gemischt)"),
}  # fmt: skip


@dataclass(frozen=True)
class Urbanisation(Step):
    """The degree of urbanisation of a municipality or postcode, in a situation. Municipalities that
    were merged from parts of several degrees are `mixed`, unless the rule overrides it."""

    situation: classifications.Situation
    override: tuple[tuple[str, str], ...] = ()
    name: ClassVar[str] = "urbanisation"
    takes: ClassVar[str] = "place"
    gives: ClassVar[str] = "text"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "degree of urbanisation (Eurostat, municipalities of {situation}); `mixed` where "
        "merged parts had several",
        "nl": "verstedelijkingsgraad (Eurostat, gemeenten van {situation}); `mixed` waar "
        "gefuseerde delen er verschillende hadden",
        "fr": "degré d'urbanisation (Eurostat, communes de {situation}) ; `mixed` là où les "
        "parties fusionnées en avaient plusieurs",
        "de": "Verstädterungsgrad (Eurostat, Gemeinden von {situation}); `mixed`, wo "
        "fusionierte Teile mehrere hatten",
    }
    taken: ClassVar[Mapping[Language, str]] = {
        "en": "{codes} by decision",
        "nl": "{codes} bij beslissing",
        "fr": "{codes} par décision",
        "de": "{codes} durch Entscheidung",
    }

    @classmethod
    def parse(cls, situation: Any = 2025, override: Any = None) -> "Urbanisation":
        if situation not in classifications.SITUATIONS:
            known = ", ".join(map(str, classifications.SITUATIONS))
            raise RuleError(f"urbanisation knows the situations {known}")
        given = {} if override is None else override
        if not isinstance(given, Mapping):
            raise RuleError("override gives degrees by municipality, as {'11002': 1}")
        pairs = sorted((str(code), str(degree)) for code, degree in given.items())
        mixed = classifications.without_degree(situation)
        if any(code not in mixed or degree not in ("1", "2", "3") for code, degree in pairs):
            raise RuleError(
                f"override gives a degree of 1, 2 or 3 to municipalities that have none in "
                f"{situation}: {', '.join(mixed) or 'there are none'}"
            )
        return cls(situation, tuple(pairs))

    def apply(self, column: Any, source: str = "municipality") -> Any:
        """`source` says what the codes are: `postcode` or `municipality`."""
        place: classifications.Source = "postcode" if source == "postcode" else "municipality"
        return classifications.degree(column, place, self.situation, dict(self.override))

    def describe(self, language: Language) -> str:
        text = self.says[language].format(situation=self.situation)
        if not self.override:
            return text
        codes = ", ".join(f"{code} = {degree}" for code, degree in self.override)
        return f"{text}; {self.taken[language].format(codes=codes)}"

    def names(self) -> Names:
        return {
            code: dict(zip(LANGUAGES, _DEGREES[code], strict=True))
            for code in classifications.DEGREES
        }


_GROUPS: Mapping[str, tuple[str, str, str, str]] = {
    "BE": ("Belgium", "België", "Belgique", "Belgien"),
    "NEIGHBOUR": (
        "a neighbouring country (DE, FR, LU, NL, UK)", "een buurland (DE, FR, LU, NL, UK)",
        "un pays voisin (DE, FR, LU, NL, UK)", "ein Nachbarland (DE, FR, LU, NL, UK)",
    ),
    "EU27_OTHER": (
        "another country of the EU27", "een ander land van de EU27", "un autre pays de l'UE27",
        "ein anderes Land der EU27",
    ),
    "EU14": (
        "another member of the EU from before 2004", "een andere EU-lidstaat van voor 2004",
        "un autre membre de l'UE d'avant 2004", "ein anderer EU-Mitgliedstaat von vor 2004",
    ),
    "EU13": (
        "a member of the EU since 2004 or later", "een EU-lidstaat sinds 2004 of later",
        "un membre de l'UE depuis 2004 ou plus tard", "ein EU-Mitgliedstaat seit 2004 oder später",
    ),
    "NON_EU27": (
        "a country outside the EU27", "een land buiten de EU27", "un pays hors de l'UE27",
        "ein Land außerhalb der EU27",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Nationality(Step):
    """The group of a nationality (ISO 3166-1, two or three letters)."""

    groups: classifications.Grouping
    name: ClassVar[str] = "nationality"
    takes: ClassVar[str] = "text"
    gives: ClassVar[str] = "text"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "group of nationality: {groups}",
        "nl": "nationaliteitsgroep: {groups}",
        "fr": "groupe de nationalité : {groups}",
        "de": "Gruppe der Staatsangehörigkeit: {groups}",
    }

    @classmethod
    def parse(cls, groups: Any = "origin") -> "Nationality":
        if groups not in classifications.GROUPINGS:
            raise RuleError(
                "nationality makes the groups origin (Belgium, neighbours, other EU27, others) or "
                "member (Belgium, EU14, EU13, others)"
            )
        return cls(groups)

    @property
    def codes(self) -> tuple[str, ...]:
        inner = ("NEIGHBOUR", "EU27_OTHER") if self.groups == "origin" else ("EU14", "EU13")
        return ("BE", *inner, "NON_EU27")

    def apply(self, column: Any) -> Any:
        return classifications.nationality(column, self.groups)

    def describe(self, language: Language) -> str:
        place = LANGUAGES.index(language)
        return self.says[language].format(
            groups="; ".join(_GROUPS[code][place] for code in self.codes)
        )

    def names(self) -> Names:
        return {code: dict(zip(LANGUAGES, _GROUPS[code], strict=True)) for code in self.codes}


_ACTIVITY_LEVELS: Mapping[str, Mapping[Language, str]] = {
    "class": {"en": "class", "nl": "klasse", "fr": "classe", "de": "Klasse"},
    "group": {"en": "group", "nl": "groep", "fr": "groupe", "de": "Gruppe"},
    "division": {"en": "division", "nl": "afdeling", "fr": "division", "de": "Abteilung"},
    "section": {"en": "section", "nl": "sectie", "fr": "section", "de": "Abschnitt"},
}


@dataclass(frozen=True)
class Nace(Step):
    """The economic activity at a level of NACE, Revision 2 (2008) or 2.1 (2025)."""

    level: activities.Level
    version: activities.Version
    name: ClassVar[str] = "nace"
    takes: ClassVar[str] = "NACE code"
    gives: ClassVar[str] = "text"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "economic activity: {level} of NACE {version}",
        "nl": "economische activiteit: {level} van NACE {version}",
        "fr": "activité économique : {level} de la NACE {version}",
        "de": "Wirtschaftszweig: {level} der NACE {version}",
    }
    limits: ClassVar[Mapping[str, str]] = {"finest": "at the level of {} or above"}

    @classmethod
    def parse(cls, level: Any, version: Any) -> "Nace":
        if level not in activities.LEVELS:
            raise RuleError(f"nace knows the levels {', '.join(activities.LEVELS)}")
        if version not in activities.VERSIONS:
            known = " and ".join(map(str, activities.VERSIONS))
            raise RuleError(f"nace knows the versions {known}; say which one the codes are of")
        return cls(level, version)

    def apply(self, column: Any) -> Any:
        return activities.level(column, self.level, self.version)

    def describe(self, language: Language) -> str:
        level = _ACTIVITY_LEVELS.get(self.level, {}).get(language, self.level)
        version = activities.REVISIONS[self.version]
        return self.says[language].format(level=level, version=version)

    def names(self) -> Names:
        return activities.labels(self.level, self.version)

    def within(self, limits: Mapping[str, Any]) -> bool:
        levels = activities.LEVELS
        return levels.index(self.level) >= levels.index(limits["finest"])


@dataclass(frozen=True)
class YesNo(Step):
    """Whether a code is one of some codes."""

    codes: tuple[str, ...]
    name: ClassVar[str] = "yes_no"
    takes: ClassVar[str] = "text"
    gives: ClassVar[str] = "text"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "whether it is one of {codes}",
        "nl": "of het een van {codes} is",
        "fr": "si c'est l'un des codes {codes}",
        "de": "ob es einer von {codes} ist",
    }

    @classmethod
    def parse(cls, codes: Any) -> "YesNo":
        listed = isinstance(codes, Sequence) and not isinstance(codes, str) and codes
        if not listed or not all(isinstance(code, str) and code for code in codes):
            raise RuleError("yes_no needs `codes`: a list of the texts that mean yes")
        return cls(tuple(dict.fromkeys(codes)))

    def apply(self, column: Any) -> Any:
        chosen = pa.array(self.codes, pa.string())
        return once_per_value(
            column, lambda codes: pc.if_else(pc.is_in(codes, value_set=chosen), "yes", "no")
        )

    def describe(self, language: Language) -> str:
        return self.says[language].format(codes=", ".join(self.codes))

    def names(self) -> Names:
        yes = ("yes", "ja", "oui", "ja")
        no = ("no", "nee", "non", "nein")
        return {
            "yes": dict(zip(LANGUAGES, yes, strict=True)),
            "no": dict(zip(LANGUAGES, no, strict=True)),
        }


@dataclass(frozen=True)
class Keep(Plain):
    """The value as it was delivered."""

    name: ClassVar[str] = "keep"
    takes: ClassVar[str] = "any"
    gives: ClassVar[str] = "any"
    says: ClassVar[Mapping[Language, str]] = {
        "en": "as delivered",
        "nl": "zoals aangeleverd",
        "fr": "tel que fourni",
        "de": "wie geliefert",
    }

    def apply(self, column: Any) -> Any:
        return column
