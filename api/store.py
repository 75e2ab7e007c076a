"""The service's own tables, and the engine they live on.

Keys, enrolments, permits and the ledger are the vault's tables (`keyvault.tables`), in the same
database, so that a change and the ledger entry that tells of it are one transaction.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pysqlite3.dbapi2 as sqlite
from sqlalchemy import (
    JSON,
    Engine,
    ForeignKey,
    String,
    UniqueConstraint,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.engine import Dialect, ExceptionContext
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import Pool
from sqlalchemy.types import DateTime, TypeDecorator

CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    """An opaque id: a prefix that says what kind of thing, and 80 random bits."""
    return f"{prefix}-" + "".join(secrets.choice(CROCKFORD) for _ in range(16))


class UtcDateTime(TypeDecorator[datetime]):
    """Aware moments in UTC; SQLite forgets time zones, so they are put back."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Refuse a naive moment: nobody can say when it was."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a moment without time zone can't be stored")
        return value.astimezone(UTC).replace(tzinfo=None) if value else value

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """What was stored is UTC."""
        return value.replace(tzinfo=UTC) if value else value


class Base(DeclarativeBase):
    """Tables of the service."""

    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON}  # noqa: RUF012


class Organisation(Base):
    """A holder, a research institution or the office itself."""

    __tablename__ = "organisation"
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    name: Mapped[str] = mapped_column(String(400))
    added_at: Mapped[datetime]


class Dataset(Base):
    """A catalogue entry: the declaration as the holder wrote it."""

    __tablename__ = "dataset"
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    organisation: Mapped[str] = mapped_column(ForeignKey("organisation.id"))
    declaration: Mapped[dict[str, Any]]
    added_at: Mapped[datetime]


class StoredObject(Base):
    """An object that is meant to be there, with the hash that it must have when it is read."""

    __tablename__ = "stored_object"
    name: Mapped[str] = mapped_column(String(48), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(32))
    key: Mapped[str | None] = mapped_column(String(40))
    """The vault's key row that it is sealed under; none for what is encrypted to a person."""


class Delivery(Base):
    """One extract of a dataset for one reference period, from its first byte on."""

    __tablename__ = "delivery"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    dataset: Mapped[str] = mapped_column(ForeignKey("dataset.id"))
    organisation: Mapped[str] = mapped_column(ForeignKey("organisation.id"))
    period: Mapped[str] = mapped_column(String(10))
    mode: Mapped[str] = mapped_column(String(8))
    """new, replace, append or correct."""
    generation: Mapped[int | None]
    """Its place among the deliveries of its dataset and period, in the order of receipt, from 1."""
    state: Mapped[str] = mapped_column(String(12))
    superseded_by: Mapped[str | None] = mapped_column(String(40))
    person: Mapped[str] = mapped_column(String(63))
    declared_sha256: Mapped[str] = mapped_column(String(64))
    length: Mapped[int]
    offset: Mapped[int] = mapped_column(default=0)
    upload: Mapped[str | None] = mapped_column(String(48))
    """Object that holds the ciphertext as it came in, until intake has done its work."""
    receipt: Mapped[dict[str, Any] | None]
    report: Mapped[dict[str, Any] | None]
    """The fault report: by row, variable and reason, never a value."""
    rows: Mapped[int | None]
    identifiers: Mapped[str | None] = mapped_column(ForeignKey("stored_object.name"))
    payload: Mapped[str | None] = mapped_column(ForeignKey("stored_object.name"))
    created_at: Mapped[datetime]
    moved_at: Mapped[datetime]
    """When bytes last came in; an upload that stands still for too long is given up."""
    __table_args__ = (UniqueConstraint("dataset", "period", "generation"),)


class Application(Base):
    """A request and what was decided on it; `policies.applications` says how it moves."""

    __tablename__ = "application"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(63), index=True)
    applicant: Mapped[str] = mapped_column(String(63))
    state: Mapped[str] = mapped_column(String(12))
    document: Mapped[dict[str, Any]]
    advice: Mapped[dict[str, Any] | None]
    """Document and signature."""
    approval: Mapped[dict[str, Any] | None]
    """Document and signature."""
    permit: Mapped[str | None] = mapped_column(String(63))
    created_at: Mapped[datetime]


class Consent(Base):
    """A holder's decision on the use of a dataset in one application; the last one counts."""

    __tablename__ = "consent"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    application: Mapped[str] = mapped_column(ForeignKey("application.id"), index=True)
    dataset: Mapped[str] = mapped_column(ForeignKey("dataset.id"))
    document: Mapped[dict[str, Any]]
    signature: Mapped[dict[str, Any]]
    given_at: Mapped[datetime]


class Project(Base):
    """A research project: its first applicant's, and nobody else's to take over."""

    __tablename__ = "project"
    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    applicant: Mapped[str] = mapped_column(String(63))
    created_at: Mapped[datetime]


