"""The engine beyond one machine: Apache Spark brings the blocks to its workers, the kernel weighs.

What runs where. The driver (the process that calls `match`) encodes both files, blocks and
estimates as it always does, so that blocks and weights are the very same. It sends every row's
codes once, and the distinct values once to each worker. Workers copy a row for every rule that has
candidates for it; Spark shuffles the copies, so that a slice of a rule's blocks comes together in
one task; there the kernel's own Scorer weighs the slice's candidates. The few pairs that are left
come back to the driver, which puts them in the order in which one machine finds them, works out
their odds, and assigns. So the links are the same, bit for bit.

Settings are Spark's own (`spark-defaults.conf`; see docker/README.md). Whatever they say, what
travels between processes or lies on a worker's disk is encrypted.
"""

import hashlib
import os
import pickle
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from importlib.metadata import version
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from linkage import kernel
from linkage.datasets import LinkageError
from linkage.kernel.blocks import Blocked
from linkage.kernel.columns import Side, Vocabulary
from linkage.kernel.levels import Pairs
from linkage.kernel.score import Scored, Scorer, weigh

if TYPE_CHECKING:
    from pyspark import RDD, SparkConf, SparkContext
    from pyspark.core.broadcast import Broadcast

JAVA: Final = 17
"""The oldest Java that Spark 4 runs on."""
PACKET: Final = 1 << 16
"""Rows that leave the driver together."""
PORTION: Final = 32
"""Packets that the driver's Java holds at a time."""
ROW: Final = 16
"""What a row costs a task: about as much as so many candidates."""
SLICE: Final = (1 << 19, 1 << 25)
"""The least and the most that a task should cost, in candidates."""
ROUNDS: Final = 4
"""Tasks per core: while some take long, others go on."""
HANDED: Final = 0.1
"""The share of the work that is done when all rows are with the workers."""
COPIED: Final = 0.1
"""The share that copying and shuffling them takes."""
TRIES: Final = 3
"""How often rows are handed over when both workers that keep one go away."""
LOOK: Final = 0.3
"""Seconds between looks at how far Spark is."""

Places = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Travelling = tuple[int, Places, Any]
"""A side (0 is `a`), a row's place in the order of a rule's key (of `a` also start and count of its
candidates), and its record of codes."""
Found = tuple[int, Places, Places, npt.NDArray[np.int8]]
"""A slice, places in it, left and right, and levels."""


class SparkMissing(LinkageError):  # noqa: N818 - what it is
    """Spark isn't there, or nothing that it could run on."""


class SparkFailed(LinkageError):  # noqa: N818 - what it is
    """Spark didn't finish; the message says where to look."""


@contextmanager
def cluster() -> "Iterator[OnSpark]":
    """An engine for `match`: the cluster that Spark's settings name, or this machine's cores.

    Raises SparkMissing where PySpark or Java isn't installed, and SparkFailed where the cluster
    doesn't answer.
    """
    with ExitStack() as stack:
        with warnings.catch_warnings():
            # PySpark warns of a pandas that it doesn't know; it has no part in this
            warnings.simplefilter("ignore", FutureWarning)
            context = _connected(stack)
        yield OnSpark(context)


