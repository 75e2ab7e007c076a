"""Local suppression: the fewest cells whose loss leaves nobody standing out.

What a suppressed cell means to somebody who looks for a person is a choice, the `reading`:

- `wildcard` (sdcMicro's, and what an intruder who knows the true value thinks): an empty cell may
  be any value, so a row matches every row that agrees with it where both have a value;
- `category`: empty is a value like any other, so a row matches those with the same values and the
  same cells empty. Whoever is safe under this reading is safe under the other one as well, and it
  costs more cells. A row that has lost all its keys can be anybody, and asks for nothing.

**Wildcard.** For each row in need the cheapest set of keys is dropped whose remaining ones it
shares with k units *of the data as they came*. What happens to other rows can only add matches, so
nothing that is done spoils what was done before, and the result is safe whatever the order. The
order saves cells: an emptied row matches others that were in need, which then aren't any more. Rows
in need that would drop the same keys are emptied from the smallest group up, until those left have
enough; and of equally cheap sets all take that of the keys with the most values, which brings most
of them together.

**Category.** Rows in need that would share k units if they all dropped the same keys do so
together, the cheapest keys first and, of equally cheap ones, those that help the most rows.

Neither is the optimum, which is hard to find (k-anonymity by suppression is NP-hard: Meyerson and
Williams, PODS 2004); the tests say how far from it tiny tables end up.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, combinations
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.disclosure.cells import DisclosureError, encode, encode_units
from policies.disclosure.groups import Numbers, number_groups

Reading = Literal["wildcard", "category"]
Keys = frozenset[int]
"""Some of the keys, by place."""

_MOST_KEYS = 12
_ROOM = 2**62


@dataclass(frozen=True)
class Suppression:
    """Which cells are taken away: for each key, whether its cell in each row is. `cells` and `rows`
    are how many, `by_key` how many of each key."""

    gone: Mapping[str, Numbers]

    @property
    def by_key(self) -> dict[str, int]:
        return {name: int(gone.sum()) for name, gone in self.gone.items()}

    @property
    def cells(self) -> int:
        return sum(self.by_key.values())

    @property
    def rows(self) -> int:
        """Rows that lose something."""
        return int(np.logical_or.reduce(list(self.gone.values())).sum())

    def apply(self, keys: pa.Table) -> pa.Table:
        """The table of keys with null in the cells that are taken away."""
        for name, gone in self.gone.items():
            column = keys.column(name)
            lost = pc.if_else(pa.array(gone), pa.scalar(None, column.type), column)
            keys = keys.set_column(keys.column_names.index(name), name, lost)
        return keys


def suppress(
    keys: Mapping[str, Any],
    k: int,
    *,
    units: Any = None,
    subsets: Iterable[Sequence[str]] | None = None,
    importance: Mapping[str, float] | None = None,
    reading: Reading = "wildcard",
) -> Suppression:
    """The cells to take away so that every row shares its keys with k distinct units or more.

    `keys` gives the column (an Arrow array) of each key, at most 12 of them; null is a cell that is
    empty already. `units` names the unit of each row; without it each row is one. `subsets` are
    combinations of keys on which it has to hold, each by itself (`wildcard` only); unless given,
    all keys together, which says nothing of subsets once cells are empty. `importance` is the
    price of a key's cell (1 unless named).

    Raises `DisclosureError` when there are fewer than k units in all, or when what is given doesn't
    fit.
    """
    names = list(keys)
    wanted = [names] if subsets is None else [list(subset) for subset in subsets]
    prices = _prices(names, importance or {})
    _check(names, wanted, k, reading, subsets is not None)
    table = _Table.of(keys, units)
    if table.units < k:
        raise DisclosureError(
            f"{table.units} units can't share anything with {k}; ask for a smaller k, or don't "
            "release the file"
        )
    places = [frozenset(names.index(name) for name in subset) for subset in wanted]
    if reading == "category":
        dropped = _by_category(table, prices, k)
    else:
        dropped = _by_wildcard(table, prices, k, places)
    of_row = dropped[table.of_row]
    return Suppression(
        {name: (of_row >> place & 1).astype(bool) for place, name in enumerate(names)}
    )


def _check(
    names: list[str], subsets: list[list[str]], k: int, reading: Reading, some: bool
) -> None:
    if not 1 <= len(names) <= _MOST_KEYS:
        raise DisclosureError(f"name 1 to {_MOST_KEYS} keys")
    if k < 1:
        raise DisclosureError("k is 1 or more")
    unknown = {name for subset in subsets for name in subset} - set(names)
    if unknown or not all(subsets):
        raise DisclosureError("each subset has one key or more, and only keys that are given")
    if some and reading == "category":
        raise DisclosureError("subsets of keys are looked at under the wildcard reading only")


def _prices(names: list[str], importance: Mapping[str, float]) -> Numbers:
    if unknown := importance.keys() - set(names):
        raise DisclosureError(f"{min(unknown)} has an importance and is no key; take it out")
    prices = np.array([float(importance.get(name, 1)) for name in names])
    if not ((prices > 0) & np.isfinite(prices)).all():
        raise DisclosureError("importance is a number above 0 for every key")
    return prices


class _Table:
    """The combinations of values of a table, with the units of each."""

    def __init__(
        self, codes: list[Numbers], sizes: list[int], rows: Numbers, of_row: Numbers,
        pairs: tuple[Numbers, Numbers] | None, units: int,
    ) -> None:  # fmt: skip
        self.codes, self.sizes, self.rows = codes, sizes, rows
        self.of_row, self.pairs, self.units = of_row, pairs, units
        self.keys: Keys = frozenset(range(len(codes)))
        self.numbered: dict[Keys, tuple[Numbers, int]] = {}
        self.counted: dict[Keys, Numbers] = {}

    @classmethod
    def of(cls, keys: Mapping[str, Any], units: Any) -> "_Table":
        """From columns. Code 0 of a key is an empty cell."""
        columns: list[Numbers] = []
        sizes: list[int] = []
        for column in keys.values():
            codes, values = encode(column)
            empty = np.asarray(pc.is_null(values))
            ranks = np.where(empty, 0, np.cumsum(~empty))
            columns.append(ranks[codes])
            sizes.append(len(values) + 1)
        rows = len(columns[0])
        lengths = {len(column) for column in columns} | {rows if units is None else len(units)}
        if lengths != {rows} or not rows:
            raise DisclosureError("give columns of one length, with at least one row")
        of_row, number, first = number_groups(*_packed(columns, sizes, rows))
        combined = [column[first] for column in columns]
        held = np.bincount(of_row, minlength=number)
        if units is None:
            return cls(combined, sizes, held, of_row, None, rows)
        if pc.any(pc.is_null(units)).as_py():
            raise DisclosureError("a row without a unit can't be looked at; give each row its unit")
        ids, distinct = encode_units(units)
        if distinct == rows:
            return cls(combined, sizes, held, of_row, None, rows)
        _, _, where = number_groups(of_row.astype(np.int64) * distinct + ids, number * distinct)
        return cls(combined, sizes, held, of_row, (of_row[where], ids[where]), distinct)

    def __len__(self) -> int:
        return len(self.rows)

    def numbers(self, keys: Keys) -> tuple[Numbers, int]:
        """A number for each combination by its values of some keys, and how many there are."""
        if keys not in self.numbered:
            places = sorted(keys)
            packed = _packed(
                [self.codes[at] for at in places], [self.sizes[at] for at in places], len(self)
            )
            self.numbered[keys] = number_groups(*packed)[:2]
        return self.numbered[keys]

    def shared(self, keys: Keys) -> Numbers:
        """For each combination, the distinct units that have its values of some keys."""
        if keys not in self.counted:
            group, number = self.numbers(keys)
            self.counted[keys] = self.count(group, number, self.rows > 0)[group]
        return self.counted[keys]

    def count(self, group: Numbers, groups: int, which: Numbers) -> Numbers:
        """Distinct units of each group of combinations, of `which` ones."""
        if self.pairs is None:
            return np.bincount(group[which], self.rows[which], groups).astype(np.int64)
        of_pair, unit = self.pairs
        here = which[of_pair]
        packed = group[of_pair[here]].astype(np.int64) * self.units + unit[here]
        _, _, first = number_groups(packed, groups * self.units)
        return np.bincount(group[of_pair[here]][first], minlength=groups)

    @cached_property
    def empty(self) -> Numbers:
        """For each combination the keys it has no value of, a bit each."""
        found = np.zeros(len(self), np.int64)
        for place, codes in enumerate(self.codes):
            found |= (codes == 0).astype(np.int64) << place
        return found


def _packed(columns: list[Numbers], sizes: list[int], rows: int) -> tuple[Numbers, int]:
    packed, room = np.zeros(rows, np.int64), 1
    for codes, size in zip(columns, sizes, strict=True):
        if room * size >= _ROOM:
            dense, room, _ = number_groups(packed, room)
            packed = dense.astype(np.int64)
        packed += np.multiply(codes, room, dtype=np.int64)
        room *= size
    return packed, room


def _by_price(table: _Table, prices: Numbers) -> list[list[Keys]]:
    """Sets of keys to drop, equally cheap ones together, the cheapest first; among them those whose
    keys have the most values come first."""
    places = range(len(prices))
    sets = [frozenset(some) for size in places for some in combinations(places, size + 1)]
    values = np.log(np.array(table.sizes, float))
    sets.sort(key=lambda some: (-float(values[list(some)].sum()), sorted(some)))
    found: dict[float, list[Keys]] = {}
    for some in sets:
        found.setdefault(round(float(prices[list(some)].sum()), 9), []).append(some)
    return [found[price] for price in sorted(found)]


def _bits(keys: Keys) -> int:
    return sum(1 << place for place in keys)


def _keys(bits: int) -> Keys:
    return frozenset(place for place in range(_MOST_KEYS) if bits >> place & 1)


# --- wildcard -------------------------------------------------------------------------------------


def _by_wildcard(table: _Table, prices: Numbers, k: int, subsets: list[Keys]) -> Numbers:
    """The keys that each combination drops, a bit each."""
    empty = table.empty
    gained = np.zeros(len(table), np.int64)
    alone = subsets == [table.keys]
    if alone and table.pairs is None:
        for bits in np.unique(empty[empty > 0]).tolist():
            _give(table, gained, empty == bits, table.keys - _keys(bits), None)
    need = np.zeros(len(table), bool)
    for bits in np.unique(empty).tolist():
        here = empty == bits
        for subset in subsets:
            need[here] |= (table.shared(subset - _keys(bits)) + gained)[here] < k
    chosen = _cheapest(table, prices, k, subsets, empty, need)
    if not alone or table.pairs is not None:
        return chosen
    return _saved(table, k, chosen, empty, gained, need)


def _cheapest(
    table: _Table, prices: Numbers, k: int, subsets: list[Keys], empty: Numbers, need: Numbers
) -> Numbers:
    """For each combination in need, the cheapest keys to drop so that it shares the others with k
    units of the data as they came, in every subset."""
    chosen = np.zeros(len(table), np.int64)
    for bits in np.unique(empty[need]).tolist():
        gone = _keys(bits)
        left = np.flatnonzero(need & (empty == bits))
        for some in chain.from_iterable(_by_price(table, prices)):
            if some & gone:
                continue
            fine = np.ones(len(left), bool)
            for subset in subsets:
                fine &= table.shared(subset - some - gone)[left] >= k
            chosen[left[fine]] = _bits(some)
            left = left[~fine]
            if not len(left):
                break
    return chosen


def _saved(
    table: _Table, k: int, chosen: Numbers, empty: Numbers, gained: Numbers, need: Numbers
) -> Numbers:
    """What is dropped when the combinations in need are gone through one set of keys after the
    other, the largest sets first, and those that have come to match enough are left alone."""
    dropped = np.zeros(len(table), np.int64)
    waiting = need.copy()
    own = table.shared(table.keys)
    patterns = sorted(set(chosen[need].tolist()), key=lambda bits: (-bits.bit_count(), bits))
    for bits in patterns:
        here = np.flatnonzero(waiting & (chosen == bits))
        for void in np.unique(empty[here]).tolist():
            some = here[empty[here] == void]
            rest = table.keys - _keys(bits) - _keys(void)
            group, _ = table.numbers(rest)
            base = own if void == 0 else table.shared(table.keys - _keys(void))
            has = (base + gained)[some]
            order = np.lexsort((some, has, group[some]))
            some, has = some[order], has[order]
            before = _before(table.rows[some], group[some])
            # rows of one combination count in what it has already, those before it are emptied
            take = some[has + before < k]
            dropped[take] = bits
            emptied = np.zeros(len(table), bool)
            emptied[take] = True
            _give(table, gained, emptied, rest, table.keys - _keys(void))
        waiting &= chosen != bits
    return dropped


def _before(amounts: Numbers, group: Numbers) -> Numbers:
    """The sum of the amounts before each, within its group; groups stand together."""
    total = np.cumsum(amounts) - amounts
    first = np.concatenate((np.ones(min(len(group), 1), bool), group[1:] != group[:-1]))
    starts = np.maximum.accumulate(np.where(first, np.arange(len(group)), 0))
    found: Numbers = total - total[starts]
    return found


def _give(
    table: _Table, gained: Numbers, emptied: Numbers, rest: Keys, before: Keys | None
) -> None:
    """Add to what whole combinations have gained the rows of the `emptied` ones that match them
    now, by the `rest` of their keys, and didn't `before`, when they had more keys (None: nothing
    was counted)."""
    if not emptied.any():
        return

    def matching(keys: Keys) -> Numbers:
        group, number = table.numbers(keys)
        return np.bincount(group[emptied], table.rows[emptied], number).astype(np.int64)[group]

    coming = matching(rest)
    if before is not None:
        coming -= matching(before)
    whole = table.empty == 0
    gained[whole] += coming[whole]


# --- category -------------------------------------------------------------------------------------


def _by_category(table: _Table, prices: Numbers, k: int) -> Numbers:
    """The keys that each combination drops, a bit each."""
    dropped = np.zeros(len(table), np.int64)
    left = table.shared(table.keys) < k
    for some_sets in _by_price(table, prices):
        waiting = list(some_sets)
        while waiting and left.any():
            helped = [(_together(table, some, k, left), some) for some in waiting]
            most, some = max(helped, key=lambda one: int(table.rows[one[0]].sum()))
            waiting.remove(some)
            dropped[most] = _bits(some)
            left &= ~most
    dropped[left] = _bits(table.keys)
    return dropped


def _together(table: _Table, some: Keys, k: int, left: Numbers) -> Numbers:
    """Which of the combinations that are left would share k units if they all dropped some keys."""
    if some == table.keys:
        return left.copy()
    group, number = table.numbers(table.keys - some)
    enough: Numbers = left & (table.count(group, number, left) >= k)[group]
    return enough
