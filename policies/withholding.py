"""Withholding values of few units until a release passes.

Greedy and deterministic. Whatever stands out is withheld first, with all that follows from it; only
then are groups from which something is withheld filled up to k. The best fillers are units that
are touched anyway, and who these are shows only at the end: so it is done twice, and the second
time knows what the first one found.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from policies.disclosure import Integers
from policies.panel import Flags, Look, Panel, firsts, hide, numbered
from policies.restoring import give_back


def withhold(panel: Panel) -> None:
    """Hide values of a panel until it passes or nothing is left to hide."""
    start = panel.hidden()
    best = _Attempt(panel, np.zeros(len(panel.here), bool))
    anyway = panel.silent() & ~best.fillers & panel.narrowed()
    if anyway.any():
        panel.restore(start)
        best = min(best, _Attempt(panel, anyway), key=lambda attempt: attempt.cost)
        panel.restore(best.hidden)
    if best.passes:
        give_back(panel, start)


class _Attempt:
    """Hides values for one fault after another, until there is none; `hidden` is the outcome."""

    def __init__(self, panel: Panel, expected: Flags) -> None:
        self._panel = panel
        self._expected = expected
        """Units that are probably touched anyway."""
        self.fillers = np.zeros(len(panel.here), bool)
        """Units touched only because a group needed them."""
        while self._mend():
            pass
        self.hidden = panel.hidden()
        values = sum(int(flags.sum()) for flags in self.hidden)
        self.passes = panel.passes()
        self.cost = (not self.passes, int(panel.silent().sum()), values)

    def _mend(self) -> bool:
        """Hide some more for the first fault found; False when there is none left, or nothing
        left to hide."""
        panel = self._panel
        profile = panel.fixed_profile()
        looks = [look for look in panel.looks(profile) if look.failing.any()]
        earlier = [look for look in looks if panel.now not in look.choice]
        now = [look for look in looks if panel.now in look.choice]
        return (
            any(self._withhold_earlier(look.at_risk) for look in earlier)
            or any(self._withhold_now(look, profile, ~panel.silent()) for look in now)
            or self._keep_candidates()
            or any(self._fill_earlier(look) for look in earlier)
            or any(self._withhold_now(look, profile, panel.here) for look in now)
            or any(self._fill_now(look, profile) for look in now)
            or self._mend_alone()
        )

    # -- what stands out

    def _withhold_earlier(self, risky: Integers) -> bool:
        """Somebody known at an earlier moment: withhold never-changing keys."""
        panel = self._panel
        if panel.hide_narrowing(risky):
            return True
        unsaid = [it for it in panel.own_fixed() if (~it.shown & ~it.hidden)[risky].any()]
        return sum(hide(it.hidden, risky[~it.shown[risky]]) for it in unsaid) > 0

    def _withhold_now(self, look: Look, profile: Integers, units: Flags) -> bool:
        """Somebody known at this moment: withhold changing keys where enough others share the
        rest, never-changing ones where not."""
        panel, members = self._panel, look.members
        _, enough = self._rest(look, profile)
        placed = panel.any_of([column.shown for column in panel.changing[-1]])[members]
        narrowed = panel.narrowed()[members]
        failing = look.failing[look.group] & units[members]
        if panel.hide_changing(members[failing & enough & placed]):
            return True
        rare = panel.hide_narrowing(members[failing & ~enough & narrowed])
        return panel.hide_changing(members[failing & ~enough & ~narrowed & placed]) or rare

    def _rest(self, look: Look, profile: Integers) -> tuple[Integers, Flags]:
        """Numbers members by all but this release's changing keys, and whether k share that."""
        earlier = [column[look.members] for column in self._panel.labels(look.choice, now=False)]
        rest, rests = numbered([profile[look.members], *earlier], len(look.members))
        return rest, (np.bincount(rest, minlength=rests) >= self._panel.k)[rest]

    # -- filling up

    def _keep_candidates(self) -> bool:
        """Somebody who left: let enough others remain who could be that person."""
        panel = self._panel
        for choice in panel.choices:
            gone = panel.eliminations(choice)
            if gone:
                order = self._preference()
                chosen = [_preferred(one.donors, panel.k - one.units, order) for one in gone]
                return self._filled(np.concatenate(chosen), panel.hide_narrowing)
        return False

    def _fill_earlier(self, look: Look) -> bool:
        return self._fill(look, look.pool, self._panel.narrowed(), self._panel.hide_narrowing)

    def _fill_now(self, look: Look, profile: Integers) -> bool:
        panel = self._panel
        rest, enough = self._rest(look, profile)
        anybody = np.ones(len(panel.here), bool)
        if (look.failing[look.group] & enough).any():
            few = look.failing & (np.bincount(look.group[enough], minlength=len(look.failing)) > 0)
            if self._fill(replace(look, failing=few), rest, anybody, panel.hide_changing):
                return True
        if panel.hide_all(look.at_risk):
            return True
        return self._fill(look, look.pool, anybody, panel.hide_all)

    def _mend_alone(self) -> bool:
        panel = self._panel
        alone = panel.alone()
        if panel.hide_all(alone.at_risk):
            return True
        return self._fill(alone, alone.pool, panel.speaking(), panel.hide_all)

    def _fill(
        self, look: Look, pool: Integers, donors: Flags, hide: Callable[[Integers], bool]
    ) -> bool:
        """Let each failing group be joined by as many donors of its pool as it lacks."""
        if not look.failing.any():
            return False
        order = np.argsort(pool, kind="stable")
        starts = np.searchsorted(pool[order], np.arange(int(pool.max(initial=-1)) + 2))
        example, preference = firsts(look.group, len(look.counts)), self._preference()
        changed = False
        for group in np.flatnonzero(look.failing).tolist():
            at = pool[example[group]]
            others = order[starts[at] : starts[at + 1]]
            others = look.members[others[look.group[others] != group]]
            missing = self._panel.k - int(look.counts[group])
            chosen = _preferred(others[donors[others]], missing, preference)
            changed |= self._filled(chosen, hide)
        return changed

    def _filled(self, units: Integers, hide: Callable[[Integers], bool]) -> bool:
        self.fillers[units[~self._panel.silent()[units]]] = True
        return hide(units)

    def _preference(self) -> Integers:
        """A rank for each unit: first those that are touched, and those that are likely to be;
        then those whose groups can best do without them; then by id.

        A group can do without all that it has above k, but more than k − 1 are never asked for;
        among equals those come first of whom many look alike at every moment together, as those
        do who stayed where they were.
        """
        panel = self._panel
        room = np.full(len(panel.here), panel.k)
        for look in (*panel.looks(panel.fixed_profile()), panel.alone()):
            spare = np.maximum(look.counts - panel.k, 0)[look.group]
            room[look.members] = np.minimum(room[look.members], spare)
        everything = panel.labels(tuple(range(len(panel.moments))), now=True)
        profile, profiles = numbered([panel.fixed_profile(), *everything], len(panel.here))
        alike = np.bincount(profile[panel.here], minlength=profiles)[profile]
        best = np.lexsort((profile, -alike, -room, ~self._expected, ~panel.silent()))
        rank = np.empty(len(best), np.int64)
        rank[best] = np.arange(len(best))
        return rank


def _preferred(candidates: Integers, number: int, preference: Integers) -> Integers:
    return candidates[np.argsort(preference[candidates])[:number]]
