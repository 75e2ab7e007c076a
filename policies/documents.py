"""How a release's documents look: data dictionary, disclosure report, README.

Pages stand alone (no script, no other file), mark the language of every text, and say in words what
the picture shows. Every text that comes from outside is escaped.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from policies.coarsening import LANGUAGES, MISSING_CODES, OBSERVED, STATUS, Language

_STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1b1b; background: #fff; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 2rem; }
th, td { border-bottom: 1px solid #767676; padding: .4rem .6rem; text-align: left;
  vertical-align: top; }
caption { text-align: left; font-weight: 600; padding: .4rem 0; }
code { overflow-wrap: anywhere; }
details { margin: .3rem 0; }
svg { max-width: 100%; height: auto; }
"""


def _page(title: str, body: Iterable[str]) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"
    )


def _table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>\n<caption>{escape(caption)}</caption>\n<tr>{head}</tr>\n{body}\n</table>"


def _texts(texts: Mapping[str, str]) -> str:
    """The same text in each language there is, each marked with its own."""
    return "<br>".join(
        f'<span lang="{escape(lang)}">{escape(texts[lang])}</span>'
        for lang in (*LANGUAGES, *sorted(set(texts) - set(LANGUAGES)))
        if lang in texts
    )


def _code_list(codes: Mapping[str, Mapping[str, str]], numbers: Mapping[str, int]) -> str:
    """Codes with their titles, and the number that stands for one in Stata and SPSS where it is
    another."""
    listed = dict.fromkeys([*codes, *numbers])
    if not listed:
        return ""
    rows = "".join(
        f"<dt><code>{escape(code)}</code>{_number(code, numbers)}</dt>"
        f"<dd>{_texts(codes.get(code, {}))}</dd>"
        for code in sorted(listed)
    )
    return f"<details><summary>{len(listed)} codes</summary><dl>{rows}</dl></details>"


def _number(code: str, numbers: Mapping[str, int]) -> str:
    return f" (Stata, SPSS: {numbers[code]})" if str(numbers.get(code, code)) != code else ""


_PROGRAMS: Mapping[str, str] = {"dta": "Stata", "sav": "SPSS"}


def _other_names(names: Mapping[str, str]) -> str:
    """What a column is called where a program doesn't allow its name."""
    return "".join(
        f"<br>{_PROGRAMS[ending]}: <code>{escape(name)}</code>"
        for ending, name in sorted(names.items())
    )


def dictionary_page(dictionary: Mapping[str, Any]) -> str:
    """The data dictionary (as `dictionary.json` has it) to read."""
    body = [f"<p>{_texts(dictionary['title'])}</p>"]
    for table in dictionary["tables"]:
        rows = [
            (
                f"<code>{escape(item['name'])}</code><br>{escape(item['type'])}"
                + _other_names(item.get("names", {})),
                f"status of <code>{escape(item['status_of'])}</code>"
                if "status_of" in item
                else _texts(item["title"]),
                escape(" ".join(filter(None, item.get("source", {}).values()))),
                _texts(item.get("rule", {})) + _code_list(item["codes"], item.get("numbers", {})),
            )
            for item in table["variables"]
        ]
        header = ("Column", "Title", "Source dataset and variable", "Coarsening and codes")
        body.append(_table(f"Table {table['name']}, {table['rows']} rows", header, rows))
    missing = [
        (f"<code>{escape(code)}</code>", _texts(texts))
        for code, texts in dictionary["missing"].items()
    ]
    body.append(_table("Why a value is missing", ("Code", "Meaning"), missing))
    body.append(
        "<p>A column of text holds the code itself. A column of numbers is empty there, and the "
        f"column with the same name and <code>{STATUS}</code> holds the code.</p>"
        f"<p>{escape(_STATISTICAL)}</p>"
        f"<p>Places and activities: {escape(dictionary['classifications'])}.</p>"
    )
    return _page("Data dictionary", body)


