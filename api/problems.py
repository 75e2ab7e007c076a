"""What a caller hears when something is not done: problem details (RFC 9457), mapped once.

`PROBLEMS` is the whole table: type, HTTP status, title. The error table in README.md beside this
file is generated from it. A problem's `detail` says what happened, its `next_step` what to do; both
are written by us and never hold a value that came from somebody's data.
"""

from dataclasses import dataclass
from typing import Any

from policies.refusals import Refusal, Refused

PREFIX = "urn:schakel:problem:"

PROBLEMS: dict[str, tuple[int, str]] = {
    # who are you
    "no-token": (401, "A token is needed"),
    "bad-token": (401, "The token can't be used"),
    "bad-assertion": (401, "The client assertion can't be used"),
    # may you
    "wrong-role": (403, "Another role is needed"),
    "not-yours": (403, "This belongs to somebody else"),
    "own-work": (403, "Nobody decides on what they made themselves"),
    "same-person": (403, "Two different people are needed"),
    "signed-by-another": (403, "Everybody signs with a key of their own"),
    "bad-signature": (403, "The signature doesn't hold"),
    "needs-two-administrators": (403, "Two administrators' signatures are needed"),
    "no-permit": (403, "No permit allows this"),
    "permit-not-in-force": (403, "The permit is not in force"),
    "permit-changed": (403, "The permit is not the one that was signed"),
    "no-consent": (403, "The holder's consent is missing"),
    "not-a-recipient": (403, "The permit names other recipients"),
    "not-found": (404, "There is no such thing, or it is not yours to see"),
    "unknown-action": (404, "No such action exists"),
    # is it the moment
    "wrong-state": (409, "It is not in the state for that"),
    "already-there": (409, "It is there already"),
    "key-reused": (422, "The Idempotency-Key stands for another request"),
    "already-delivered": (409, "This dataset was delivered for this period"),
    "nothing-stands": (409, "Nothing is there to replace, append to or correct"),
    "delivery-withdrawn": (409, "A delivery was withdrawn by its holder"),
    "history-moved-on": (409, "Another release was cleared meanwhile"),
    "key-stands-otherwise": (409, "The key is not in the state for that"),
    "wrong-offset": (409, "The upload stands at another offset"),
    "ledger-shorter": (409, "The ledger has fewer entries than that"),
    "upload-stalled": (408, "No byte came for a while"),
    "upload-expired": (410, "The upload stood still for too long"),
    "upload-over": (410, "The upload is over"),
    "too-large": (413, "Too large"),
    "wrong-media-type": (415, "Another media type is needed"),
    "plaintext-upload": (415, "The upload is not encrypted"),
    "tus-version": (412, "Another version of tus is spoken here"),
    "upload-busy": (423, "Somebody else is writing to this upload"),
    "too-many-uploads": (429, "Too many uploads are open"),
    "checksum-mismatch": (460, "The checksum doesn't match"),
    # is it well-formed
    "bad-request": (400, "The request can't be understood"),
    "incomplete": (422, "Something is missing or wrong"),
    "bad-declaration": (422, "The dataset's declaration can't be used"),
    "ciphertext-mismatch": (422, "Other bytes came in than were declared"),
    "finer-than-minimum": (422, "Finer than the minimum coarsening allows"),
    "unknown-dataset": (422, "No such dataset or variable"),
    "nothing-delivered": (422, "Nothing was delivered for this"),
    "advice-on-another-text": (422, "The advice is about another text"),
    "decision-on-another-advice": (422, "The decision is about another advice"),
    "decision-incomplete": (422, "The decision is incomplete"),
    "consent-unfit": (422, "This is no decision on what is asked for"),
    "no-favourable-advice": (422, "There is no favourable advice"),
    "disclosure": (422, "The release would single somebody out"),
    "identifiers-found": (422, "Identifiers were found in the release"),
    "unmappable": (422, "Some values have no coarser value"),
    "pseudonyms-contradict": (
        422,
        "Imported pseudonyms contradict one another or what was released",
    ),
    "review-contradicts": (422, "The decision contradicts an earlier one"),
    "damaged-delivery": (422, "The delivery can't be decrypted"),
    # ours
    "job-forged": (500, "This job is not one that the service enqueued"),
    "fault": (500, "Something went wrong here"),
    "ledger-unwritable": (503, "The ledger can't be written, so nothing was done"),
    "commit-unknown": (503, "Whether this was done isn't known"),
    "vault-away": (503, "The vault isn't there, so nothing was done"),
    "vault-sealed": (503, "The vault is sealed, so nothing was done"),
}


@dataclass
class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """Something is not done; the edge renders it, jobs keep it."""

    type: str
    detail: str
    next_step: str
    extra: dict[str, Any] | None = None
    staff: dict[str, Any] | None = None
    """What only the office's own people may hear besides, such as cells that nobody released."""

    def __post_init__(self) -> None:
        if self.type not in PROBLEMS:
            raise KeyError(f"problem type {self.type} is not in the table")
        super().__init__(f"{self.detail} {self.next_step}".strip())

    @property
    def status(self) -> int:
        """The HTTP status of this type of problem."""
        return PROBLEMS[self.type][0]

    def document(self) -> dict[str, Any]:
        """The JSON body of an answer, or of a job that ended with it."""
        status, title = PROBLEMS[self.type]
        return {
            "type": PREFIX + self.type,
            "title": title,
            "status": status,
            "detail": self.detail,
            "next_step": self.next_step,
            **(self.extra or {}),
        }


ABSENT = Problem(
    "not-found",
    "There is nothing here under that name, or it is not yours to see.",
    "Check the name; if it should be yours, ask the office.",
)


def problem_of(refusal: Refusal) -> Problem:
    """A refusal as its hearer may hear it."""
    if not refusal.visible:
        return ABSENT
    return Problem(refusal.type, refusal.reason, refusal.next_step)


def refuse(refusal: Refusal | None) -> None:
    """Raise a refusal, if it is one."""
    if refusal is not None:
        raise Refused(refusal)


def table() -> str:
    """Every problem type as a Markdown table."""
    lines = ["| type | status | title |", "|---|---|---|"]
    lines += [f"| {slug} | {status} | {title} |" for slug, (status, title) in PROBLEMS.items()]
    return "\n".join(lines) + "\n"
