"""Asked twice, done once: what a request came to is kept beside its change.

A caller whose answer was lost sends the same request again with the same `Idempotency-Key`. The
answer stands in the database in the transaction of the change it tells of, so that it is there
exactly if the change is; it is given again as it was, for KEPT. A refusal changes nothing and is
not kept: what was refused may be asked for anew.
"""

import hashlib
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from fastapi import Request
from fastapi.encoders import jsonable_encoder
from sqlalchemy import delete
from sqlalchemy.orm import Session

from api.operations import Work
from api.problems import Problem
from api.service import Service
from api.store import Answer
from policies.access import Actor

T = TypeVar("T")
HEADER = "Idempotency-Key"
KEPT = timedelta(days=7)
_KEY = re.compile(r'"?([\x21\x23-\x7e]{1,64})"?')


class Change:
    """The one change that a request asks for, in somebody's name."""

    def __init__(self, service: Service, actor: Actor, key: str | None, asked: bytes) -> None:
        """`asked` is everything that the request says; another under the same key is refused."""
        self._service, self._actor, self._key = service, actor, key
        self._asked = hashlib.sha256(asked).hexdigest()

    def __call__(self, do: Callable[[Work], T]) -> T:
        """Do it in one transaction; or give the answer that it was given before."""
        with self._service.work(self._actor) as work:
            if self._key is None:
                return do(work)
            kept = work.session.get(Answer, (self._actor.person, self._key))
            if kept is not None:
                self._compare(kept)
                again: T = kept.answer
                return again
            answer: T = jsonable_encoder(do(work))
            row = {"person": self._actor.person, "key": self._key, "asked": self._asked}
            work.session.add(Answer(**row, answer=answer, given_at=work.now))
            work.session.flush()
            return answer

    def _compare(self, kept: Answer) -> None:
        if kept.asked != self._asked:
            raise Problem(
                "key-reused",
                f"Another request was made with this {HEADER} before.",
                "Take a new key for each request, and the same one only to repeat it.",
            )


def key_of(request: Request) -> str | None:
    """The key in a request's header, bare or in quotes."""
    text = request.headers.get(HEADER)
    if text is None:
        return None
    found = _KEY.fullmatch(text)
    if found is None:
        raise Problem(
            "bad-request",
            f"The header {HEADER} has 1 to 64 visible ASCII characters.",
            "Take a random one for each request, such as a UUID.",
        )
    return found[1]


def asked_of(request: Request, *more: bytes) -> bytes:
    """What a request says: method, path, query, and what else matters."""
    line = f"{request.method} {request.url.path}?{request.url.query}"
    return b"\0".join([line.encode(), *more])


def forget(session: Session, now: datetime) -> None:
    """Drop answers that nobody asks for again."""
    session.execute(delete(Answer).where(Answer.given_at < now - KEPT))