_STATISTICAL = (
    "In Stata and SPSS files, columns with known codes are numbers with value labels. Numbers say "
    "why they are missing: .a (Stata), -1 or -999999991 (SPSS) for not in source, .b, -2 or "
    "-999999992 for not linked, .c, -3 or -999999993 for suppressed; text holds the code itself, "
    f"and columns that end in {STATUS} aren't needed and aren't there."
)

_SUMMARY: Mapping[Language, str] = {
    "en": "Every combination of known values is shared by at least {smallest} {units}.",
    "nl": "Elke combinatie van bekende waarden wordt gedeeld door minstens {smallest} {units}.",
    "fr": "Chaque combinaison de valeurs connues est partagée par au moins {smallest} {units}.",
    "de": "Jede Kombination bekannter Werte wird von mindestens {smallest} {units} geteilt.",
}
_UNITS: Mapping[str, Mapping[Language, str]] = {
    "person": {"en": "persons", "nl": "personen", "fr": "personnes", "de": "Personen"},
    "household": {"en": "households", "nl": "huishoudens", "fr": "ménages", "de": "Haushalten"},
    "enterprise": {
        "en": "enterprises",
        "nl": "ondernemingen",
        "fr": "entreprises",
        "de": "Unternehmen",
    },
}


def report_page(report: Mapping[str, Any], title: Mapping[str, str]) -> str:
    """The disclosure report (as `report.json` has it) to read, with one picture."""
    scenario, hidden = report["scenario"], report["suppressed"]
    smallest = min(report["this_release"]["smallest_cell"], report["all_releases"]["smallest_cell"])
    names = _UNITS.get(report["unit_type"], dict.fromkeys(LANGUAGES, report["unit_type"]))
    said: dict[str, str] = {
        lang: _SUMMARY[lang].format(smallest=smallest, units=names[lang]) for lang in LANGUAGES
    }
    known = [
        f"{key} (changes)" if key in scenario["changing"] else key for key in scenario["known"]
    ]
    values = ", ".join(f"{key}: {number}" for key, number in sorted(hidden["values"].items()))
    facts = [
        ("Threshold k", report["k"]),
        (f"Units ({report['unit_type']})", report["units"]),
        ("Releases looked at, this one included", report["releases"]),
        ("Releases of other projects to the same organisations", report["releases_elsewhere"]),
        *(
            (f"Shown coarser than permitted: {key}", name)
            for key, name in sorted(report["coarser"].items())
        ),
        ("Smallest combination, this release", report["this_release"]["smallest_cell"]),
        ("Smallest combination, all releases together", report["all_releases"]["smallest_cell"]),
        ("Units with a value withheld", f"{hidden['units']} ({hidden['share']:.1%})"),
        ("Allowed share", f"{hidden['limit']:.1%}"),
        ("Values withheld", values or "none"),
        ("Units that stood out before that", report["before_suppression"]["units_at_risk"]),
        ("Known to the intruder", ", ".join(known)),
        ("Moments at which changing values are known", scenario["moments"]),
        ("Sensitive", ", ".join(scenario["sensitive"]) or "none named"),
        ("Identifiers found by the scanner", report["scanner"]["findings"]),
        *(
            (
                f"Deliveries of {name}",
                ", ".join(f"{one['generation']} ({one['mode']})" for one in ones),
            )
            for name, ones in report["deliveries"].items()
        ),
    ]
    body = [
        f"<p>{_texts(title)}</p>",
        f"<p><strong>{_texts(said)}</strong></p>",
        _picture(report),
        _table("Figures", ("", ""), [(escape(str(a)), escape(str(b))) for a, b in facts]),
        *_attack(report),
        *_holders(report["recipients_that_are_holders"]),
        *_changes(report["changes"]),
        *_measures(report),
        f"<h2>What isn't promised</h2><p>{_NOT_PROMISED}</p>",
        *_linkage(report.get("linkage", {})),
        *_population(report.get("population", [])),
    ]
    return _page("Disclosure report", body)


