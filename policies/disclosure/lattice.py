"""The least-loss coarsening: one level for each key, and the fewest rows left out.

A *node* is a level for each key. At a node the rows fall into groups, and those of groups that fail
a threshold are suppressed: all their keys are taken away. A node is good when no more rows than
allowed are suppressed; of the good ones, `suggest` finds the one with the least loss. It is the
optimum, not a good guess: every node is either looked at or shown to be worse.

**Loss** is Iyengar's loss metric ("Transforming data to satisfy privacy constraints", KDD 2002), as
in ARX's measure "Loss" with suppression and generalisation treated alike. A key's loss is the mean
over all rows of ::

    (leaves that the row's value stands for − 1) / (leaves of the key's hierarchy − 1)

and 1 where the row is suppressed, so that 0 is the data as they came and 1 is nothing left. (A
hierarchy with a single leaf can lose nothing: 0, or 1 where suppressed.) The loss of a node is the
mean over the keys, weighted by their importance; or, with `mean="geometric"`, ∏(1 + loss)^weight
− 1, which is what ARX takes unless told otherwise (there with equal weights). Ties go to the finer
level of the first key that differs.

**Why nodes needn't be looked at.** Joining groups never makes their distinct units, households,
estimated population or distinct sensitive values fewer. So a row that fails one of these thresholds
at a node fails it at every finer one, where moreover its values stand for no more leaves:

- too many such rows at a node: no finer node is good;
- the loss of a finer node is at least what its levels cost by themselves, and what the suppression
  of those rows adds, key by key.

A node whose bound isn't below the second-best loss found so far is out. t-closeness is different:
a group that keeps to t can be joined with one that doesn't, and fail with it. Its failures count at
the node itself; only where nothing may be suppressed do they say something about finer nodes (if
all groups keep to t, so do all that are made of them: Li, Li and Venkatasubramanian, "t-Closeness",
ICDE 2007).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.disclosure.cells import DisclosureError, Integers, encode, encode_units
from policies.disclosure.groups import Counted, Groups, Node, Numbers, group_rows
from policies.disclosure.hierarchies import Hierarchy, allowed_levels

Mean = Literal["arithmetic", "geometric"]

MOST_NODES = 2_000_000
_MEMORY = 400 * 2**20
"""Bytes of tables that are kept."""
_SMALL = 4096
"""Groups from which a node is made in no time: no table in between pays."""
_LARGE = 65_536
"""Groups from which it pays to look at a part first."""
_PARTS = 8
"""Parts that the rows are cut into for such a look."""
_STRIDE = 4
"""Keys whose levels are taken together on the way from many groups to few."""
_CLOSE = 1e-12
"""Differences of losses and of sums of weights below this are rounding."""


@dataclass(frozen=True)
class Demand:
    """What every group has to have, and which share of the rows may be suppressed for it.

    `k` distinct units; `l` distinct values of the sensitive variable; a distribution of it no
    further than `t` from that of the whole file (half the sum of absolute differences of shares of
    rows: the variational distance, t-closeness with equal distances); `households` distinct
    households; units that stand for `weighted` of the population by their weights. None asks
    nothing.
    """

    k: int = 5
    l: int | None = None  # noqa: E741 - what everybody calls it
    t: float | None = None
    households: int | None = None
    weighted: float | None = None
    suppression: float = 0.0

    def __post_init__(self) -> None:
        wholes = [self.k, *(one for one in (self.l, self.households) if one is not None)]
        if min(wholes) < 1:
            raise DisclosureError("k, l and the number of households are 1 or more")
        if not 0 <= self.suppression <= 1:
            raise DisclosureError("the share of rows to suppress is from 0 to 1, as 0.05")
        if self.t is not None and not 0 <= self.t <= 1:
            raise DisclosureError("t is from 0 to 1")
        if self.weighted is not None and not self.weighted > 0:
            raise DisclosureError("the estimated population of a group is above 0")


@dataclass(frozen=True)
class Choice:
    """A good node: the level of each key, rows suppressed, and the loss with what each key has of
    it."""

    levels: Mapping[str, int]
    suppressed: int
    loss: float
    losses: Mapping[str, float]


@dataclass(frozen=True)
class Suggestion:
    """The best node, with which rows are suppressed there; the next best (None where there is no
    other good one); how many nodes were looked at, of how many; and the best node for each larger
    k that was asked for (None where there is none)."""

    best: Choice
    gone: Numbers
    runner_up: Choice | None
    nodes_checked: int
    nodes_total: int
    steps: Mapping[int, Choice | None]


class Unreachable(DisclosureError):  # noqa: N818 - what it is
    """No coarsening within the allowed levels meets the demand."""


def suggest(
    keys: Mapping[str, tuple[Any, Hierarchy]],
    demand: Demand,
    *,
    units: Any = None,
    households: Any = None,
    weights: Any = None,
    sensitive: Any = None,
    allowed: Mapping[str, Sequence[int]] | None = None,
    importance: Mapping[str, float] | None = None,
    mean: Mean = "arithmetic",
    steps: Iterable[int] = (),
) -> Suggestion:
    """The coarsening with the least loss that meets a demand.

    `keys` gives for each key its column (an Arrow array of values) and its hierarchy; `units`,
    `households`, `weights` and `sensitive` are columns of the same length. Without `units` each
    row is one. A unit's weight is that of its first row. `allowed` names the levels that may be
    chosen for a key (all, unless named), `importance` what a key's loss weighs (1, unless named).
    `steps` are larger values of k to tell the price of.

    Raises `Unreachable` when nothing within the levels meets the demand, and `DisclosureError`
    when something needed isn't given or doesn't fit.
    """
    search = Search.of(
        keys,
        demand,
        {"units": units, "households": households, "weights": weights, "sensitive": sensitive},
        allowed or {},
        importance or {},
        mean,
    )
    best, runner_up = search.two_best(demand)
    looked = search.checked
    if best is None:
        raise Unreachable(
            "no coarsening within the allowed levels meets the thresholds; allow coarser levels, "
            "more suppression, or leave a key out"
        )
    dearer = {k: search.next_best(replace(demand, k=k)) for k in sorted(set(steps)) if k > demand.k}
    gone = search.failing_rows(tuple(best.levels.values()), demand)
    return Suggestion(best, gone, runner_up, looked, search.nodes_total, dearer)


class Search:
    """A lattice and what is known of its nodes. What was learnt for a k holds for a larger one."""

    def __init__(
        self, finest: Groups, of_row: Numbers, hierarchies: Mapping[str, Hierarchy],
        levels: list[list[int]], weight: Numbers, mean: Mean,
        distribution: Numbers | None,
    ) -> None:  # fmt: skip
        self.finest, self.of_row = finest, of_row
        self.hierarchies = hierarchies
        self.ways = list(hierarchies.values())
        self.weight, self.mean = weight, mean
        self.rows = int(finest.rows.sum())
        self.nodes_total = int(np.prod([len(one) for one in levels], dtype=object))
        if self.nodes_total > MOST_NODES:
            raise DisclosureError(
                f"{self.nodes_total:,} coarsenings are too many to choose among; allow fewer "
                "levels, or take fewer keys"
            )
        self.distribution = distribution
        self.tables = _Tables(finest, self.ways, levels)
        self.costs = [self._costs(finest.codes[place], finest.rows, way)
                      for place, way in enumerate(self.ways)]  # fmt: skip
        self.nodes = np.array(list(product(*levels)), np.uint8)
        self.reach = np.prod(self.nodes.astype(np.float64) + 1, axis=1)
        self.floor = np.stack(
            [costs[self.nodes[:, place]] for place, costs in enumerate(self.costs)], axis=1
        )
        self.possible = np.ones(len(self.nodes), bool)
        self.checked = 0

    @classmethod
    def of(
        cls, keys: Mapping[str, tuple[Any, Hierarchy]], demand: Demand, columns: Mapping[str, Any],
        allowed: Mapping[str, Sequence[int]], importance: Mapping[str, float], mean: Mean,
    ) -> "Search":  # fmt: skip
        """A search from columns; see `suggest`."""
        if not keys:
            raise DisclosureError("name at least one key")
        hierarchies = {name: hierarchy for name, (_, hierarchy) in keys.items()}
        levels = allowed_levels(hierarchies, allowed)
        leaves = [hierarchy.encode(column) for column, hierarchy in keys.values()]
        lengths = {len(leaf) for leaf in leaves}
        lengths |= {len(column) for column in columns.values() if column is not None}
        if lengths == {0} or len(lengths) > 1:
            raise DisclosureError("give columns of one length, with at least one row")
        counted, distribution = _counted(demand, columns, max(lengths))
        finest, of_row = group_rows(leaves, list(hierarchies.values()), counted)
        weight = _weights(list(hierarchies), importance)
        return cls(finest, of_row, hierarchies, levels, weight, mean, distribution)

    def _costs(self, codes: Numbers, rows: Integers, way: Hierarchy) -> Numbers:
        """A key's loss at each level when nothing is suppressed."""
        of_leaf = np.bincount(codes, rows, way.size)
        lost = [
            of_leaf @ (leaves[at] - 1.0) for leaves, at in zip(way.leaves, way.codes, strict=True)
        ]
        return np.array(lost) / (max(way.size - 1, 1) * self.rows)

    def _joined(self, losses: Numbers) -> Numbers:
        """The loss of nodes from those of their keys, a line each."""
        if self.mean == "geometric":
            joined: Numbers = np.expm1(np.log1p(losses) @ self.weight)
            return joined
        return np.asarray(losses @ self.weight)

    def next_best(self, demand: Demand) -> Choice | None:
        """The best node alone."""
        return self._look(demand, 1)[0]

    def two_best(self, demand: Demand) -> tuple[Choice | None, Choice | None]:
        """The best node and the next best."""
        found = self._look(demand, 2)
        return found[0], found[1]

    def _look(self, demand: Demand, wanted: int) -> list[Choice | None]:
        """The best nodes, in order; None after the last good one."""
        limit = int(demand.suppression * self.rows + _CLOSE)
        here = np.flatnonzero(self.possible)
        nodes, floor, reach = self.nodes[here], self.floor[here], self.reach[here]
        bound = self._joined(floor)
        found: list[tuple[float, Node, Choice]] = []
        worst = np.inf
        while True:
            open_ = np.isfinite(bound) & (bound <= worst * (1 + _CLOSE))
            if not open_.any():
                break
            if 2 * np.count_nonzero(open_) < len(open_):
                here, nodes, floor = here[open_], nodes[open_], floor[open_]
                reach, bound = reach[open_], bound[open_]
                open_ = np.ones(len(here), bool)
            best = found[0][1] if found else None
            at = self._next(nodes, bound, reach, open_, best)
            node: Node = tuple(nodes[at].tolist())
            below = (nodes <= nodes[at]).all(axis=1)
            verdict = self._check(node, demand, limit)
            if verdict is None:
                bound[below] = np.inf
                self.possible[here[below]] = False
                continue
            finer = np.flatnonzero(below & np.isfinite(bound))
            floor[finer] = np.maximum(floor[finer], self.floor[here[finer]] + verdict.certain_extra)
            bound[finer] = self._joined(floor[finer])
            bound[at] = np.inf
            if verdict.rows > limit:
                continue
            choice = self._choice(node, verdict)
            found = sorted([*found, (choice.loss, node, choice)], key=lambda one: one[:2])[:wanted]
            if len(found) == wanted:
                worst = found[-1][0]
        return [one[2] for one in found] + [None] * (wanted - len(found))

    @staticmethod
    def _next(
        nodes: Numbers, bound: Numbers, reach: Numbers, open_: Numbers, best: Node | None
    ) -> int:
        """Which node to look at: the coarsest; then, as long as there is one, a neighbour of the
        best so far that is one level finer; then the one with the most finer ones, which are out
        with it when it isn't good."""
        places = np.flatnonzero(open_)
        if best is not None:
            lower = np.array(best) - nodes[places]
            near = places[(np.abs(lower).sum(axis=1) == 1) & (lower >= 0).all(axis=1)]
            if len(near):
                return int(near[np.argmin(bound[near])])
        return int(places[np.argmax(reach[places])])

    def _check(self, node: Node, demand: Demand, limit: int) -> "_Verdict | None":
        """Look at a node; None when neither it nor any finer one is good."""
        self.checked += 1
        if self._hopeless(node, demand, limit):
            return None
        groups = self.tables.at(node)
        certain = self._certain(groups, demand)
        failing = self._failing(groups, certain, demand)
        certain_rows, rows = int(groups.rows[certain].sum()), int(groups.rows[failing].sum())
        if certain_rows > limit or (rows > limit and limit == 0):
            return None
        extra = self._extra(groups, certain)
        return _Verdict(extra, rows, extra if failing is certain else self._extra(groups, failing))

    def _hopeless(self, node: Node, demand: Demand, limit: int) -> bool:
        """Whether a part of the rows shows that too many fail. The parts are made of whole groups
        of the node, so what fails in them fails."""
        failing = seen = 0
        for part in self.tables.parts(node):
            groups = part.coarser(node, self.ways)
            failing += int(groups.rows[self._certain(groups, demand)].sum())
            seen += int(groups.rows.sum())
            if failing > limit:
                return True
            if failing * self.rows < 1.5 * limit * seen:
                return False
        return False

    @staticmethod
    def _certain(groups: Groups, demand: Demand) -> Numbers:
        """Which groups fail a threshold that their parts fail too."""
        certain: Numbers = groups.tally("units") < demand.k
        if demand.households is not None:
            certain |= groups.tally("households") < demand.households
        if demand.weighted is not None:
            certain |= groups.tally("weights") < demand.weighted * (1 - _CLOSE)
        if demand.l is not None:
            certain |= groups.distinct("sensitive") < demand.l
        return certain

    def _failing(self, groups: Groups, certain: Numbers, demand: Demand) -> Numbers:
        """Which groups fail at all: `certain` itself where no other threshold is asked."""
        if demand.t is None or self.distribution is None:
            return certain
        far: Numbers = groups.distance("sensitive", self.distribution) > demand.t + _CLOSE
        return certain | far

    def failing_rows(self, node: Node, demand: Demand) -> Numbers:
        """Which rows are suppressed at a node."""
        groups, becomes = self.finest.joined(node, self.ways)
        failing = self._failing(groups, self._certain(groups, demand), demand)
        rows: Numbers = failing[becomes][self.of_row]
        return rows

    def _extra(self, groups: Groups, which: Numbers) -> Numbers:
        """What the suppression of some groups adds to the loss of each key."""
        rows = groups.rows[which]
        added = []
        for way, codes, level in zip(self.ways, groups.codes, groups.node, strict=True):
            kept = (way.leaves[level][codes[which]] - 1) / max(way.size - 1, 1)
            added.append(float(rows @ (1 - kept)) / self.rows)
        return np.array(added)

    def _choice(self, node: Node, verdict: "_Verdict") -> Choice:
        plain = np.array([costs[level] for costs, level in zip(self.costs, node, strict=True)])
        losses = plain + verdict.extra
        return Choice(
            dict(zip(self.hierarchies, node, strict=True)),
            verdict.rows,
            float(self._joined(losses)),
            dict(zip(self.hierarchies, losses.tolist(), strict=True)),
        )


