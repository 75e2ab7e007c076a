"""What a file tells about those in it: no service, no keys, nothing leaves this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from api.commands import BadInput, app, the_screen

if TYPE_CHECKING:
    from policies.disclosure.assessment import Population
    from policies.disclosure.encoding import Coded, Keys

ABSENT: Final = ("", "*", "_suppressed")
"""Texts that are missing keys: nothing, the usual star, and what our own releases write."""


class MissingKey(StrEnum):
    """What a missing key is."""

    CATEGORY = "category"
    WILDCARD = "wildcard"


class RiskMethod(StrEnum):
    """How individual risk is worked out."""

    APPROXIMATE = "approximate"
    EXACT = "exact"


@app.command()
def assess(
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet file.")],
    keys: Annotated[str, typer.Option(help="What an intruder may know: columns, by commas.")],
    unit: Annotated[
        str | None, typer.Option(help="Column that names whom a row is about; each row is one.")
    ] = None,
    sensitive: Annotated[
        str | None, typer.Option(help="What nobody should learn: columns, by commas.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Column of sampling weights.")] = None,
    household: Annotated[str | None, typer.Option(help="Column that names the household.")] = None,
    missing: Annotated[
        MissingKey,
        typer.Option(
            help="A missing key (empty, * or _suppressed) is a category of its own, or matches all."
        ),
    ] = MissingKey.CATEGORY,
    k: Annotated[int, typer.Option(help="How many should share a combination.", min=1)] = 5,
    subset: Annotated[
        list[str] | None, typer.Option(help="Some of the keys, to count by themselves; repeat it.")
    ] = None,
    population: Annotated[
        Path | None, typer.Option(help="File of the whole population, with the same keys.")
    ] = None,
    c: Annotated[float, typer.Option(help="The constant of recursive (c, l)-diversity.")] = 2.0,
    ordered: Annotated[
        bool, typer.Option("--ordered", help="t-closeness with ordered distances too.")
    ] = False,
    risk: Annotated[
        RiskMethod, typer.Option(help="Individual risk of 3 and more: approximate, or exact.")
    ] = RiskMethod.APPROXIMATE,
    fraction: Annotated[float, typer.Option(help="The sampling fraction of DIS.")] = 0.01,
    largest: Annotated[
        int | None,
        typer.Option(help="Largest set of keys searched for special uniques; all up to 10.", min=1),
    ] = None,
    amount: Annotated[
        str | None, typer.Option(help="Column of amounts that one enterprise could dominate.")
    ] = None,
    dominance: Annotated[
        str, typer.Option(help="The (n, k) rule: n make up more than k percent.")
    ] = "2,85",
    p: Annotated[float, typer.Option(help="The p% rule: the second largest comes within p%.")] = 10,
    original: Annotated[
        Path | None,
        typer.Option(help="File this one was made from, the same rows: what protection cost."),
    ] = None,
) -> None:
    """Say what a file tells about those in it: k, l, t, risks, special uniques."""
    from policies.disclosure.assessment import Question
    from policies.disclosure.assessment import assess as assessed
    from policies.disclosure.diversity import Sensitive
    from policies.disclosure.frequencies import Missing
    from policies.disclosure.individual import Method

    others = (unit, weights, household, amount)
    columns = _Columns(file, _names("--keys", keys), _names("--sensitive", sensitive), others)
    n, percent = _rule(dominance)
    table = columns.read()
    asked = Question(
        units=columns.coded(table, unit),
        sensitive={
            name: Sensitive.of(columns.coded(table, name), ordered=ordered)
            for name in columns.sensitive
        },
        weights=columns.numbers(table, weights),
        household=columns.coded(table, household),
        population=columns.population(population, unit),
        missing=Missing(missing.value),
        k=k,
        subsets=[_names("--subset", one) for one in subset or []],
        c=c,
        method=Method(risk.value),
        fraction=fraction,
        largest=largest,
        amounts=columns.numbers(table, amount),
        n=n,
        percent=percent,
        p=p,
        **columns.before(original, amount),
    )
    told = assessed(_keys(table, columns.keys), asked)
    if the_screen().as_json:
        the_screen().answer(told)
        return
    the_screen().fields(_for_people(told))


def _names(option: str, given: str | None) -> list[str]:
    """Column names that are given by commas."""
    if given is None:
        return []
    found = [one.strip() for one in given.split(",")]
    if not all(found):
        raise BadInput(f"{option} needs the names of columns with a comma between them.")
    return found


def _rule(given: str) -> tuple[int, float]:
    """n and k of the (n, k) rule."""
    try:
        n, percent = given.split(",")
        return int(n), float(percent)
    except ValueError:
        raise BadInput("--dominance needs two numbers, n and k, as 2,85.") from None


def _keys(table: Any, names: Sequence[str]) -> "Keys":
    from policies.disclosure.encoding import Keys

    return Keys.of(table, names, absent=ABSENT)


@dataclass(frozen=True)
class _Columns:
    """Which columns of a file mean what."""

    file: Path
    keys: list[str]
    sensitive: list[str]
    others: tuple[str | None, ...]

    def read(self) -> Any:
        """What is named, and no more."""
        from linkage import files

        others = [one for one in self.others if one is not None]
        for role in (*self.sensitive, *others):
            if role in self.keys:
                raise BadInput(f"{role} is among the keys and something else too; name it once.")
        return files.read(self.file, [*self.keys, *self.sensitive, *others], distinct=others)

    def coded(self, table: Any, name: str | None) -> "Coded | None":
        """A column that isn't a key; an empty text is missing."""
        from policies.disclosure.encoding import coded

        return None if name is None else coded(table[name])

    def numbers(self, table: Any, name: str | None) -> Any:
        """A column of numbers."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if name is None:
            return None
        column = table[name]
        if pa.types.is_string(column.type):  # an empty text is missing
            empty = pc.equal(column, "")
            column = pc.if_else(empty, pa.scalar(None, column.type), column)
        try:
            found = pc.cast(column, pa.float64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise BadInput(
                f"The column {name} isn't all numbers (as 12.5); put right what isn't."
            ) from None
        return found.to_numpy(zero_copy_only=False)

    def before(self, file: Path | None, amount: str | None) -> dict[str, Any]:
        """The same keys, and amounts, in the file that this one was made from."""
        from linkage import files

        if file is None:
            return {}
        own = [] if amount is None else [amount]
        table = files.read(file, [*self.keys, *own], distinct=own)
        return {
            "original": _keys(table, self.keys),
            "original_amounts": self.numbers(table, amount),
        }

    def population(self, file: Path | None, unit: str | None) -> "Population | None":
        """The population file: the same keys, and the unit if it has it."""
        from linkage import files
        from policies.disclosure.assessment import Population

        if file is None:
            return None
        own = [unit] if unit is not None and unit in files.columns_of(file) else []
        table = files.read(file, [*self.keys, *own], distinct=own)
        return Population(_keys(table, self.keys), self.coded(table, own[0]) if own else None)


def _for_people(told: Mapping[str, Any]) -> dict[str, Any]:
    """The same in a few lines, rounded."""
    units = "" if told["units"] == told["rows"] else f", of {told['units']:,} units"
    hidden = f"; {told['suppressed']:,} show no key" if told["suppressed"] else ""
    number, average = told["classes"], told["average_class_size"]
    shown = {
        "rows": f"{told['rows']:,}{units}{hidden}",
        "combinations": f"{number:,} of {', '.join(told['keys'])}; {average:,.2f} records in each",
        "k": _small(told),
    }
    for one in told["subsets"]:
        shown[f"k of {', '.join(one['keys'])}"] = _small(one)
    for name, one in told["sensitive"].items():
        shown[f"l-diversity of {name}"] = (
            f"{one['l_distinct']} distinct, {one['l_entropy']:.2f} by entropy, "
            f"{one['l_recursive']} recursive (c = {one['c']:g})"
        )
        line = "" if one["t_ordered"] is None else f", {one['t_ordered']:.3f} in order"
        shown[f"t-closeness of {name}"] = f"{one['t']:.3f}{line}"
    shown["prosecutor risk"] = _risk(told["prosecutor_risk"])
    source = {"file": "the file as the population", "weights": "the population by weights"}
    known = source.get(told["journalist_risk"]["from"], "the population file")
    shown["journalist risk"] = f"{_risk(told['journalist_risk'])}, with {known}"
    shown["marketer risk"] = _share(told["marketer_risk"])
    if told["k_map"] is not None:
        lost = told["not_in_population"]
        shown["k-map"] = f"{told['k_map']:,}" + (f"; {lost:,} aren't there" if lost else "")
    one = told["individual_risk"]
    shown["individual risk"] = f"{_risk(one)}; {one['global']:,.1f} expected to be named"
    if told["household_risk"]:
        shown["household risk"] = _risk(told["household_risk"])
    shown |= _special(told["suda"])
    if told["dominance"]:
        shown["dominance"] = _dominant(told["dominance"])
    if told["utility"]:
        one = told["utility"]
        shown["lost"] = f"{_share(one['mean_loss'])}; {_share(one['mean_entropy'])} by entropy"
    return {**shown, "discernibility": f"{told['discernibility']:,}"}


def _dominant(one: Mapping[str, Any]) -> str:
    """Cells with too large contributors."""
    return (
        f"of {one['cells']:,} combinations {one['dominated']:,} where {one['n']} have more than "
        f"{one['percent']:g}%, {one['within_p']:,} where the second comes within {one['p']:g}%"
    )


def _small(one: Mapping[str, Any]) -> str:
    """k, and how many are below what is wanted."""
    return (
        f"{one['k']:,}; {one['sample_uniques']:,} alone, {one['below_k']:,} with fewer than "
        f"{one['below']}"
    )


def _special(found: Mapping[str, Any]) -> dict[str, str]:
    """Special uniques."""
    parts = sorted(found["contributions"].items(), key=lambda one: -one[1])
    return {
        "special uniques": (
            f"{sum(found['sizes']):,}; score at most {found['max']:,.0f}, {found['mean']:,.2f} on "
            f"average; DIS {found['dis']['file']:.4f}"
        ),
        "to which keys add": ", ".join(f"{key} {part:.1f}%" for key, part in parts),
    }


def _risk(one: Mapping[str, float]) -> str:
    return f"at most {_share(one['max'])}, {_share(one['mean'])} on average"


def _share(value: float) -> str:
    return f"{100 * value:.3g}%"