class OnSpark:
    """Weighs candidates like `Scorer.run`, on the workers of a Spark context."""

    def __init__(self, context: "SparkContext") -> None:
        self._context = context
        self._runs = count()

    def __call__(
        self, scorer: Scorer, blocked: Sequence[Blocked], *, told: Callable[[float], None]
    ) -> Scored:
        """All candidates of all rules, in the order of `Scorer.run`.

        Raises SparkFailed.
        """
        from py4j.protocol import Py4JError

        if not any(one.candidates for one in blocked):
            return _joined(scorer, blocked, [], [])
        forward = _Forward(told)
        for attempt in range(1, TRIES + 1):
            try:
                slices, found = self._found(scorer, blocked, forward)
            except (Py4JError, ConnectionError) as error:
                said = _said(error)
                if attempt == TRIES or "CHECKPOINT_RDD_BLOCK" not in said:
                    raise SparkFailed(_reason(said)) from error
            else:
                break
        return _joined(scorer, blocked, slices, found)

    def _found(
        self, scorer: Scorer, blocked: Sequence[Blocked], told: Callable[[float], None]
    ) -> tuple[list["_Slice"], list[Found]]:
        packets = _Packets(scorer, blocked)
        shared = self._context.broadcast(_Bare(scorer))
        handed: list[RDD[Any]] = []
        try:
            for some in packets.portions():
                handed.append(self._handed(some))
                told(HANDED * min(len(handed) * PORTION / len(packets), 1.0))
            # by now the workers have come, and their cores count
            cuts = _cut(blocked, self._context.defaultParallelism)
            slices = [one for cut in cuts for one in cut.slices()]
            work = (
                self._context.union(handed)
                .flatMap(partial(_copied, cuts=cuts))
                .partitionBy(len(slices), int)
                .mapPartitions(partial(_weighed, bare=shared, slices=slices, like=_versions()))
            )
            return slices, self._collected(
                work, lambda done: told(_share(done, len(packets), len(slices)))
            )
        finally:
            for rows in handed:
                rows.unpersist()
            shared.destroy()

    def _handed(self, packets: list[Any]) -> "RDD[Any]":
        """Packets on the disks of two workers, and no longer in the driver's memory."""
        from pyspark import StorageLevel

        rows = self._context.parallelize(packets, len(packets)).coalesce(len(packets))
        rows.persist(StorageLevel.DISK_ONLY_2)
        rows.localCheckpoint()  # or the driver would keep them, to send them again
        rows.foreach(_nothing)
        return rows

    def _collected(self, work: "RDD[Found]", told: Callable[[int], None]) -> list[Found]:
        """What the tasks find; tells how many of them are done while they run."""
        run = f"schakel-{next(self._runs)}"

        def collect() -> list[Found]:
            self._context.setJobGroup(run, "weighing candidates", interruptOnCancel=True)
            found: list[Found] = work.collect()
            return found

        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(collect)
            try:
                while not _within(coming, LOOK):
                    told(self._done(run))
                return coming.result()
            finally:
                if not coming.done():
                    self._context.cancelJobGroup(run)

    def _done(self, run: str) -> int:
        """How many tasks of a run are done."""
        tracker = self._context.statusTracker()
        jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(run)]
        stages = [tracker.getStageInfo(one) for job in jobs if job for one in job.stageIds]
        return sum(one.numCompletedTasks for one in stages if one)


class _Forward:
    """Tells shares, but none that is less than the last: a lost worker's tasks are done again."""

    def __init__(self, told: Callable[[float], None]) -> None:
        self._told, self._most = told, 0.0

    def __call__(self, share: float) -> None:
        self._most = max(self._most, share)
        self._told(self._most)


def _share(done: int, packets: int, slices: int) -> float:
    """How far the work is when so many tasks are done: first packets are copied, then weighed."""
    copied = min(done, packets)
    begun = HANDED + COPIED * copied / packets
    return begun + (1.0 - HANDED - COPIED) * min((done - copied) / slices, 1.0)


def _nothing(_: Any) -> None:
    """What is done with a packet that only has to arrive."""


def _within(coming: "Future[Any]", seconds: float) -> bool:
    try:
        coming.exception(seconds)
    except TimeoutError:
        return False
    return True


@dataclass(frozen=True)
class _Slice:
    """Candidates of one task: places `first` to `last` of a rule's `a`, `low` to `high` of `b`."""

    rule: int
    first: int
    last: int
    low: int
    high: int


@dataclass(frozen=True)
class _Cut:
    """How a rule's candidates are cut into slices; the first of them has the number `number`."""

    rule: int
    number: int
    first: Ints
    last: Ints
    low: Ints
    high: Ints

    def slices(self) -> Iterator[_Slice]:
        """Its slices, in turn."""
        columns = (self.first, self.last, self.low, self.high)
        for bounds in zip(*(column.tolist() for column in columns), strict=True):
            yield _Slice(self.rule, *bounds)

    def of(self, side: int, places: Places) -> tuple[Ints, Ints]:
        """Where those places stand that a slice needs, and the slice's number.

        A place of `b` is in several slices where a large block was cut.
        """
        if side == 0:
            there = np.flatnonzero(places >= 0)
            return there, np.searchsorted(self.last, places[there], "right") + self.number
        begin = np.searchsorted(self.high, places, "right")
        end = np.searchsorted(self.low, places, "right")
        times = np.where(places >= 0, np.maximum(end - begin, 0), 0)
        there = np.repeat(np.arange(len(places)), times)
        nth = np.arange(len(there)) - np.repeat(np.cumsum(times) - times, times)
        return there, begin[there] + nth + self.number


