"""The charts that people know from Fellegi-Sunter linkage, each drawn from its figures.

Weights are in bits throughout: logarithms (base 2) of odds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from linkage import figures
from linkage.drawing import BLUE, GREEN, GRID, LIGHT, ORANGE, PALE, Drawing
from linkage.explained import BIT, LEVELS, Step, said
from linkage.matching import Model
from linkage.plans import FilePlan

WIDE: Final = 860
_ROW: Final = 22
_FITS: Final = 54
"""Characters that there is room for beside the bars."""
_LOW, _HIGH = figures.LIMITS
_LEFT: Final = 60.0
_PER_BIT: Final = (WIDE - 80) / (_HIGH - _LOW)


@dataclass(frozen=True)
class Chart:
    """A heading, a paragraph that says how to read it, a drawing, and its figures."""

    title: str
    words: str
    drawing: Drawing
    head: Sequence[str]
    rows: Sequence[Sequence[object]]


def _named(name: str) -> str:
    """A comparison's name for people: `text:occupation` is the text called occupation."""
    kind, _, column = name.partition(":")
    return f"{column} ({kind})" if column else kind.replace("_", " ")


def _percent(share: float) -> str:
    if 0 < share < 1e-4:
        return f"1 in {1 / share:,.0f}"
    return f"{share:.2%}" if share < 0.995 else f"{share:.4%}"


def _bits(probability: float) -> float:
    return float(np.log2(probability / (1.0 - probability)))


def _place(bits: float) -> float:
    """Where odds are drawn."""
    return _LEFT + (bits - _LOW) * _PER_BIT


def _odds_axis(drawing: Drawing, bottom: float, words: str) -> None:
    for bits in range(_LOW, _HIGH + 1, 5):
        drawing.text(_place(bits), bottom + 18, str(bits), anchor="middle")
    drawing.text(WIDE / 2, bottom + 38, words, anchor="middle")


def learned(model: Model) -> str:
    """The prior and the class of households, in words."""
    known = model.weights
    words = (
        f"Of {known.space:,.0f} pairs of rows some {known.matches:,.0f} are reckoned to be one "
        f"unit, one in {known.space / known.matches:,.0f}: before anything is compared, the weight "
        f"is {known.prior / BIT:.1f} bits. "
    )
    if not known.household:
        return words + "No class of household members was needed, or could be told apart."
    return words + (
        f"Another {known.household:,.0f} pairs are reckoned to be members of one household, who "
        "share much and are not one person; what that explains is taken off."
    )


def weights(model: Model) -> Chart:
    """What each level weighs: log2(m/u)."""
    known = model.weights
    rows = [
        (one.name, LEVELS.get(word, word), float(table[0, n] - table[2, n]) / BIT)
        for one, table in zip(known.comparisons, known.tables, strict=True)
        for n, word in enumerate(one.words)
        if n
    ]
    drawing = Drawing(
        "weights",
        "What agreement weighs",
        "; ".join(f"{_named(name)}, {words}: {bits:+.1f}" for name, words, bits in rows),
        WIDE,
        _ROW * (len(rows) + 1) + 10,
    )
    _diverging(drawing, [("prior", "two rows taken blindly", known.prior / BIT), *rows])
    return Chart(
        "What agreement weighs",
        learned(model) + " Each field then adds what its bar says: 1 bit doubles the odds, 10 are "
        "a factor of a thousand. Bars are for usual values; agreement on a rare one weighs more, "
        "on a common one less.",
        drawing,
        ("field", "how it compares", "weight"),
        [(_named(name), words, f"{bits:+.2f}") for name, words, bits in rows],
    )