class Admission(Base):
    """A delivery admitted to a scope's spine: segment, links and what must be reviewed."""

    __tablename__ = "admission"
    scope: Mapped[str] = mapped_column(String(63), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    """Version of the spine that this admission made; two workers can't make the same one."""
    delivery: Mapped[str] = mapped_column(ForeignKey("delivery.id"))
    records: Mapped[str] = mapped_column(ForeignKey("stored_object.name"))
    seen: Mapped[str] = mapped_column(ForeignKey("stored_object.name"))
    links: Mapped[str] = mapped_column(ForeignKey("stored_object.name"))
    review: Mapped[str] = mapped_column(ForeignKey("stored_object.name"))
    quality: Mapped[dict[str, Any]]
    admitted_at: Mapped[datetime]
    __table_args__ = (UniqueConstraint("scope", "delivery"),)


class ReviewPair(Base):
    """Two subjects of a scope that a human must decide about.

    Who they are stands in the admission's sealed review list; here is what those who decide see,
    which names nobody.
    """

    __tablename__ = "review_pair"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    scope: Mapped[str] = mapped_column(String(63), index=True)
    unit_type: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(String(40))
    probability: Mapped[float | None]
    references: Mapped[int]
    hanging: Mapped[int]
    closeness: Mapped[float]
    view: Mapped[dict[str, Any]]
    """Field by field how the two differ, masked (`linkage.review`)."""
    implied: Mapped[bool] = mapped_column(default=False)
    """Whether decisions on other pairs answer it."""
    found_at: Mapped[datetime]


class ReviewDecision(Base):
    """What somebody decided on a pair; the last one that wasn't refused counts."""

    __tablename__ = "review_decision"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    pair: Mapped[str] = mapped_column(ForeignKey("review_pair.id"), index=True)
    verdict: Mapped[str] = mapped_column(String(8))
    """same, never, or open: what was decided is undone."""
    state: Mapped[str] = mapped_column(String(10))
    """waiting (for the linkage process), in_force or refused."""
    problem: Mapped[dict[str, Any] | None]
    person: Mapped[str] = mapped_column(String(63))
    decided_at: Mapped[datetime]


class Settlement(Base):
    """The decisions that are in force in a scope, sealed; each change of them is a version."""

    __tablename__ = "settlement"
    scope: Mapped[str] = mapped_column(String(63), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    decisions: Mapped[str] = mapped_column(ForeignKey("stored_object.name"))
    """For linkage: which two subjects are one, or never are."""
    superseded: Mapped[str] = mapped_column(ForeignKey("stored_object.name"))
    """For release: which subject counts as which."""


class Release(Base):
    """One package under one permit for one period."""

    __tablename__ = "release"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(63), index=True)
    permit: Mapped[str] = mapped_column(String(63))
    state: Mapped[str] = mapped_column(String(12))
    """building, built, refused, cleared or withdrawn."""
    request: Mapped[dict[str, Any]]
    builder: Mapped[str] = mapped_column(String(63))
    report: Mapped[dict[str, Any] | None]
    refusal: Mapped[dict[str, Any] | None]
    manifest_sha256: Mapped[str | None] = mapped_column(String(64))
    package: Mapped[str | None] = mapped_column(ForeignKey("stored_object.name"))
    profile: Mapped[str | None] = mapped_column(ForeignKey("stored_object.name"))
    """Which unit was shown with which keys: what later releases are tested together with."""
    history: Mapped[dict[str, Any] | None]
    """The earlier releases that the disclosure test looked at."""
    clearance: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    cleared_at: Mapped[datetime | None]


class Envelope(Base):
    """A cleared package, encrypted to one recipient."""

    __tablename__ = "envelope"
    release: Mapped[str] = mapped_column(ForeignKey("release.id"), primary_key=True)
    person: Mapped[str] = mapped_column(String(63), primary_key=True)
    object: Mapped[str] = mapped_column(ForeignKey("stored_object.name"))


class Job(Base):
    """Work to be done by a worker; arguments are ids and counts, never personal data."""

    __tablename__ = "job"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    sequence: Mapped[int] = mapped_column(unique=True)
    queue: Mapped[str] = mapped_column(String(16), index=True)
    kind: Mapped[str] = mapped_column(String(32))
    arguments: Mapped[dict[str, Any]]
    exclusive: Mapped[str | None] = mapped_column(String(80))
    """At most one job of a value runs at a time (one scope's spine, say)."""
    state: Mapped[str] = mapped_column(String(12), index=True)
    actor: Mapped[str] = mapped_column(String(63))
    organisation: Mapped[str] = mapped_column(String(63))
    signature: Mapped[str] = mapped_column(String(100))
    """The vault's, over all that says what is to be done; see `api.jobs`."""
    attempts: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    """Grows with every take-over, so that a paused worker can't finish what another has."""
    leased_until: Mapped[datetime | None]
    process: Mapped[str | None] = mapped_column(String(120))
    """Who holds the lease (`api.processes`): when it has died, nobody waits for it."""
    not_before: Mapped[datetime]
    stage: Mapped[str] = mapped_column(String(80), default="")
    share: Mapped[float] = mapped_column(default=0.0)
    result: Mapped[dict[str, Any] | None]
    problem: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class Answer(Base):
    """What a request with an Idempotency-Key came to, kept in the transaction of its change."""

    __tablename__ = "answer"
    person: Mapped[str] = mapped_column(String(63), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    asked: Mapped[str] = mapped_column(String(64))
    """Hash of all that the request said."""
    answer: Mapped[Any] = mapped_column(JSON)
    given_at: Mapped[datetime] = mapped_column(index=True)


class Reason(Base):
    """Why somebody stopped something. The ledger holds a salted commitment to the text."""

    __tablename__ = "reason"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    about: Mapped[str] = mapped_column(String(63), index=True)
    text: Mapped[str] = mapped_column(String(2000))
    salt: Mapped[str] = mapped_column(String(64))
    person: Mapped[str] = mapped_column(String(63))
    given_at: Mapped[datetime]


class UsedAssertion(Base):
    """A client assertion that bought a token already; it can't buy another."""

    __tablename__ = "used_assertion"
    used: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Hash of subject and `jti`."""
    expires_at: Mapped[datetime]


class Stranger(Base):
    """Refusals of callers who never proved who they are: counted, not listed."""

    __tablename__ = "stranger"
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    type: Mapped[str] = mapped_column(String(63), primary_key=True)
    count: Mapped[int]


class RefusedRequest(Base):
    """What somebody known was refused, by the hour: the first is in the ledger, all are counted.

    Forged jobs as well, which are nobody's.
    """

    __tablename__ = "refused_request"
    hour: Mapped[str] = mapped_column(String(13), primary_key=True)
    person: Mapped[str] = mapped_column(String(63), primary_key=True)
    route: Mapped[str] = mapped_column(String(120), primary_key=True)
    """Method and path template."""
    type: Mapped[str] = mapped_column(String(63), primary_key=True)
    count: Mapped[int]


def counted_once(session: Session, now: datetime, person: str, route: str, kind: str) -> bool:
    """Count a refusal; whether it is the hour's first of its kind there, for the ledger to hear."""
    hour = now.strftime("%Y-%m-%dT%H")
    row = session.get(RefusedRequest, (hour, person, route, kind))
    if row is not None:
        row.count += 1
        return False
    session.add(RefusedRequest(hour=hour, person=person, route=route, type=kind, count=1))
    session.flush()
    return True


class Unconfirmed(Exception):  # noqa: N818 - the state it is in
    """Whether the last change is on the disk isn't known; the next start of the service decides."""


class StorageGone(Exception):  # noqa: N818 - what became of it
    """The database's file was removed or replaced under the running service; nothing was done."""


_STOPPED: "WeakSet[Pool]" = WeakSet()
"""Connections of engines that write no more; see `stopped`."""


def stopped(engine: Engine) -> bool:
    """Whether a commit failed: this process has to end, since nobody knows what the disk holds.

    SQLite's log may have the change or not, and the kernel may have forgotten that writing it
    failed; a second fsync would say that all is well. Whoever opens the database next reads what is
    there. Until then this process writes nothing, so that the answer can't become another.
    """
    return engine.pool in _STOPPED


def there(url: str) -> bool:
    """Whether the database of this URL exists; looked for without opening it."""
    return Path(str(make_url(url).database)).is_file()


def connect(url: str) -> Engine:
    """The engine; writers queue up for SQLite's one write lock instead of failing."""
    # parameters hold what people sent, and an error would print them into a log
    engine = create_engine(url, module=sqlite, hide_parameters=True)
    files = [Path(f"{make_url(url).database}{ending}") for ending in ("", "-wal")]

    @event.listens_for(engine, "connect")
    def _durable(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=30000",
            "secure_delete=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # opens the log
        _record.info["files"] = [_identity(file) for file in files]

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        if stopped(engine):
            raise Unconfirmed
        connection.info["committing"] = False  # the last transaction's commit is long over
        reading = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    @event.listens_for(engine, "commit")
    def _commit(connection: Any) -> None:
        if connection.get_execution_options().get("read_only", False):
            return
        if stopped(engine):
            raise Unconfirmed
        if connection.info["files"] != [_identity(file) for file in files]:
            _STOPPED.add(engine.pool)  # SQLite would go on writing into what nobody can open again
            raise StorageGone
        connection.info["committing"] = True

    @event.listens_for(engine, "handle_error")
    def _failed(context: ExceptionContext) -> None:
        if context.connection is not None and context.connection.info.get("committing"):
            _STOPPED.add(engine.pool)
            raise Unconfirmed from context.original_exception

    return engine


def _identity(file: Path) -> tuple[int, int] | None:
    """Which file stands under a name."""
    try:
        held = file.stat()
    except FileNotFoundError:
        return None
    return held.st_dev, held.st_ino


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """One transaction that may change things; an error takes all of it back."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """One consistent look; never waits for a writer."""
    with Session(engine.execution_options(read_only=True), expire_on_commit=False) as session:
        yield session
        session.expunge_all()  # what was read stays readable after the look has ended


def healthy(engine: Engine) -> bool:
    """Whether the database answers."""
    with engine.execution_options(read_only=True).connect() as connection:
        return bool(connection.execute(text("SELECT 1")).scalar_one() == 1)
