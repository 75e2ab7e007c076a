"""The steps that a rule is made of: what one does to a column, says of itself, and may be at most.

`policies.coarsening` reads rules and applies them; here each family of steps has a module: `dates`,
`numbers`, `percentiles`, `codes`. A step is parsed from a permit's settings, coarsens a column
(nulls staying null), describes itself in four languages, names the codes it makes, and says what a
label implies about the value, for the test on everything that was ever released.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Self, get_args

from policies import PolicyError

Language = Literal["en", "nl", "fr", "de"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
Interval = tuple[int, int]
Names = dict[str, dict[str, str]]
"""Code → name by language."""
Population = Literal["delivery", "universe"]
"""What a step's bounds can be computed on: all that was delivered, or the units of the release."""


class RuleError(PolicyError):
    """A coarsening rule can't be read, or doesn't fit the values it is applied to."""


class Step(ABC):
    """One step of a rule. `takes` and `gives` say what its values are (`date`, `number`, `place`,
    `NACE code`, `text`, or `any`); `limits` spells the limits of `minimum_coarsening.yaml` that it
    knows."""

    name: ClassVar[str]
    takes: ClassVar[str]
    gives: ClassVar[str]
    says: ClassVar[Mapping[Language, str]]
    limits: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def apply(self, column: Any) -> Any:
        """Coarsen an Arrow array, nulls staying null."""

    def describe(self, language: Language) -> str:
        """What the step does, as part of a sentence."""
        return self.says[language]

    def names(self) -> Names:
        """Names of the codes it makes; empty where labels speak for themselves."""
        return {}

    def intervals(self) -> dict[str, Interval] | None:
        """What each label says about the value delivered: first and last day since 1 January 1970
        of a date, first and last hundredth of a number. None where labels are compared as they
        are."""
        return None

    def within(self, limits: Mapping[str, Any]) -> bool:
        """Whether it is no finer than limits of `minimum_coarsening.yaml`."""
        return not limits


class Plain(Step):
    """A step without settings."""

    @classmethod
    def parse(cls) -> Self:
        return cls()


def once_per_value(column: Any, work: Callable[[Any], Any]) -> Any:
    """Apply `work` to the distinct values of a column, and spread the answers over its rows."""
    encoded = column.dictionary_encode()
    return work(encoded.dictionary).take(encoded.indices)
