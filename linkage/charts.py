"""What a linkage learned and how sure it is, as a page of charts that anybody can open.

The page stands alone: no script, nothing loaded from elsewhere, its one style sheet named by hash
in its own Content-Security-Policy. Each chart has a text alternative and its figures in a table. No
value of any row is in the page of a linkage; that of one pair has what it is given.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

import numpy as np

from linkage import figures, plots
from linkage.drawing import element
from linkage.explained import Step, explain
from linkage.matching import Matched
from linkage.plans import FilePlan
from linkage.truth import Truth, calibration

_STYLE: Final = """
body { font: 16px/1.5 sans-serif; color: #1a1a1a; background: #ffffff; max-width: 56rem;
  margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; margin: 0.5rem 0; }
th, td { border-bottom: 1px solid #d9d9d9; padding: 0.15rem 0.7rem; text-align: left; }
summary { cursor: pointer; }
"""


def page(matched: Matched, plan: FilePlan, truth: Truth | None = None) -> str:
    """The page of a linkage; with the truth also what its probabilities were worth."""
    a, b = matched.encoded.a.rows, matched.encoded.b.rows
    of = f"{a:,} rows" if matched.encoded.one_file else f"{a:,} and {b:,} rows"
    number, fuzzy, review = np.bincount(matched.rule, minlength=3).tolist()
    lead = (
        f"Of {of}, {number + fuzzy:,} pairs were linked, {number:,} of them by number; {review:,} "
        f"pairs are for review. A pair is a link from the probability {plan.link} on, and for "
        f"review from {plan.review} on."
    )
    return _page("A linkage in charts", lead, _charts(matched, plan, truth))


def case_page(title: str, outcome: str, steps: Sequence[Step], values: Mapping[str, str]) -> str:
    """The page of one pair; `values` says by field what the two rows hold."""
    return _page(title, outcome, [case(steps, values)] if steps else [])


def case(steps: Sequence[Step], values: Mapping[str, str]) -> plots.Chart:
    """The waterfall of one pair."""
    return plots.waterfall(steps, values, "From two rows taken blindly to the end.")


def _charts(matched: Matched, plan: FilePlan, truth: Truth | None) -> Iterable[plots.Chart]:
    model = matched.model
    if model is None:
        return
    yield plots.weights(model)
    yield plots.rates(model)
    pair = figures.least_sure(matched)
    if pair is not None:
        left, right = int(matched.left[pair]), int(matched.right[pair])
        steps = explain(matched.encoded, model, left, right).steps(matched.probability[pair])
        words = "The link that is least sure of all; `schakel explain` shows the same of any pair."
        yield plots.waterfall(steps, {}, words)
    yield plots.histogram(figures.scores(matched), plan)
    told, missed = figures.blocking(matched, model, *figures.to_be_found(matched, truth))
    yield plots.blocking(told, missed, "true pairs" if truth else "links")
    yield plots.unlinkable(figures.best_possible(matched.encoded, model), plan)
    if truth is not None:
        right_ = truth.right(matched.pairs.left, matched.pairs.right)
        yield plots.calibrated(calibration(matched.chances, right_))


def _page(title: str, lead: str, charts: Iterable[plots.Chart]) -> str:
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = (
        '<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{element('title', escape(title))}\n{element('style', _STYLE)}\n"
    )
    parts = [element("h1", escape(title)), element("p", escape(lead)), *map(_section, charts)]
    body = element("main", "\n".join(parts))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n{head}</head>\n<body>\n{body}\n</body>\n'
        "</html>\n"
    )


def _section(chart: plots.Chart) -> str:
    head = "".join(element("th", escape(name), scope="col") for name in chart.head)
    rows = "\n".join(
        element("tr", "".join(element("td", escape(str(cell))) for cell in row))
        for row in chart.rows
    )
    table = element("table", element("thead", element("tr", head)) + element("tbody", rows))
    parts = [
        element("h2", escape(chart.title)),
        element("p", escape(chart.words)),
        chart.drawing.svg(),
        element("details", element("summary", "The figures") + table),
    ]
    return element("section", "\n".join(parts))