def _diverging(drawing: Drawing, rows: Sequence[tuple[str, str, float]]) -> None:
    """Bars to the right of zero for what speaks for one unit, to the left for the opposite."""
    low = min(0.0, *(bits for *_, bits in rows))
    scale = (WIDE - 500) / (max(1.0, *(bits for *_, bits in rows)) - low)
    zero = 445 - low * scale
    before = ""
    for n, (name, words, bits) in enumerate(rows):
        y, end = _ROW * n + 5, zero + bits * scale
        fill = PALE if name == "prior" else BLUE if bits >= 0 else ORANGE
        drawing.text(0, y + 15, _named(name) if name != before else "", bold=True)
        drawing.text(120, y + 15, words)
        drawing.bar(min(zero, end), y + 3, abs(bits) * scale, _ROW - 6, fill)
        if bits >= 0:
            drawing.text(end + 5, y + 15, f"{bits:+.1f}")
        else:
            drawing.text(end - 5, y + 15, f"{bits:+.1f}", anchor="end")
        before = name
    drawing.line((zero, 0), (zero, drawing.height), PALE)


def rates(model: Model) -> Chart:
    """How often each level occurs: m, of households, u."""
    known = model.weights
    classes = [("one unit (m)", BLUE, known.m), ("strangers (u)", ORANGE, known.u)]
    if known.household:
        classes.insert(1, ("one household", GREEN, known.h))
    rows = [
        (one.name, LEVELS.get(word, word), [float(rate[place][n]) for *_, rate in classes])
        for place, one in enumerate(known.comparisons)
        for n, word in enumerate(one.words)
        if n
    ]
    tall = 7 * len(classes) + 9
    drawing = Drawing(
        "rates",
        "How often fields agree",
        "How often each level of each field occurs between rows of one unit and between rows of "
        "strangers; the figures are in the table below.",
        WIDE,
        tall * len(rows) + 40,
    )
    drawing.legend(445, 4, 140, [(words, fill) for words, fill, _ in classes])
    before = ""
    for n, (name, words, shares) in enumerate(rows):
        y = 30 + tall * n
        if name != before:
            drawing.line((0, y - 3), (WIDE, y - 3))
            drawing.text(0, y + 14, _named(name), bold=True)
        drawing.text(120, y + 14, words)
        for place, share in enumerate(shares):
            drawing.bar(445, y + 3 + 7 * place, share * (WIDE - 455), 6, classes[place][1])
        before = name
    return Chart(
        "How often fields agree",
        "The two probabilities behind every weight: how often a level occurs between two rows of "
        "one unit (m) and between rows of strangers (u). The weight is log2(m/u).",
        drawing,
        ("field", "how it compares", *(words for words, *_ in classes)),
        [(_named(name), words, *map(_percent, shares)) for name, words, shares in rows],
    )


def waterfall(steps: Sequence[Step], values: Mapping[str, str], words: str) -> Chart:
    """One pair, from two rows taken blindly to its probability; `values` by name of a step."""
    ends = [0.0, *np.cumsum([step.bits for step in steps]).tolist()]
    in_all = f"{ends[-1]:+.1f} bits, probability {said(1.0 / (1.0 + 2.0 ** -ends[-1]))}"
    told = "; ".join(f"{_named(step.name)}, {step.words}: {step.bits:+.1f}" for step in steps)
    tall = _ROW + (18 if values else 0)
    title = "How one pair got its weight"
    drawing = Drawing(
        "waterfall", title, f"{told}; in all {in_all}", WIDE, tall * len(steps) + _ROW + 20
    )
    scale = (WIDE - 500) / max(max(ends) - min(ends), 1.0)
    zero = 445 - min(ends) * scale
    drawing.line((zero, 0), (zero, drawing.height), GRID)
    for n, (step, begin, end) in enumerate(zip(steps, ends, ends[1:], strict=False)):
        y, top = tall * n + 5, zero + max(begin, end) * scale
        drawing.text(0, y + 15, _named(step.name), bold=True)
        drawing.text(120, y + 15, step.words)
        drawing.text(120, y + 32, _fitting(values.get(step.name, "")), fill=PALE, size=12)
        fill = PALE if step.name == "prior" else BLUE if step.bits >= 0 else ORANGE
        drawing.bar(zero + min(begin, end) * scale, y + 3, abs(step.bits) * scale, _ROW - 6, fill)
        drawing.text(top + 4, y + 15, f"{step.bits:+.1f}")
        drawing.line((zero + end * scale, y + 3), (zero + end * scale, y + tall + 3), PALE)
    drawing.text(0, tall * len(steps) + 27, f"in all {in_all}", bold=True)
    return Chart(
        title,
        f"{words} Each bar begins where the one above it ended; zero is even odds.",
        drawing,
        ("field", "how it compares", "adds", "sum"),
        [
            (_named(step.name), step.words, f"{step.bits:+.2f}", f"{end:+.2f}")
            for step, end in zip(steps, ends[1:], strict=True)
        ],
    )


