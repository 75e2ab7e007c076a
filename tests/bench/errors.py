"""What goes wrong between a person and a row: how often, and how a text comes out of it.

Where the default rates come from. Between two collections of the same persons 12% of first names
and 18% of last names differed in a British cohort, changes included (Lam and others, International
Journal of Population Data Science 9:1, 2024); 1.5% of the birth dates of a state's health service
were wrong, and 2% of admissions had a wrong name or birth date (Luo and others, BMC Bioinformatics
15:185, 2014); errors pile up in the same records and the same sources rather than falling
independently, and postcodes differ oftenest (Harron and others, BMC Medical Research Methodology
17:23, 2017); four slips in five are one letter put in, left out, replaced, or two exchanged
(Damerau, Communications of the ACM 7:3, 1964). The rates that nobody publishes (swapped names, a
relative's number, a lost box) are guesses of that order.
"""

import unicodedata
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tests.bench.pools import words

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Errors:
    """Shares of the rows of one file, each drawn for itself but oftener in `poor` rows.

    A share of `poor` rows has `worse` times the errors of an average one, the others less, so that
    the shares below are those of the whole file.
    """

    poor: float = 0.06
    worse: float = 5.0
    typo_first: float = 0.014
    typo_last: float = 0.018
    typo_street: float = 0.025
    nickname: float = 0.012
    """Of those whose name has one."""
    initial: float = 0.006
    second_shown: float = 0.3
    """Of those who have a second name; not an error."""
    called_second: float = 0.004
    hyphen_lost: float = 0.2
    """Of first names with a hyphen."""
    swapped: float = 0.004
    particle: float = 0.03
    """Of last names with a particle: written apart or together otherwise, or left out."""
    part_lost: float = 0.03
    """Of double last names: one half left out."""
    partner_name: float = 0.002
    """Of women who live with a partner: under the partner's name, or both."""
    accents_lost: float = 0.1
    missing_first: float = 0.003
    missing_last: float = 0.001
    day_month: float = 0.002
    digit: float = 0.006
    first_january: float = 0.003
    unknown_day: float = 0.001
    unknown_month: float = 0.001
    missing_birth: float = 0.004
    wrong_sex: float = 0.002
    missing_sex: float = 0.004
    abbreviated: float = 0.03
    other_language: float = 0.1
    """Of addresses in Brussels."""
    type_lost: float = 0.004
    box_lost: float = 0.08
    """Of addresses with a box."""
    wrong_number: float = 0.008
    wrong_postcode: float = 0.008
    missing_street: float = 0.008
    missing_number: float = 0.01
    missing_postcode: float = 0.005
    stale: float = 0.02
    """Of those who moved: still at the address before."""
    missing_nn: float = 0.04
    wrong_nn: float = 0.004
    relative_nn: float = 0.003
    """Of those who live with somebody: that person's valid number."""
    missing_job: float = 0.1


def file_b() -> Errors:
    """The second file: a source that is filled in by many hands."""
    return Errors(
        typo_first=0.022, typo_last=0.028, typo_street=0.04, nickname=0.05, initial=0.015,
        second_shown=0.12, called_second=0.006, hyphen_lost=0.3, swapped=0.008, particle=0.12,
        part_lost=0.12, partner_name=0.05, accents_lost=0.7, missing_first=0.006,
        missing_last=0.002, day_month=0.004, digit=0.010, first_january=0.006, unknown_day=0.002,
        unknown_month=0.002,
        missing_birth=0.010, wrong_sex=0.004, missing_sex=0.012, abbreviated=0.2,
        other_language=0.25, type_lost=0.01, box_lost=0.25, wrong_number=0.012,
        wrong_postcode=0.015, missing_street=0.02, missing_number=0.02, missing_postcode=0.01,
        stale=0.08, missing_nn=0.15, wrong_nn=0.008, relative_nn=0.006,
    )  # fmt: skip


class Luck:
    """Which rows of one file an error falls on: `hits(rate)` are flags, clustered in poor rows."""

    def __init__(self, rng: np.random.Generator, rows: int, errors: Errors) -> None:
        self._rng, self._rows = rng, rows
        poor = rng.random(rows) < errors.poor
        better = (1 - errors.poor * errors.worse) / (1 - errors.poor)
        self._factor = np.where(poor, errors.worse, better).astype(np.float32)

    def hits(self, rate: float) -> Flags:
        """Rows hit by an error of this rate; above 0.2 it is a habit and falls evenly."""
        drawn = self._rng.random(self._rows, np.float32)
        return np.asarray(drawn < (rate * self._factor if rate <= 0.2 else rate), np.bool_)


_NEIGHBOURS: Final = dict(word.split(":") for word in words("slips", "neighbours"))
_HEARD: Final = [word.split(":") for word in words("slips", "heard")]
_SEEN: Final = [word.split(":") for word in words("slips", "seen")]


def slip(text: str, chances: tuple[float, float, float]) -> str:
    """One error in a text; three numbers from 0 to 1 decide which, where and to what.

    Eight in ten are single slips of the hand (Damerau's four), the rest by ear or by eye.
    """
    kind, where, which = chances
    if len(text) < 2:
        return text + text
    if kind >= 0.8:
        return _replaced(text, _HEARD if kind < 0.93 else _SEEN, where, which)
    at = int(where * len(text))
    if kind < 0.3:
        return text[:at] + _neighbour(text[at], which) + text[at + 1 :]
    if kind < 0.5:
        return text[:at] + _neighbour(text[at], which) + text[at:]
    if kind < 0.65:
        at = min(at, len(text) - 2)
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + text[at + 1 :]


def _neighbour(letter: str, which: float) -> str:
    near = _NEIGHBOURS.get(plain(letter).lower(), "aeinrst")
    chosen = near[int(which * len(near))]
    return chosen.upper() if letter.isupper() else chosen


def _replaced(text: str, rules: list[list[str]], where: float, which: float) -> str:
    low = text.lower() if len(text.lower()) == len(text) else text
    fitting = [(old, new) for old, new in rules if old in low]
    if not fitting:
        return text[:-1]
    old, new = fitting[int(which * len(fitting))]
    places = [at for at in range(len(low)) if low.startswith(old, at)]
    at = places[int(where * len(places))]
    shown = new.upper() if text[at : at + len(old)].isupper() else new
    shown = shown.capitalize() if text[at].isupper() and not shown.isupper() else shown
    return text[:at] + shown + text[at + len(old) :]


def plain(text: str) -> str:
    """Without accents."""
    if text.isascii():
        return text
    folded = unicodedata.normalize(
        "NFD", text.replace("ß", "ss").replace("ı", "i").replace("œ", "oe")
    )
    return "".join(letter for letter in folded if not unicodedata.combining(letter))
