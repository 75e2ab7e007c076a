"""Lines that hold several things: a whole name, a whole address."""

from typing import Any, Final

import pyarrow.compute as pc

from linkage.folding import folded, only, split

PARTICLES: Final = frozenset(
    {
        "VAN",
        "DE",
        "DEN",
        "DER",
        "VANDE",
        "VANDEN",
        "VANDER",
        "VON",
        "TE",
        "TEN",
        "TER",
        "T",
        "D",
        "DU",
        "DES",
        "LE",
        "LA",
        "LES",
        "DI",
        "DA",
        "DELLA",
        "EL",
        "AL",
    }
)
"""Words in front of a surname that some registers put behind it, or glue to it."""

_PARTICLE: Final = "(?:" + "|".join(sorted(PARTICLES, key=len, reverse=True)) + ")"
_TITLE: Final = (
    r"(?i)^ *(?:(?:mr|mrs|ms|miss|dhr|mevr|mw|de heer|mevrouw|mme|mlle|madame|monsieur|mademoiselle"
    r"|herr|frau|dr|prof|ir|ing|maitre)(?:\. *| +))+"
)
_COMMA: Final = "^ *(?P<last>[^,]*[^, ]) *,[ ,]*(?P<first>.*)$"
# Some write the surname, and nothing else, in capitals: `DE SMET Jan`, `Jan DE SMET`.
_CAPITALS: Final = r"[\p{Lu}'’-]*\p{Lu}[\p{Lu}'’-]+"
_MIXED: Final = r"\p{Lu}[\p{L}'’.-]*\p{Ll}[\p{L}'’.-]*"
_SHOUTED_FIRST: Final = (
    rf"^ *(?P<last>{_CAPITALS}(?: +{_CAPITALS})*) +(?P<first>{_MIXED}(?: +{_MIXED})*) *$"
)
_SHOUTED_LAST: Final = (
    rf"^ *(?P<first>{_MIXED}(?: +{_MIXED})*) +(?P<last>{_CAPITALS}(?: +{_CAPITALS})*) *$"
)
_LAST_WORD: Final = rf"(?i)^ *(?P<first>.*?)(?:^| +)(?P<last>(?:['’]?{_PARTICLE}['’]? +)*[^ ]+) *$"

_POSTCODE: Final = r"(?:BE?[ -]+)?(?P<postcode>[1-9][0-9]{3})"
_ENDING_IN_PLACE: Final = rf"^(?P<head>.*?)[ ,;-]+{_POSTCODE}[ -]+[^0-9]+$"
# Four digits with no place behind them are a postcode if the house number stands before them.
_ENDING_IN_POSTCODE: Final = rf"^(?P<head>.*[0-9][A-Z]?)[ ,;-]+{_POSTCODE}$"
_STARTING_WITH_PLACE: Final = rf"^{_POSTCODE} +[^0-9,]+,[ ,]*(?P<head>.*)$"
_PLACE_ALONE: Final = rf"^(?P<head>){_POSTCODE} +[^0-9,]+$"
_NUMBER: Final = r"[0-9]+(?: ?(?:[A-Z]|BIS|TER))?"
_BOX: Final = (
    r"(?:[ ,]*\b(?:BUS|BTE|BOITE|BOX|BT|B)\b[ .:]*|[ ]*[/-][ ]*|(?:BUS|BTE|BT|B))[0-9A-Z]+"
)
_HOUSE_BEHIND: Final = (
    rf"^(?P<street>.*?[A-Z].*?)[ ,]+(?:(?:NR|NO|N°|N)[ .]*)?(?P<house>{_NUMBER}(?:{_BOX})?)$"
)
_HOUSE_BEFORE: Final = rf"^(?P<house>{_NUMBER}(?:{_BOX})?)[ ,]+(?P<street>[A-Z].*)$"


def names(values: Any) -> dict[str, Any]:
    """Whole names apart, as written: first_name, last_name.

    What stands before a comma, or alone in capitals, is the last name; else the last word with the
    particles in front of it is. A single word is a last name; a title in front is left out.
    """
    values = pc.replace_substring_regex(values, _TITLE, "")
    first, last = split(values, _LAST_WORD, "first", "last")
    for pattern in (_SHOUTED_LAST, _SHOUTED_FIRST):
        better, its_last = split(values, pattern, "first", "last")
        first, last = pc.coalesce(better, first), pc.coalesce(its_last, last)
    parted = only(pc.match_substring(values, ","), values)
    better, its_last = split(parted, _COMMA, "first", "last")
    return {"first_name": pc.coalesce(better, first), "last_name": pc.coalesce(its_last, last)}


def addresses(values: Any) -> dict[str, Any]:
    """Address lines apart, folded: street, house_number (with its box) and postcode.

    `Kerkstraat 12 bus 3, 9000 Gent`, `9000 Gent, Kerkstraat 12` and `12, rue Haute 1000 Bruxelles`.
    What is no house number belongs to the street.
    """
    text = pc.replace_substring_regex(folded(values), r"\s+", " ")
    head, postcode = split(text, _ENDING_IN_PLACE, "head", "postcode")
    for pattern in (_ENDING_IN_POSTCODE, _STARTING_WITH_PLACE, _PLACE_ALONE):
        other, its_postcode = split(text, pattern, "head", "postcode")
        head, postcode = pc.coalesce(head, other), pc.coalesce(postcode, its_postcode)
    head = pc.coalesce(head, text)
    street, house = split(head, _HOUSE_BEHIND, "street", "house")
    its_street, its_house = split(head, _HOUSE_BEFORE, "street", "house")
    return {
        "street": pc.coalesce(street, its_street, head),
        "house_number": pc.coalesce(house, its_house),
        "postcode": postcode,
    }
