"""What a no looks like: data, so that a page can show it and an operation can raise it."""

from dataclasses import dataclass

from policies import PolicyError


@dataclass(frozen=True)
class Refusal:
    """Why something may not be done, and what to do next.

    `type` is a stable slug (`not-in-force`, `own-release`, …) that programs may rely on. `visible`
    tells whether the actor is entitled to know: where it is false, everybody hears the one answer
    that an absent thing gives too.
    """

    type: str
    reason: str
    next_step: str
    visible: bool = True


class Refused(PolicyError):  # noqa: N818 - a refusal is an outcome, not a programming error
    """The action is refused; the refusal says why and what to do next."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.reason} {refusal.next_step}".strip())
        self.refusal = refusal