_ATTACKED: Mapping[Language, str] = {
    "en": "An intruder with an exact register who takes anybody that fits names {right} of the "
    "rows rightly; the measures allow {most} at most.",
    "nl": "Een indringer met een exact register die iemand kiest die past, benoemt {right} van de "
    "rijen juist; de maten laten hoogstens {most} toe.",
    "fr": "Un intrus disposant d'un registre exact qui choisit quelqu'un qui convient nomme "
    "correctement {right} des lignes ; les mesures permettent au plus {most}.",
    "de": "Ein Angreifer mit einem exakten Register, der jemanden wählt, der passt, benennt "
    "{right} der Zeilen richtig; die Maße lassen höchstens {most} zu.",
}


def _attack(report: Mapping[str, Any]) -> list[str]:
    """What an intruder makes of it, beside what the measures state, with a picture."""
    found, tries = report["attack"], report["attack"]["tries"]
    if not tries:
        return []
    exact = max(one["right"] for one in tries if not one["errors"])
    both = (found["bounds"], found["bounds_together"])
    most = max(bound["prosecutor_max"] for bound in both)
    said: dict[str, str] = {
        lang: text.format(right=f"{exact:.2%}", most=f"{most:.2%}")
        for lang, text in _ATTACKED.items()
    }
    rows = [
        (
            escape(one["name"]),
            escape(", ".join(one["knows"])),
            f"{one['errors']:.0%}",
            str(one["register"]),
            f"{one['right']:.2%}",
            f"{one['sure']:.2%}",
            "sure of none" if one["right_when_sure"] is None else f"{one['right_when_sure']:.1%}",
        )
        for one in tries
    ]
    bounds = [
        (name, f"{bound['prosecutor_max']:.2%}", f"{bound['prosecutor_mean']:.2%}")
        for name, bound in zip(("this release", "all releases together"), both, strict=True)
    ]
    header = (
        *("Try", "Knows", "Errors in the register", "People in it"),
        *("Named rightly", "Sure of", "Right when sure"),
    )
    return [
        f"<h2>An intruder tries to name rows</h2><p>{_texts(said)}</p>",
        _bars([(one["name"], one["right"]) for one in tries], most),
        _table("What the intruder gets", header, rows),
        _table("What the measures state", ("", "At most", "On average"), bounds),
    ]


def _bars(shares: Sequence[tuple[str, float]], most: float) -> str:
    """Shares named rightly beside what the measures allow, as an inline SVG with its text
    alternative."""
    wide = max([most, *(share for _, share in shares)]) or 1
    bars = []
    for place, (name, share) in enumerate(shares):
        y, length = 30 + place * 34, round(400 * share / wide)
        bars.append(
            f'<text x="0" y="{y + 16}">{escape(name)}</text>'
            f'<rect x="190" y="{y}" width="{length}" height="24" fill="#1d5fa8"/>'
            f'<text x="{196 + length}" y="{y + 16}">{share:.2%}</text>'
        )
    bottom, line = 34 + len(shares) * 34, 190 + round(400 * most / wide)
    said = ", ".join(f"{name}: {share:.2%}" for name, share in shares)
    return (
        '<svg role="img" aria-labelledby="attack-title attack-text" '
        f'viewBox="0 0 680 {bottom + 10}" font-family="system-ui, sans-serif" font-size="12">\n'
        '<title id="attack-title">Share of the rows that an intruder names rightly</title>\n'
        f'<desc id="attack-text">{escape(said)}. The measures allow {most:.2%} at most.</desc>\n'
        + "\n".join(bars)
        + f'\n<line x1="{line}" y1="18" x2="{line}" y2="{bottom}" stroke="#1b1b1b" '
        f'stroke-dasharray="4 3"/><text x="{line}" y="14" text-anchor="end">at most {most:.2%}'
        "</text>\n</svg>"
    )