def _fitting(text: str) -> str:
    return text if len(text) <= _FITS else f"{text[: _FITS - 1]}…"


def histogram(scores: figures.Scores, plan: FilePlan) -> Chart:
    """Pairs by the odds of their probability in the end."""
    every = [
        ("neither", PALE, scores.neither),
        ("review", ORANGE, scores.review),
        ("linked", BLUE, scores.linked),
    ]
    drawing = Drawing(
        "scores",
        "How sure the pairs are",
        ", ".join(f"{int(counts.sum()):,} {words}" for words, _, counts in every),
        WIDE,
        360,
    )
    _stacked(drawing, [(fill, counts) for _, fill, counts in every], bottom=290.0, tall=260.0)
    drawing.mark(_place(_bits(plan.review)), 20, 290, f"review {plan.review}", "end")
    drawing.mark(_place(_bits(plan.link)), 20, 290, f"link {plan.link}", "start")
    _odds_axis(drawing, 290, "odds of being one, in bits (0 is even)")
    drawing.legend(_LEFT, 340, 120, [(words, fill) for words, fill, _ in every])
    return Chart(
        "How sure the pairs are",
        "Every pair that was weighed to the end, by the odds of its probability; pairs that could "
        "not reach them were dropped on the way. Few in the middle is good. The count grows "
        "tenfold from line to line. Links by number are not in it.",
        drawing,
        ("bits from", *(words for words, *_ in every)),
        [
            (_LOW + n, *(f"{int(counts[n]):,}" for *_, counts in every))
            for n in range(_HIGH - _LOW)
            if any(counts[n] for *_, counts in every)
        ],
    )


def _stacked(
    drawing: Drawing, every: Sequence[tuple[str, Any]], bottom: float, tall: float
) -> None:
    """Counts on top of one another, by bits; ten times as many is a line higher."""
    whole = np.cumsum([counts for _, counts in every], axis=0)
    decades = int(np.ceil(np.log10(max(int(whole.max()), 10))))
    for decade in range(decades + 1):
        y = bottom - tall * decade / decades
        drawing.across(y, _LEFT, WIDE - 20, f"{10**decade:,}")
    heights = np.log10(np.maximum(whole, 1)) * tall / decades
    heights[(heights == 0) & (whole > 0)] = 2.0  # a single pair shows too
    below = np.zeros(heights.shape[1])
    for (fill, counts), top in zip(every, heights, strict=True):
        for n in np.flatnonzero(counts).tolist():
            drawing.bar(
                _place(_LOW + n), bottom - top[n], _PER_BIT - 1, max(top[n] - below[n], 1.5), fill
            )
        below = top


def blocking(told: Sequence[figures.Blocking], missed: int, what: str) -> Chart:
    """What each rule costs and brings, counted on pairs that are `what`."""
    title = "What each blocking rule adds"
    drawing = Drawing(
        "blocking",
        title,
        "; ".join(
            f"{one.rule}: {one.candidates:,} candidates, {one.found:,} {what} found, "
            f"{one.alone:,} by no other rule"
            for one in told
        ),
        WIDE,
        28 * len(told) + 40,
    )
    drawing.text(250, 15, "candidates", bold=True)
    drawing.text(550, 15, f"{what} found, and by it alone", bold=True)
    dearest = max(1, *(one.candidates for one in told))
    most = max(1, *(one.found for one in told))
    for n, one in enumerate(told):
        y, cost, found = 28 + 28 * n, one.candidates / dearest * 200, one.found / most * 170
        drawing.text(0, y + 15, one.rule)
        drawing.bar(250, y + 2, cost, _ROW - 4, PALE)
        drawing.text(256 + cost, y + 15, f"{one.candidates:,}")
        drawing.bar(550, y + 2, found, _ROW - 4, LIGHT)
        drawing.bar(550, y + 2, one.alone / most * 170, _ROW - 4, BLUE)
        drawing.text(556 + found, y + 15, f"{one.found:,}, {one.alone:,}")
    lost = f" {missed:,} {what} are found by no rule and can't be linked." if missed else ""
    return Chart(
        title,
        "Only rows that agree on all fields of a rule are compared. A rule earns its candidates by "
        f"{what} that no other rule finds (dark).{lost}",
        drawing,
        ("rule", "candidates", f"{what} found", "by it alone"),
        [(o.rule, f"{o.candidates:,}", f"{o.found:,}", f"{o.alone:,}") for o in told],
    )