def _cut(blocked: Sequence[Blocked], cores: int) -> list[_Cut]:
    """Cut all rules' candidates into slices that cost about the same."""
    costs = [np.cumsum(one.count + ROW) for one in blocked]
    whole = sum(int(cost[-1]) for cost in costs if len(cost))
    wanted = int(np.clip(whole // (ROUNDS * cores), *SLICE))
    cuts, number = [], 0
    for rule, (one, cost) in enumerate(zip(blocked, costs, strict=True)):
        if not len(cost):
            continue
        upto = np.searchsorted(cost, np.arange(wanted, int(cost[-1]), wanted), "right")
        first = np.unique(np.append(0, upto[upto < len(cost)]))
        low = np.minimum.reduceat(one.start, first)
        high = np.maximum.reduceat(one.start + one.count, first)
        cuts.append(_Cut(rule, number, first, np.append(first[1:], len(cost)), low, high))
        number += len(first)
    return cuts


class _Packets:
    """The rows of both files as the driver sends them, made as they leave.

    A packet is a side, per rule the rows' places (-1: no candidates), and the rows' records.
    """

    def __init__(self, scorer: Scorer, blocked: Sequence[Blocked]) -> None:
        self._sides = (scorer.encoded.a, scorer.encoded.b)
        self._tables, self._blocked = scorer.tables, blocked
        self._places = [
            [_places(rows, side.rows) for rows in ordered]
            for side, ordered in zip(
                self._sides, ([o.a for o in blocked], [o.b for o in blocked]), strict=True
            )
        ]

    def __len__(self) -> int:
        return sum(-(-side.rows // PACKET) for side in self._sides)

    def portions(self) -> Iterator[list[tuple[int, list[Places], Any]]]:
        """All packets, PORTION at a time."""
        packets = self._made()
        while some := list(islice(packets, PORTION)):
            yield some

    def _made(self) -> Iterator[tuple[int, list[Places], Any]]:
        for side, rows in enumerate(self._sides):
            for begin in range(0, rows.rows, PACKET):
                some = slice(begin, min(begin + PACKET, rows.rows))
                keys = [self._keys(side, rule, some) for rule in range(len(self._blocked))]
                yield side, keys, _records(rows, {} if side else self._tables, some)

    def _keys(self, side: int, rule: int, some: slice) -> Places:
        """The places of some rows; of `a` also where their candidates start, and how many."""
        place, one = self._places[side][rule][some], self._blocked[rule]
        if side or not len(one.a):
            return place[np.newaxis]
        return np.vstack([place, one.start[place], one.count[place]]).astype(np.int32)


def _places(ordered: Places, rows: int) -> Places:
    """Where each row stands in an order of some of them; -1 for the others."""
    places = np.full(rows, -1, np.int32)
    places[ordered] = np.arange(len(ordered), dtype=np.int32)
    return places


def _records(side: Side, tables: Mapping[str, Any], some: slice) -> Any:
    """Codes and rarities of some rows, a record per row."""
    columns = {("code", part): codes[some] for part, codes in side.codes.items()}
    columns |= {("rarity", part): table[some] for part, table in tables.items()}
    kinds = [(f"{kind} {part}", column.dtype) for (kind, part), column in columns.items()]
    records = np.empty(some.stop - some.start, kinds)
    for (name, _), column in zip(kinds, columns.values(), strict=True):
        records[name] = column
    return records


def _column(records: Any, kind: str) -> dict[str, Any]:
    """The columns of a kind that records hold, by part."""
    names = [name for name in records.dtype.names if name.startswith(f"{kind} ")]
    return {name.removeprefix(f"{kind} "): np.ascontiguousarray(records[name]) for name in names}


class _Bare:
    """A scorer without rows, and its vocabularies without what follows from their texts.

    It travels as bytes, because PySpark 4.3 can't encrypt large arrays in a broadcast; a worker
    reads them once.
    """

    def __init__(self, scorer: Scorer) -> None:
        encoded = scorer.encoded
        fresh = {id(words): Vocabulary(words.texts) for words in encoded.vocabularies.values()}
        words = {part: fresh[id(one)] for part, one in encoded.vocabularies.items()}
        nobody = Side(0, {})
        bare = scorer.of(replace(encoded, a=nobody, b=nobody, vocabularies=words), {})
        self._bytes = pickle.dumps(bare)

    @cached_property
    def scorer(self) -> Scorer:
        """The scorer, on a worker."""
        scorer: Scorer = pickle.loads(self._bytes)  # noqa: S301 - from the driver, authenticated
        return scorer


def _copied(
    packet: tuple[int, list[Places], Any], cuts: Sequence[_Cut]
) -> Iterator[tuple[int, Travelling]]:
    """On a worker: a packet's rows by the number of the slice that they're needed in."""
    side, keys, records = packet
    for cut in cuts:
        key = keys[cut.rule]
        there, numbers = cut.of(side, key[0])
        order = np.argsort(numbers, kind="stable")
        there, numbers = there[order], numbers[order]
        ends = np.append(np.flatnonzero(np.diff(numbers)) + 1, len(numbers))
        begin = 0
        for end in ends[ends > 0].tolist():
            some = there[begin:end]
            yield int(numbers[begin]), (side, key[:, some], records[some])
            begin = end


def _weighed(
    rows: Iterable[tuple[int, Travelling]],
    bare: "Broadcast[_Bare]",
    slices: Sequence[_Slice],
    like: str,
) -> Iterator[Found]:
    """On a worker: what is left of the candidates of one slice."""
    if _versions() != like:
        raise SparkFailed(
            "A worker has another version of Schakel or of a library than this machine: give all "
            "of them the same environment (docker/README.md)."
        )
    number, sides = -1, ([], [])  # type: tuple[int, tuple[list[Any], list[Any]]]
    for number, (side, key, records) in rows:  # noqa: B007 - one number in all of them
        sides[side].append((key, records))
    (key, a), (_, b) = (_ordered(side) for side in sides)
    one, scorer = slices[number], bare.value.scorer
    blocked = Blocked(
        np.arange(len(a), dtype=np.int32), np.arange(len(b), dtype=np.int32),
        key[1].astype(np.int64) - one.low, key[2].astype(np.int64),
    )  # fmt: skip
    encoded = replace(
        scorer.encoded, a=Side(len(a), _column(a, "code")), b=Side(len(b), _column(b, "code"))
    )
    found = scorer.of(encoded, _column(a, "rarity")).weighed(one.rule, blocked)
    yield number, found.left, found.right, found.levels


def _ordered(packets: Sequence[tuple[Places, Any]]) -> tuple[Places, Any]:
    """The rows that came for a side, in the order of the rule's key."""
    keys = np.concatenate([key for key, _ in packets], axis=1)
    order = np.argsort(keys[0])
    return keys[:, order], np.concatenate([records for _, records in packets])[order]


def _joined(
    scorer: Scorer, blocked: Sequence[Blocked], slices: Sequence[_Slice], found: Sequence[Found]
) -> Scored:
    """The pairs of all slices in the order of one machine, with their odds."""
    left, right = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    levels = [np.zeros((0, len(scorer.weights.comparisons)), np.int8)]
    for number, lefts, rights, some in sorted(found, key=lambda one: one[0]):
        one = slices[number]
        left.append(blocked[one.rule].a[lefts + one.first])
        right.append(blocked[one.rule].b[rights + one.low])
        levels.append(some)
    pairs = Pairs(scorer.encoded, np.concatenate(left), np.concatenate(right))
    return weigh(scorer.weights, scorer.tables, pairs, list(np.concatenate(levels).T))


@cache
def _versions() -> str:
    """What the links depend on, in a few characters: the kernel's source, and libraries."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(Path(kernel.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    for library in ("numpy", "pyarrow", "rapidfuzz"):
        digest.update(version(library).encode())
    return digest.hexdigest()


def _connected(stack: ExitStack) -> "SparkContext":
    """A context with the settings that Spark finds, and those that aren't a matter of choice.

    `stack` ends what is begun here.
    """
    _find_java()
    try:
        from pyspark import SparkConf, SparkContext
        from pyspark.errors import PySparkRuntimeError
    except ImportError:
        raise SparkMissing(
            "The engine spark needs PySpark 4: pip install 'schakel[spark]'."
        ) from None
    from py4j.protocol import Py4JJavaError

    try:
        stack.enter_context(_java())
        conf = SparkConf()  # knows spark-defaults.conf and PYSPARK_SUBMIT_ARGS by now
        context = SparkContext(conf=_settings(conf))
    except (PySparkRuntimeError, Py4JJavaError) as error:
        raise SparkFailed(_reason(_said(error))) from error
    stack.callback(context.stop)
    context.pythonExec = os.environ.get("PYSPARK_PYTHON", sys.executable)
    return context


@contextmanager
def _java() -> Iterator[None]:
    """A Java of our own for PySpark, which would keep it until this process ends."""
    from pyspark import SparkContext
    from pyspark.java_gateway import launch_gateway

    # unless somebody has said what to log, and where, it is mostly chatter between our lines
    logged = Path(os.environ.get("SPARK_CONF_DIR", ""), "log4j2.properties").is_file()
    gateway = launch_gateway(popen_kwargs={} if logged else {"stderr": subprocess.DEVNULL})
    try:
        SparkContext._ensure_initialized(gateway=gateway)
        yield
    finally:
        gateway.shutdown()
        gateway.proc.stdin.close()  # that is its sign to leave
        gateway.proc.wait()
        SparkContext._gateway = SparkContext._jvm = None


def _settings(conf: "SparkConf") -> "SparkConf":
    """Settings with what this engine insists on, and what nobody has chosen otherwise."""
    for name in ("authenticate", "network.crypto.enabled", "io.encryption.enabled"):
        conf.set(f"spark.{name}", "true")
    conf.set("spark.ui.enabled", "false")  # its pages ask nobody who they are
    conf.set("spark.ui.showConsoleProgress", "false")
    conf.setAppName("schakel")
    conf.setIfMissing("spark.driver.maxResultSize", "0")  # there are a few pairs per row
    if (conf.get("spark.master") or "").startswith("local"):
        conf.setIfMissing("spark.driver.host", "127.0.0.1")
        conf.setIfMissing("spark.driver.bindAddress", "127.0.0.1")
    return conf


def _find_java() -> None:
    """Raise SparkMissing unless Java is there, and not too old."""
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home, "bin", "java")) if home else shutil.which("java")
    told = ""
    if program is not None and Path(program).exists():
        told = subprocess.run([program, "-version"], capture_output=True, text=True).stderr
    found = re.search(r'version "(\d+)', told)
    if found is None or int(found[1]) < JAVA:
        raise SparkMissing(
            f"The engine spark needs Java {JAVA} or later, on the path or where JAVA_HOME says "
            "(Debian package openjdk-17-jre-headless)."
        )


def _said(error: Exception) -> str:
    """What an error says; one of Java's says it as long as Java is there."""
    from py4j.protocol import Py4JError

    try:
        return str(error)
    except (Py4JError, ConnectionError):
        return type(error).__name__


def _reason(told: str) -> str:
    """A sentence for what Spark says went wrong; no more of that than the kind of error."""
    ours = re.search(r"SparkFailed: (.+)", told)
    absent = re.search(r"ModuleNotFoundError: No module named '([\w.]+)'", told)
    kind = re.search(r"\b([A-Z]\w*(?:Error|Exception))\b", told)
    if ours:
        return ours[1]
    if "spark.authenticate.secret" in told:
        return (
            "Nobody proves who they are on this cluster: set spark.authenticate.secret, the same "
            "for all its processes (docker/README.md)."
        )
    if "stopped SparkContext" in told:
        return "The cluster that spark.master names doesn't answer, or went away."
    if absent:
        return (
            f"A worker has no {absent[1]}: give all of them the same environment as this machine "
            "(docker/README.md)."
        )
    return (
        f"Spark stopped ({kind[1] if kind else 'no reason given'}); what it logs, where "
        "SPARK_CONF_DIR holds a log4j2.properties, says why."
    )
