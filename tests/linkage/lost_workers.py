"""Workers of a Spark cluster killed while they work: `make lost-workers`, two minutes or so.

Two executor processes of a local cluster share a linkage of 200,000 rows with as many; one of them
is killed when rows are handed over, copied, weighed. Another takes its place, and the links must be
those of one process, to the last bit. It is no part of the suite because of the time it takes.
"""

import os
import secrets
import signal
import tempfile
from pathlib import Path

from linkage.matching import match
from linkage.spark import cluster
from tests.linkage.kernel.country import country, plan
from tests.linkage.test_spark import assert_same, spark_home

ROWS = 200_000
MOMENTS = (0.05, 0.15, 0.3, 0.6)
"""Shares of the work after which an executor is killed."""


def executors() -> list[int]:
    """The executor processes of a cluster that this process started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it ended meanwhile
            continue
        if b"CoarseGrainedExecutorBackend" in arguments and _is_ours(parent):
            found.append(int(folder.name))
    return sorted(found)


def _is_ours(process: int) -> bool:
    while process > 1 and process != os.getpid():
        process = int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return process == os.getpid()


def main() -> None:
    """Kill an executor at each of the moments; a difference raises AssertionError."""
    some = country(ROWS)
    here = match(some.a, some.b, plan())
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "spark.master": "local-cluster[2,1,1024]",
            "spark.authenticate.secret": secrets.token_hex(32),
            "spark.local.dir": folder,
        }
        lines = "".join(f"{name} {value}\n" for name, value in settings.items())
        Path(folder, "spark-defaults.conf").write_text(lines)
        os.environ |= {
            "SPARK_CONF_DIR": folder,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_HOME": spark_home(Path(folder)),
        }
        with cluster() as engine:
            for moment in MOMENTS:
                killed: list[int] = []

                def told(
                    stage: str, share: float, moment: float = moment, killed: list[int] = killed
                ) -> None:
                    if stage == "score" and share >= moment and not killed:
                        killed.append(executors()[0])
                        os.kill(killed[0], signal.SIGKILL)

                there = match(some.a, some.b, plan(), progress=told, engine=engine)
                assert killed, f"the work was over before {moment:.0%} of it was told"
                assert_same(here, there)
                print(f"killed a worker after {moment:.0%}: {len(there.left):,} links, the same")


if __name__ == "__main__":
    main()
