"""How well the rows of a release are linked, in figures that single nobody out.

A researcher has to know whom a linkage misses: if the young or the movers are found less often,
every result leans (Harron and others, *Challenges in administrative data linkage for research*,
Big Data & Society 2017; GUILD guideline, 2018). So the report tells the share of units found by
subgroup, and a permit may ask for a class of link quality on every row (`QUALITY`).

The report leaves with the package and travels further than the data, so its counts are held to the
same k as the cells of the release. A count from 1 to k - 1 is hidden, found or not found alike;
since the size of every subgroup and the total are known, others are hidden with it until each
hidden count could be any of k + 1 values at least. Zeros are told: they single nobody out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from policies import PolicyError
from policies.cumulative import UNIT

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

QUALITY: Mapping[str, Mapping[str, str]] = {
    "number": {
        "en": "linked by a number that name or date of birth bears out",
        "nl": "gekoppeld op een nummer dat door naam of geboortedatum wordt bevestigd",
        "fr": "apparié par un numéro que le nom ou la date de naissance confirme",
        "de": "verknüpft über eine Nummer, die Name oder Geburtsdatum bestätigt",
    },
    "very_similar": {
        "en": "linked without a number, with a probability of at least 0.99",
        "nl": "gekoppeld zonder nummer, met een kans van minstens 0,99",
        "fr": "apparié sans numéro, avec une probabilité d'au moins 0,99",
        "de": "ohne Nummer verknüpft, mit einer Wahrscheinlichkeit von mindestens 0,99",
    },
    "similar": {
        "en": "linked without a number, with a lower probability",
        "nl": "gekoppeld zonder nummer, met een lagere kans",
        "fr": "apparié sans numéro, avec une probabilité moindre",
        "de": "ohne Nummer verknüpft, mit geringerer Wahrscheinlichkeit",
    },
    "new": {
        "en": "in no earlier delivery; this project saw the unit here first",
        "nl": "in geen eerdere levering; dit project zag de eenheid hier voor het eerst",
        "fr": "dans aucune livraison antérieure ; le projet voit l'unité ici pour la première fois",
        "de": "in keiner früheren Lieferung; das Projekt sieht die Einheit hier zum ersten Mal",
    },
}
"""Classes of link quality, best first, by the code that a row carries. They are classes and not
probabilities: a probability would be nearly everybody's own. A number that was converted has no
class of its own: a bis number tells that somebody came from abroad, which no rule let leave."""

SURE = 0.99
"""Probability from which a link without a number counts as very similar."""

_OF_RULE: Mapping[str, str] = {
    "national_number": "number",
    "enterprise_number": "number",
    "conversion": "number",
    "fuzzy": "similar",
    "decided": "similar",  # a human's word on what the figures left open
    "new": "new",
}


def quality(rule: Any, probability: Any) -> Any:
    """The class of each link from how it was decided: `rule` (text) and `probability` (float64,
    null unless the rule is fuzzy), as a linkage gives them; no class where there is no rule.
    PolicyError for an unknown rule."""
    places = pc.index_in(rule, value_set=pa.array(list(_OF_RULE)))
    if places.null_count != rule.null_count:
        raise PolicyError("a link was decided by a rule that has no class; add it to `links`")
    classes = pa.array(list(_OF_RULE.values())).take(places)
    sure = pc.and_(pc.equal(classes, "similar"), pc.greater_equal(probability, SURE))
    return pc.if_else(pc.fill_null(sure, False), "very_similar", classes)


def rates(
    units: pa.Table,
    rows: Mapping[str, pa.Table],
    universe: Sequence[str],
    keys: Sequence[str],
    k: int,
) -> dict[str, Any]:
    """Linkage rates of a release, as JSON values; None stands for what is hidden.

    `units` has `unit` and the keys as they are shown, one row per unit; `rows` has for each dataset
    a table of `unit` (each one of `units`) and `quality`, a row per row of the dataset's. Units
    found are counted
    for every dataset outside the `universe`: in it, everybody is found by definition.
    """
    listed = []
    for dataset, links in rows.items():
        place = _places(links[UNIT], units[UNIT])
        decided = _decided(place, _places(links["quality"], pa.array(list(QUALITY))), k)
        entry: dict[str, Any] = {"dataset": dataset, "links": decided}
        if dataset not in universe:
            found = np.zeros(units.num_rows, bool)
            found[place] = True
            entry |= _found(units, found, keys, k)
            if entry["found"] is None and len(place) in (found.sum(), *range(k)):
                # as many rows as units found, or few: their number would give the other one back
                entry["links"] = {"all": None, "by_quality": dict.fromkeys(QUALITY)}
        listed.append(entry)
    return {"k": k, "units": units.num_rows, "datasets": listed}


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _places(column: Any, of: Any) -> Integers:
    """At which place of a column each value stands."""
    places: Integers = pc.index_in(_whole(column), value_set=_whole(of)).to_numpy()
    return places


def _decided(place: Integers, quality: Integers, k: int) -> dict[str, Any]:
    """How many links are of each class; a class with fewer than k units is hidden."""
    numbers = np.bincount(quality, minlength=len(QUALITY))
    linked = np.zeros((len(QUALITY), int(place.max(initial=0)) + 1), bool)
    linked[quality, place] = True
    units = linked.sum(axis=1)
    hidden = _few(units, k)
    while hidden.any() and (hidden.sum() < 2 or numbers[hidden].sum() < k):
        rest = np.flatnonzero(~hidden & (numbers > 0))
        if not len(rest):
            hidden[:] = True  # zeros beside a known total would give the last one back
            break
        hidden[rest[np.argmin(numbers[rest])]] = True
    told = zip(QUALITY, numbers.tolist(), hidden.tolist(), strict=True)
    return {"all": len(place), "by_quality": {name: None if h else n for name, n, h in told}}


def _found(units: pa.Table, found: Flags, keys: Sequence[str], k: int) -> dict[str, Any]:
    """Units found, over all and by the classes of each key."""
    total, together = len(found), int(found.sum())
    few = 0 < together < k or 0 < total - together < k
    return {
        **_rate(total, together, hidden=few),
        "by": {key: _subgroups(units[key], found, k, hidden=few) for key in keys},
    }


def _subgroups(column: Any, found: Flags, k: int, *, hidden: bool) -> list[dict[str, Any]]:
    """The rate of each class of a key. Where a class has fewer than k units, as those may from whom
    something is withheld, nothing is told about this key."""
    names, sizes, hits = _by_class(column, found)
    if _few(sizes, k).any():
        return [{"class": name, "units": None, "found": None, "share": None} for name in names]
    flags = np.ones(len(sizes), bool) if hidden else _hidden(sizes, hits, k)
    return [
        {"class": name, **_rate(size, hit, hidden=flag)}
        for name, size, hit, flag in zip(
            names, sizes.tolist(), hits.tolist(), flags.tolist(), strict=True
        )
    ]


def _rate(units: int, found: int, *, hidden: bool) -> dict[str, Any]:
    return {
        "units": units,
        "found": None if hidden else found,
        "share": None if hidden or not units else round(found / units, 4),
    }


def _by_class(column: Any, found: Flags) -> tuple[list[str], Integers, Integers]:
    """The classes of a key in order, the units in each and how many of them were found."""
    encoded = _whole(column).dictionary_encode()
    codes, names = encoded.indices.to_numpy(), encoded.dictionary.to_pylist()
    order = np.argsort(names)
    sizes = np.bincount(codes, minlength=len(names))[order]
    hits = np.bincount(codes[found], minlength=len(names))[order]
    return [names[place] for place in order.tolist()], sizes, hits


def _few(counts: Integers, k: int) -> Flags:
    few: Flags = (counts > 0) & (counts < k)
    return few


def _hidden(sizes: Integers, found: Integers, k: int) -> Flags:
    """Which classes of a key to hide when their sizes and the sum of `found` are known.

    With all hidden, a count may be any of min(its class, the other classes, all found, all missed)
    + 1 values; each of these four is k at least when this is asked, so that there is an end.
    """
    hidden = _few(found, k) | _few(sizes - found, k)
    while hidden.any() and not _protected(sizes, found, hidden, k):
        rest = np.flatnonzero(~hidden)
        hidden[rest[np.argmin(sizes[rest])]] = True
    return hidden


def _protected(sizes: Integers, found: Integers, hidden: Flags, k: int) -> bool:
    """Whether each hidden count may be any of k + 1 values at least, for who knows the sizes of the
    hidden classes and how many were found in them together."""
    inside, together = sizes[hidden], int(found[hidden].sum())
    lowest = np.maximum(0, together - (inside.sum() - inside))
    highest = np.minimum(inside, together)
    return bool((highest - lowest >= k).all())
