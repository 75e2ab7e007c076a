"""Everything that keyvault raises.

    KeyvaultError
    ├── CustodyError      the root key can't be read, made, or isn't the version asked for
    ├── KeyringError      a key is unknown, in the wrong state, or for another role or purpose
    ├── SealError         sealed bytes don't open: another key, another binding, or damage
    ├── SignatureError    a signature doesn't hold, or its document can't be signed
    ├── EnrolmentError    a person isn't enrolled, or an enrolment isn't to be believed
    ├── PermitError       the permit doesn't allow this, now; `str()` of it is the reason
    │   ├── PermitAbsentError    there is none of that id
    │   └── PermitChangedError   it is not the one that was signed
    ├── PseudonymError    a column or text isn't what pseudonyms are made of
    ├── TokenError        a token or client assertion is not accepted
    ├── LedgerError       an entry can't be written, or a proof doesn't hold
    ├── NotForYouError    the vault doesn't do this for the process that asks
    └── VaultAwayError    the vault's process isn't there, or can't go on
        └── VaultSealedError     its custodians haven't opened it yet

Messages say what happened and what to do next. They never hold key bytes or a value from data.
"""


class KeyvaultError(Exception):
    """The base of all that this package raises."""


class CustodyError(KeyvaultError):
    """The root key can't be had from its custody."""


class KeyringError(KeyvaultError):
    """A key is unknown, in the wrong state, or meant for something else."""


class SealError(KeyvaultError):
    """Sealed bytes don't open."""


class SignatureError(KeyvaultError):
    """A signature doesn't hold."""


class EnrolmentError(KeyvaultError):
    """A person isn't enrolled, or an enrolment isn't to be believed."""


class PermitError(KeyvaultError):
    """The permit doesn't allow this."""


class PermitAbsentError(PermitError):
    """There is no permit of that id."""


class PermitChangedError(PermitError):
    """The stored permit is not the one that was signed."""


class PseudonymError(KeyvaultError):
    """Not something pseudonyms are made of, or not a pseudonym."""


class TokenError(KeyvaultError):
    """The token isn't accepted."""


class LedgerError(KeyvaultError):
    """The ledger can't take the entry, or a proof doesn't hold."""


class NotForYouError(KeyvaultError):
    """The vault doesn't do this for the process that asks."""


class VaultAwayError(KeyvaultError):
    """The vault's process isn't there, or can't go on."""


class VaultSealedError(VaultAwayError):
    """The vault is sealed: its custodians open it (`schakel custody open`)."""