def unlinkable(best: Sequence[Any], plan: FilePlan) -> Chart:
    """How sure a row could be at best, by file; `best` are bits per row."""
    limit, grid = _bits(plan.link), np.arange(_LOW, _HIGH + 1)
    lines = [
        (f"file {name}", stroke, np.searchsorted(np.sort(bits), grid) / max(len(bits), 1))
        for name, stroke, bits in zip("AB", (BLUE, ORANGE), best, strict=False)
    ]
    said = "; ".join(
        f"{_percent(float(np.mean(bits < limit)))} of {name}"
        for (name, *_), bits in zip(lines, best, strict=True)
    )
    title = "Rows that say too little"
    drawing = Drawing(
        "unlinkable", title, f"Below the threshold for links at their best: {said}.", WIDE, 330
    )
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawing.across(260 - 230 * share, _LEFT, WIDE - 20, f"{share:.0%}")
    for _, stroke, shares in lines:
        drawing.path(
            [
                (_place(bits), 260 - 230 * share)
                for bits, share in zip(grid.tolist(), shares.tolist(), strict=True)
            ],
            stroke,
        )
    drawing.mark(_place(limit), 20, 260, f"link {plan.link}")
    _odds_axis(drawing, 260, "odds that a row can reach at best, in bits")
    drawing.legend(_LEFT, 310, 80, [(name, stroke) for name, stroke, _ in lines])
    return Chart(
        title,
        "Each row beside another that says the very same: the surest that it could ever be. What "
        "lies left of the threshold can't be linked by likeness alone, whatever the other file "
        f"holds: {said}.",
        drawing,
        ("bits", *(f"{name}, rows below" for name, *_ in lines)),
        [
            (int(bits), *(_percent(float(shares[n])) for *_, shares in lines))
            for n, bits in enumerate(grid)
            if bits % 5 == 0
        ],
    )


def calibrated(told: Mapping[str, Any]) -> Chart:
    """Stated against true shares."""
    bins, kinds = told["bins"], ("stated", "true")
    title = "What a stated probability is worth"
    drawing = Drawing(
        "calibration",
        title,
        "; ".join(
            f"{one['pairs']:,} pairs, stated {one['stated']:.3f}, true {one['true']:.3f}"
            for one in bins
        ),
        WIDE,
        450,
    )
    left, bottom, side = 70, 400, 370
    for at in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        drawing.across(bottom - side * at, left, left + side, f"{at:.1f}")
        drawing.text(left + side * at, bottom + 18, f"{at:.1f}", anchor="middle")
    drawing.line((left, bottom), (left + side, bottom - side), PALE, dashed=True)
    for one in bins:
        x, y = left + side * one["stated"], bottom - side * one["true"]
        drawing.dot(x, y, BLUE)
        drawing.text(x + 9, y + 4, f"{one['pairs']:,}", size=12)
    drawing.text(left + side / 2, bottom + 40, "stated probability", anchor="middle")
    drawing.text(0, 16, "true share")
    return Chart(
        title,
        "Pairs put together by what was stated, each dot against the share of them that is true; "
        "on the dashed line both are the same. They differ by "
        f"{_percent(told['mean_difference'] or 0.0)} on average.",
        drawing,
        ("from", "to", "pairs", *kinds),
        [
            (
                one["from"],
                one["to"],
                f"{one['pairs']:,}",
                f"{one['stated']:.4f}",
                f"{one['true']:.4f}",
            )
            for one in bins
        ],
    )
