"""The engine on Spark: the same links as here, from Spark's workers (S26)."""

import gc
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from api.cli import run
from linkage import spark
from linkage.kernel.score import Scorer
from linkage.matching import Matched, match
from linkage.plans import FilePlan
from linkage.spark import OnSpark, SparkFailed, SparkMissing, cluster
from tests.conftest import missing
from tests.linkage.kernel.country import FIELDS, NUMBER, country, plan

ROOT = Path(__file__).parents[2]
ROWS = 6_000

# PySpark 4.3 leaves sockets to the collector
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def doubles() -> FilePlan:
    """A plan for the rows of the country's second file among themselves."""
    fields = [{"type": kind, "a": column} for kind, _, column in FIELDS]
    fields[2]["format"] = "%d/%m/%Y"
    return FilePlan.from_mapping({"unit": "person", "id": "record", "fields": fields}, dedupe=True)


def jobs() -> dict[str, tuple[Any, Any, FilePlan]]:
    """Persons of two files with their households, with and without numbers, and of one file."""
    some = country(ROWS)
    half = some.b.slice(0, ROWS // 2)
    return {
        "two files": (some.a, some.b, plan()),
        "rows that numbers leave": (some.a, half, plan(number=True, assignment="many-to-one")),
        "one file": (some.b, None, doubles()),
    }


def assert_same(one: Matched, other: Matched) -> None:
    """To the last bit: links, weights, and every pair that was weighed."""
    assert len(one.pairs)
    for name in ("left", "right", "weight", "probability", "rule", "chances", "group"):
        here, there = getattr(one, name), getattr(other, name)
        assert (here is None and there is None) or np.array_equal(
            here, there, equal_nan=name in ("weight", "probability")
        ), name
    for name in ("left", "right", "odds", "strangers", "levels"):
        assert np.array_equal(getattr(one.pairs, name), getattr(other.pairs, name)), name


class Alike:
    """What Spark does with the tasks, in this process: rows of a slice come in any order."""

    def __init__(self, seed: int) -> None:
        self.value: Any = None
        self.slices = 0
        self._random = random.Random(seed)

    def __call__(self, scorer: Scorer, blocked: Any, *, told: Any) -> Any:
        told(0.0)
        cuts = spark._cut(blocked, 2)
        slices = [one for cut in cuts for one in cut.slices()]
        self.slices, self.value = len(slices), spark._Bare(scorer)
        sent = defaultdict(list)
        for packet in itertools.chain(*spark._Packets(scorer, blocked).portions()):
            for number, rows in spark._copied(packet, cuts):
                sent[number].append((number, rows))
        assert sorted(sent) == list(range(len(slices)))
        found = []
        for rows in self._random.sample(list(sent.values()), len(sent)):
            self._random.shuffle(rows)
            found += spark._weighed(rows, self, slices, spark._versions())  # type: ignore[arg-type]
        return spark._joined(scorer, blocked, slices, found)


@cache
def small() -> list[tuple[Any, Any, FilePlan, Matched]]:
    """Two small jobs, and what they give here."""
    some = country(500, 3)
    both = [(some.a, some.b, plan()), (some.b, None, doubles())]
    return [(a, b, asked, match(a, b, asked)) for a, b, asked in both]


@settings(max_examples=6)
@given(st.sampled_from([1, 1 << 9, 1 << 12]), st.integers(20, 1_000), st.integers(0, 9))
def test_however_rows_are_cut_the_links_are_the_same(cost: int, packet: int, seed: int) -> None:
    """A task per row of `a`, blocks in several slices, packets of a few rows or of all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spark, "SLICE", (cost, cost))
        patch.setattr(spark, "PACKET", packet)
        patch.setattr(spark, "PORTION", 2)
        for a, b, asked, here in small():
            engine = Alike(seed)
            assert_same(here, match(a, b, asked, engine=engine))
            assert engine.slices > (50 if cost == 1 else 1)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Spark's processes leave what doesn't fit into their memory."""
    return tmp_path_factory.mktemp("spark")


@pytest.fixture(scope="module")
def engine(disk: Path) -> Iterator[OnSpark]:
    """Spark in local mode, with small slices and packets, so that there are many."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as sizes:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(
                "PYSPARK_SUBMIT_ARGS",
                f"--master local[2] --conf spark.local.dir={disk} pyspark-shell",
            )
            patch.delenv("SPARK_CONF_DIR", raising=False)
            patch.chdir(disk)  # Python's workers look where they are before they look elsewhere
            try:
                found = stack.enter_context(cluster())
            except SparkMissing as error:
                missing(str(error))
        sizes.setattr(spark, "SLICE", (1 << 14, 1 << 16))
        sizes.setattr(spark, "PACKET", 1 << 11)
        sizes.setattr(spark, "PORTION", 2)
        sizes.setattr(spark, "LOOK", 0.02)
        yield found
        gc.collect()


@pytest.mark.parametrize("name", jobs())
def test_spark_gives_the_same_links(engine: OnSpark, disk: Path, name: str) -> None:
    """And tells how far it is; and what its processes put on disk nobody can read."""
    a, b, asked = jobs()[name]
    here = match(a, b, asked)
    names = here.encoded.vocabularies["last"].texts.to_pylist()
    common = [text.encode() for text in names[:200] if len(text) > 8]
    shares: list[float] = []
    written = 0

    def told(stage: str, share: float) -> None:
        nonlocal written
        if stage == "score":
            shares.append(share)
            for text in _files(disk):
                written += len(text)
                assert not any(name in text for name in common)

    assert_same(here, match(a, b, asked, progress=told, engine=engine))
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] <= 1.0
    assert len(set(shares)) > 3  # every portion that was handed over is told
    assert max(shares) > 0.2 or b is None  # few tasks are over before anybody looks
    assert written > 100_000


def _files(folder: Path) -> Iterator[bytes]:
    for path in folder.rglob("*"):
        try:
            yield path.read_bytes()
        except OSError:  # a folder, or gone meanwhile
            continue


def test_workers_that_could_give_other_links_are_refused(
    engine: OnSpark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another kernel, or libraries that aren't there: one sentence says what to do."""
    shutil.copytree(ROOT / "linkage", tmp_path / "linkage")
    with (tmp_path / "linkage/kernel/score.py").open("a") as file:
        file.write("# another version\n")
    some, context = country(800, 3), engine._context
    monkeypatch.setitem(context.environment, "PYTHONPATH", str(tmp_path))
    with pytest.raises(SparkFailed, match="another version of Schakel or of a library"):
        match(some.a, some.b, plan(), engine=engine)
    monkeypatch.setattr(context, "pythonExec", f"{sys.base_prefix}/bin/python3")
    with pytest.raises(SparkFailed, match=r"A worker has no \w+: give all of them the same"):
        match(some.a, some.b, plan(), engine=engine)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files and a plan, in the folder where commands are given."""
    some = country(ROWS)
    pq.write_table(some.a, tmp_path / "a.parquet")
    pq.write_table(some.b, tmp_path / "b.parquet")
    fields = [{"type": kind, "a": one, "b": other} for kind, one, other in (NUMBER, *FIELDS)]
    fields[3]["format"] = "%d/%m/%Y"
    document = {"unit": "person", "id": {"a": "rec_id", "b": "record"}, "fields": fields}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(document))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def spark_home(folder: Path) -> str:
    """A home for a local cluster: what its workers leave there isn't left beside PySpark."""
    try:
        spark._find_java()
        import pyspark
    except (SparkMissing, ImportError) as error:
        missing(str(error))
    home = folder / "home"
    home.mkdir()
    for part in ("bin", "jars", "python"):
        (home / part).symlink_to(Path(pyspark.__file__).parent / part)
    return str(home)


LINK = "link a.parquet b.parquet --plan plan.yaml --out {} --engine {}"


def test_several_processes_share_the_work(files: Path) -> None:
    """A local cluster with two executors and the settings that docker/README.md shows."""
    home = spark_home(files)
    events = files / "events"
    events.mkdir()
    shown = dict(
        line.split() for line in _block((ROOT / "docker/README.md").read_text(), "spark.master ")
    )
    assert shown["spark.authenticate"] == "true"
    own = {
        "spark.master": "local-cluster[2,1,1024]",
        "spark.authenticate.secret": random.Random(4).randbytes(32).hex(),
        "spark.executor.memory": "1g",
        "spark.driver.memory": "1g",
        "spark.cores.max": "2",
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",  # nobody begins alone
        "spark.eventLog.enabled": "true",
        "spark.eventLog.compress": "false",
        "spark.eventLog.dir": events.as_uri(),
    }
    defaults = "".join(f"{name} {value}\n" for name, value in (shown | own).items())
    (files / "spark-defaults.conf").write_text(defaults)
    told = subprocess.run(
        [Path(sys.executable).parent / "schakel", *LINK.format("there.parquet", "spark").split()],
        env=os.environ
        | {"SPARK_CONF_DIR": str(files), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_HOME": home},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    assert run(LINK.format("here.parquet", "local").split()) == 0
    assert (files / "there.parquet").read_bytes() == (files / "here.parquet").read_bytes()
    lines = [line for path in events.rglob("events_*") for line in path.read_text().splitlines()]
    ended = [one for one in map(json.loads, lines) if one["Event"] == "SparkListenerTaskEnd"]
    assert {one["Task Info"]["Executor ID"] for one in ended} == {"0", "1"}


def _block(text: str, begins: str) -> list[str]:
    """The lines of the fenced block that begins so."""
    (found,) = re.findall(rf"^```\n({re.escape(begins)}.*?)^```", text, re.MULTILINE | re.DOTALL)
    return str(found).splitlines()


def _java_of(folder: Path, version: str) -> None:
    (folder / "bin").mkdir()
    java = folder / "bin" / "java"
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)


@pytest.mark.parametrize("lacks", ["pyspark", "java", "a newer java"])
def test_what_is_missing_is_named(
    files: Path,
    lacks: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One sentence that says what to install, exit code 2, and nothing written."""
    says = {"pyspark": "pip install 'schakel[spark]'"}.get(lacks, "needs Java 17 or later")
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.setenv("JAVA_HOME", str(files))
    if lacks != "java":
        _java_of(files, "17.0.15" if lacks == "pyspark" else "11.0.2")
    assert run(LINK.format("links.parquet", "spark").split()) == 2
    told = capsys.readouterr().err.strip()
    assert says in told
    assert len(told.splitlines()) == 1
    assert not (files / "links.parquet").exists()


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("A secret key must be specified via the spark.authenticate.secret config.", "Nobody prov"),
        ("java.lang.IllegalStateException: Cannot call methods on a stopped SparkContext.", "went"),
        ("java.lang.OutOfMemoryError: Janssens", r"stopped \(OutOfMemoryError\)"),
        ("Janssens", "no reason given"),
    ],
)
def test_what_spark_says_is_one_sentence_without_values(told: str, says: str) -> None:
    reason = spark._reason(told)
    assert re.search(says, reason)
    assert "Janssens" not in reason