@dataclass(frozen=True)
class _Verdict:
    """What a look at a node told: what the suppression of the rows that fail at every finer node
    too adds to each key's loss; all rows that fail here, and what their suppression adds."""

    certain_extra: Numbers
    rows: int
    extra: Numbers


class _Tables:
    """Groups by node, each made from the smallest table that is at hand.

    From many groups a node is made by way of others that will be needed too: the levels of the
    keys are taken one after the other, those first that join the most, and what comes in between
    is kept.
    """

    def __init__(self, finest: Groups, ways: list[Hierarchy], levels: list[list[int]]) -> None:
        self.ways = ways
        bottom: Node = tuple(one[0] for one in levels)
        start = finest if bottom == finest.node else finest.coarser(bottom, ways)
        self.start = start
        self.kept: dict[Node, Groups] = {}
        self.room = _MEMORY
        self.parted: dict[tuple[int, int], tuple[Numbers, dict[int, Groups]]] = {}
        joins = [
            len(np.unique(start.codes[place])) / len(np.unique(way.up(start.node[place], one[-1])))
            for place, (way, one) in enumerate(zip(ways, levels, strict=True))
        ]
        order = sorted(range(len(ways)), key=lambda place: -joins[place])
        self.strides = [order[at : at + _STRIDE] for at in range(0, len(order), _STRIDE)]

    def at(self, node: Node) -> Groups:
        """The groups at a node."""
        if node in self.kept:
            return self.kept[node]
        groups, level = self.start, list(self.start.node)
        for places in self.strides:
            if len(groups) <= _SMALL:
                break
            for place in places:
                level[place] = node[place]
            if tuple(level) != groups.node:
                groups = self._kept(tuple(level), groups)
        return groups if groups.node == node else self._kept(node, groups)

    def parts(self, node: Node) -> Iterator[Groups]:
        """A first few parts of the rows, a tenth or so each, that hold groups of the node whole.
        None where there are few groups, or no key to part them by."""
        if len(self.start) <= _LARGE:
            return
        values = [len(way.labels[level]) for way, level in zip(self.ways, node, strict=True)]
        place = int(np.argmax(values))
        if values[place] < 2 * _PARTS:
            return
        where = (place, node[place])
        if where not in self.parted:
            up = self.ways[place].up(self.start.node[place], node[place])
            part = up.astype(np.int32) * _PARTS // values[place]
            self.parted[where] = part[self.start.codes[place]], {}
        of_group, made = self.parted[where]
        for number in range(_PARTS // 2):
            if number not in made:
                made[number] = self.start.part(np.flatnonzero(of_group == number))
            yield made[number]

    def _kept(self, node: Node, finer: Groups) -> Groups:
        found = self.kept.get(node)
        if found is None:
            found = finer.coarser(node, self.ways)
            if found.bytes <= self.room:
                self.room -= found.bytes
                self.kept[node] = found
        return found


def _weights(names: list[str], importance: Mapping[str, float]) -> Numbers:
    for name, value in importance.items():
        if name not in names:
            raise DisclosureError(f"{name} has an importance and is no key; take it out")
        if not 0 < value < np.inf:
            raise DisclosureError(f"the importance of {name} has to be a number above 0")
    weight = np.array([float(importance.get(name, 1)) for name in names])
    shares: Numbers = weight / weight.sum()
    return shares


def _counted(
    demand: Demand, columns: Mapping[str, Any], rows: int
) -> tuple[dict[str, Counted], Numbers | None]:
    """What the groups have to count for a demand, and the whole file's shares of the sensitive
    values."""
    ids, number = _ids(columns["units"], rows, "unit")
    counted = {"units": Counted(ids, number, np.ones(number))}
    if demand.households is not None:
        home, homes = _ids(
            _given(columns, "households", "household of each row"), rows, "household"
        )
        counted["households"] = Counted(home, homes, np.ones(homes))
    if demand.weighted is not None:
        given = _given(columns, "weights", "weight of each row")
        counted["weights"] = Counted(ids, number, _weight_of_units(given, ids, number))
    if demand.l is None and demand.t is None:
        return counted, None
    codes, values = encode(_given(columns, "sensitive", "sensitive variable"))
    counted["sensitive"] = Counted(codes, len(values), None)
    return counted, np.bincount(codes, minlength=len(values)) / rows


def _ids(column: Any, rows: int, what: str) -> tuple[Integers, int]:
    if column is None:
        return np.arange(rows), rows
    if absent := pc.sum(pc.is_null(column)).as_py():
        raise DisclosureError(f"{absent} rows have no {what}; give each row its own")
    return encode_units(column)


def _given(columns: Mapping[str, Any], name: str, what: str) -> Any:
    if columns[name] is None:
        raise DisclosureError(f"the demand needs the {what}; name its column")
    return columns[name]


def _weight_of_units(column: Any, ids: Integers, number: int) -> Numbers:
    """The weight of each unit: that of its first row."""
    values = pc.cast(column, pa.float64())
    numbers = np.asarray(values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values)
    if not (np.isfinite(numbers).all() and (numbers >= 0).all()):
        raise DisclosureError("a weight is a number of 0 or more, in every row")
    weights = np.empty(number)
    weights[ids[::-1]] = numbers[::-1]
    return weights
