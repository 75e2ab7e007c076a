"""Names of companies: the name itself apart from its legal form."""

import re
from string import ascii_uppercase, digits
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from linkage.folding import each, fold, folded, kept, only, patched, split

# One word per form, whatever the language; a form that another took over by law counts as that one
# (Code of Companies and Associations, 23 March 2019: bvba became bv, cvba became cv).
_FORMS: Final = {
    "NV": ("NV", "SA", "NAAMLOZE VENNOOTSCHAP", "SOCIETE ANONYME"),
    "BV": (
        *("BV", "BVBA", "EBVBA", "SBVBA", "SRL", "SPRL", "SPRLU", "SPRLS", "EBV"),
        *("BESLOTEN VENNOOTSCHAP", "SOCIETE A RESPONSABILITE LIMITEE"),
        "BESLOTEN VENNOOTSCHAP MET BEPERKTE AANSPRAKELIJKHEID",
        "SOCIETE PRIVEE A RESPONSABILITE LIMITEE",
    ),
    "CV": ("CV", "CVBA", "CVOA", "SC", "SCRL", "SCRI", "COOPERATIEVE VENNOOTSCHAP"),
    "VZW": ("VZW", "ASBL", "VERENIGING ZONDER WINSTOOGMERK", "ASSOCIATION SANS BUT LUCRATIF"),
    "IVZW": ("IVZW", "AISBL"),
    "VOF": ("VOF", "SNC", "VENNOOTSCHAP ONDER FIRMA", "SOCIETE EN NOM COLLECTIF"),
    "COMMV": ("COMMV", "COMM V", "GCV", "SCS", "SCOMM", "S COMM", "COMMANDITAIRE VENNOOTSCHAP"),
    "COMMVA": ("COMMVA", "COMM VA", "SCA"),
    "SE": ("SE",),
    "ESV": ("ESV", "GIE"),
    "STICHTING": ("STICHTING", "FONDATION", "STIFTUNG", "FUP", "SON"),
    "GMBH": ("GMBH",),
    "AG": ("AG",),
    "LTD": ("LTD", "LIMITED"),
    "PLC": ("PLC",),
    "LLC": ("LLC",),
    "INC": ("INC", "INCORPORATED"),
    "SARL": ("SARL",),
    "SAS": ("SAS", "SASU"),
}
_FORM: Final = {written: form for form, forms in _FORMS.items() for written in forms}
_ANY: Final = "|".join(sorted(_FORM, key=len, reverse=True))
_BEHIND: Final = f"^(?P<name>.+?) (?P<form>{_ANY})$"
_BEFORE: Final = f"^(?P<form>{_ANY}) (?P<name>.+)$"
_AND: Final = re.compile(r" (?:EN|ET|AND|UND) ")


def company(text: str) -> tuple[str | None, str | None]:
    """A company's name and its legal form: `Janssens & Zn. N.V.` gives JANSSENS & ZN and NV.

    Capitals without accents and punctuation; `en`, `et`, `and`, `und`, `+` are `&`. The form is
    looked for behind the name, then in front of it.
    """
    words = re.sub(r"[.'`´]", "", re.sub(r"(?<=\b\w)\. (?=\w\.)", ".", fold(text)))
    words = re.sub(r"\s*[&+]\s*", " & ", words)
    name = " ".join(re.findall(r"[^\W_]+|&", words)).strip(" &")
    name = _AND.sub(" & ", name)
    form = None
    for pattern in (_BEHIND, _BEFORE):
        while (found := re.match(pattern, name)) is not None:
            name, form = found["name"].strip(" &"), form or _FORM[found["form"]]
    return (name or None), form


def companies(values: Any) -> tuple[Any, Any]:
    """`company` of every text: an array of names and one of legal forms."""
    text = folded(values)
    plain = pc.match_substring_regex(text, "^[A-Z0-9 (),/-]*$")
    plain = pc.and_(plain, pc.invert(pc.match_substring_regex(text, r"\b(?:EN|ET|AND|UND)\b")))
    name = kept(text, ascii_uppercase + digits, spaced=True)
    name = only(pc.not_equal(name, ""), name)
    several = pc.match_substring_regex(name, rf"^(?:{_ANY}) | (?:{_ANY}) (?:{_ANY})$")
    odd = pc.or_(pc.invert(plain), pc.fill_null(several, False))
    bare, form = split(name, _BEHIND, "name", "form")
    name = pc.coalesce(bare, name)
    form = each(_FORM.get, form) if form.null_count < len(form) else form
    pairs = [company(value) for value in values.filter(pc.fill_null(odd, False)).to_pylist()]
    return (
        patched(name, odd, lambda _: pa.array([pair[0] for pair in pairs], pa.string())),
        patched(form, odd, lambda _: pa.array([pair[1] for pair in pairs], pa.string())),
    )