def _holders(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """What recipients that are holders find with their own files."""
    if not found:
        return []
    rows = [
        (escape(one["organisation"]), escape(", ".join(one["datasets"])), str(one["units"]),
         str(one["smallest"]))
        for one in found
    ]  # fmt: skip
    header = ("Organisation", "Delivered", "Of its units here", "Fewest candidates for one")
    return [
        "<h2>Recipients that delivered data themselves</h2>",
        _table("What they find with their own exact values", header, rows),
    ]


def _changes(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """What differs from the project's last release."""
    body = []
    for one in found:
        rows = [
            ("Units", *map(str, one["units"])),
            ("Units with a value withheld", *map(_told, one["withheld"])),
            ("Units that came", "", _told(one["joined"])),
            ("Units that went", _told(one["left"]), ""),
            *(
                (f"Units that stayed and show another {escape(key)}", "", _told(number))
                for key, number in one["changed"].items()
            ),
        ]
        header = ("", f"{one['since']} ({one['moments'][0]})", f"this one ({one['moments'][1]})")
        body += ["<h2>What changed since the last release</h2>", _table("Changes", header, rows)]
    return body


def _measures(report: Mapping[str, Any]) -> list[str]:
    """The measures of the table of units, and what those who look alike have in common."""
    found = report["measures"]
    facts = [
        ("Combinations", str(found["classes"])),
        ("k", str(found["k"])),
        ("Units that stand alone", str(found["sample_uniques"])),
        ("Average number of units in a combination", f"{found['average_class_size']:.1f}"),
        ("Prosecutor's risk, at most", f"{found['prosecutor_risk']['max']:.2%}"),
        ("Prosecutor's risk, on average", f"{found['prosecutor_risk']['mean']:.2%}"),
        ("Discernibility", f"{found['discernibility']:,.0f}"),
    ]
    body = [
        "<h2>Measures</h2><p>report.json has every figure, and those of special uniques.</p>",
        _table("The table of units as it leaves", ("", ""), facts),
    ]
    if report["diversity"]:
        rows = [
            (escape(f"{one['dataset']}.{one['variable']}"), str(one["l_distinct"]),
             f"{one['l_entropy']:.2f}", f"{one['t']:.2f}")
            for one in report["diversity"]
        ]  # fmt: skip
        header = ("Sensitive", "Fewest values (l)", "Entropy l", "t")
        body.append(_table("What those who look alike have in common, worst case", header, rows))
    return body


_HIDDEN = "hidden"


def _told(number: int | None) -> str:
    return _HIDDEN if number is None else str(number)


def _share(rate: Mapping[str, Any]) -> str:
    return _HIDDEN if rate["share"] is None else f"{rate['share']:.1%}"


def _linkage(linkage: Mapping[str, Any]) -> list[str]:
    """Linkage rates to read: units found by subgroup, and how links were decided."""
    datasets = linkage.get("datasets", [])
    if not datasets:
        return []
    body = [
        "<h2>How well the data are linked</h2>",
        "<p>The share of the release's units that were found in a dataset, by what is known of "
        "them. Where shares differ, those who were missed differ from those who were found: "
        f"results may lean. Counts from 1 to {linkage['k'] - 1} are {_HIDDEN}, and so are others "
        "that would give them back.</p>",
    ]
    for entry in (entry for entry in datasets if "found" in entry):
        rows = [("all units", "", entry)]
        rows += [(key, rate["class"], rate) for key, rates in entry["by"].items() for rate in rates]
        body.append(
            _table(
                f"Units found in {entry['dataset']}",
                ("Subgroup", "Class", "Units", "Found", "Share"),
                [
                    (
                        escape(key),
                        escape(label),
                        *(_told(rate[name]) for name in ("units", "found")),
                        _share(rate),
                    )
                    for key, label, rate in rows
                ],
            )
        )
    classes = list(datasets[0]["links"]["by_quality"])
    body.append(
        _table(
            "Rows by how they were linked to their unit",
            ("Dataset", "Rows", *(name.replace("_", " ") for name in classes)),
            [
                (
                    escape(entry["dataset"]),
                    _told(entry["links"]["all"]),
                    *map(_told, entry["links"]["by_quality"].values()),
                )
                for entry in datasets
            ],
        )
    )
    return body


def _population(estimates: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the weights stand for, to read; nothing where there is no weight."""
    if not estimates:
        return []
    rows = [
        (
            escape(f"{entry['dataset']}, {entry['weight']}"),
            _told(entry["units"]),
            *(
                _HIDDEN if entry[name] is None else f"{entry[name]:,.0f}"
                for name in ("estimated", "smallest_combination")
            ),
        )
        for entry in estimates
    ]
    return [
        "<h2>The population that the weights stand for</h2>",
        "<p>The test counts units of the sample, since who is in it may be known.</p>",
        _table(
            "Estimates by weight",
            ("Weight", "Units with one", "Population", "In the smallest combination"),
            rows,
        ),
    ]


_NOT_PROMISED = (
    "The test is on what the intruder is taken to know, at as many moments as stated. It says "
    "nothing about what those who look alike have in common, nor about an intruder who knows the "
    "sensitive variables or a person's events already, who knows that somebody is missing from the "
    "file, or who knows a whole household at once. Handle the file as personal data."
)


def _bins(k: int) -> list[tuple[str, int, int]]:
    """Classes of cell size: (label, from, to)."""
    edges = [1, k, 2 * k, 4 * k, 8 * k, 16 * k]
    inner = [(f"{low}–{high - 1}", low, high - 1) for low, high in pairwise(edges)]
    return [*inner, (f"{edges[-1]} or more", edges[-1], 2**62)]


def _picture(report: Mapping[str, Any]) -> str:
    """How many combinations have how many units, as an inline SVG with its text alternative."""
    bins = _bins(report["k"])
    series = [
        (name, [_count(report[part]["sizes"], low, high) for _, low, high in bins], colour)
        for name, part, colour in (
            ("this release", "this_release", "#1d5fa8"),
            ("all releases together", "all_releases", "#b4570a"),
        )
    ]
    top = max([1, *(number for _, numbers, _ in series for number in numbers)])
    bars = []
    for place, (name, numbers, colour) in enumerate(series):
        for index, number in enumerate(numbers):
            x, height = 60 + index * 100 + place * 36, round(180 * number / top)
            bars.append(
                f'<rect x="{x}" y="{220 - height}" width="32" height="{height}" fill="{colour}"/>'
                f'<text x="{x + 16}" y="{214 - height}" text-anchor="middle">{number}</text>'
            )
        bars.append(
            f'<rect x="{60 + place * 180}" y="4" width="12" height="12" fill="{colour}"/>'
            f'<text x="{78 + place * 180}" y="15">{name}</text>'
        )
    for index, (label, _, _) in enumerate(bins):
        bars.append(f'<text x="{94 + index * 100}" y="240" text-anchor="middle">{label}</text>')
    sentences = [
        f"{name}: "
        + ", ".join(f"{n} with {b[0]} units" for n, b in zip(numbers, bins, strict=True))
        for name, numbers, _ in series
    ]
    return (
        '<svg role="img" aria-labelledby="picture-title picture-text" viewBox="0 0 680 270" '
        'font-family="system-ui, sans-serif" font-size="12">\n'
        '<title id="picture-title">Combinations of known values by the units that share them'
        f'</title>\n<desc id="picture-text">{escape("; ".join(sentences))}.</desc>\n'
        + "\n".join(bars)
        + '\n<line x1="50" y1="220" x2="670" y2="220" stroke="#1b1b1b"/>'
        + '\n<line x1="152" y1="26" x2="152" y2="224" stroke="#1b1b1b" stroke-dasharray="4 3"/>'
        + f'\n<text x="156" y="36">k = {report["k"]}</text>'
        + '\n<text x="360" y="262" text-anchor="middle">units that share a combination</text>'
        + "\n</svg>"
    )


def _count(sizes: Mapping[str, int], low: int, high: int) -> int:
    return sum(number for size, number in sizes.items() if low <= int(size) <= high)


_LANGUAGE_NAMES: Mapping[str, str] = {
    "en": "English",
    "nl": "Dutch",
    "fr": "French",
    "de": "German",
}
_OPENING: Mapping[str, str] = {
    "parquet": 'pandas.read_parquet("data/units.parquet"), arrow::read_parquet(…)',
    "csv": 'pandas.read_csv("data/units.csv", dtype="string"), readr::read_csv(…)',
    "dta": 'use "data/units.dta" (Stata 14 and later), haven::read_dta(…)',
    "sav": "GET FILE='data/units.sav' (SPSS), haven::read_sav(…, user_na = TRUE)",
}
_REAL = """\
Pseudonymised data for project `{project}`. They are for the people named in its permit, for the
purpose named there, and for nobody else."""

_DUMMY = """\
Invented data of the exact shape that a release to project `{project}` will have: same files,
tables, columns, types and code lists. Write and try your programs on them. Every value was drawn at
random from what the datasets' declarations allow; rows, shares and rates mean nothing, and nothing
in here is about anybody. Pseudonyms have the key version 0, which no key has, and read FAKE."""


def _found_in(linkage: Mapping[str, Any]) -> str:
    """The README's lines on linkage rates."""
    lines = "\n".join(
        f"- `{entry['dataset']}`: {_share(entry)} of the units"
        for entry in linkage.get("datasets", [])
        if "found" in entry
    )
    return f"""
## How many units were found

{lines}

A unit that wasn't found has no row in that table: it isn't there, or the linkage missed it.
`report.html` has the rates by subgroup, and how links were decided.
""" * bool(lines)


def readme(
    tables: Mapping[str, tuple[int, int]],
    title: Mapping[str, str],
    project: str,
    period: str,
    formats: Sequence[str],
    language: str,
    linkage: Mapping[str, Any],
    *,
    dummy: bool = False,
) -> str:
    """What a researcher reads first; `tables` gives rows and columns by table, `linkage` the rates
    as the report has them. Of a `dummy` it says what it is made for."""
    name = title.get("en") or next(iter(title.values()), project)
    endings = ", ".join(f"`.{ending}`" for ending in formats)
    listed = "\n".join(
        f"- `data/{table}` ({endings}): {rows} rows, {columns} columns"
        for table, (rows, columns) in tables.items()
    )
    opened = "\n".join(f"    {_OPENING[ending]}" for ending in formats)
    statistical = (
        f"\n{_wrapped(_STATISTICAL)}\nTheir labels are in {_LANGUAGE_NAMES[language]}, or in "
        "another language where a text isn't there in it.\n"
        if {"dta", "sav"} & set(formats)
        else ""
    )
    codes = "\n".join(f"- `{code}`: {texts['en']}" for code, texts in MISSING_CODES.items())
    about = _DUMMY if dummy else _REAL
    return f"""# {" ".join(name.split())}, {period}

{about.format(project=project)}

{listed}

Open them with pandas, R, Stata or SPSS:

{opened}

The column `unit` is a pseudonym. It is the same in every table and every release of this project,
and means nothing in any other. `dictionary.html` (or `.json`) says what each column is, where it
comes from and how it was coarsened; `report.html` says how it was tested that nobody stands out.

## Missing values

A value is never missing without a reason:

{codes}

A column of text holds the code itself. A column of numbers is empty there, and the column with the
same name and `{STATUS}` holds the code, or `{OBSERVED}`. Suppressed values are not missing at
random: they come from small groups and from others that were added to hide them.
{statistical}{_found_in(linkage)}
## Is it complete

`manifest.json` lists every file with its size and SHA-256; `manifest.sig` is the service's
signature over it. Don't try to find out who somebody is, and don't pass the files on.
"""


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 100))
