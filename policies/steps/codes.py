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
            known = " and ".join(map(str, classifications.SITUATIONS))
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
