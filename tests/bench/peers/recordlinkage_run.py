"""The Python Record Linkage Toolkit on small files: `python recordlinkage_run.py JOB.json`.

JOB as in `splink_run.py`. Its documentation's way without labels: blocks joined, Jaro–Winkler for
texts, exact for the rest, and the ECM classifier (Fellegi–Sunter by expectation maximisation).
Duplicates are the connected components of its links.
"""

import json
import re
import sys
import time
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import recordlinkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

TEXTS = {"first_name", "last_name", "street", "municipality", "text"}


def folded(value: Any) -> Any:
    """A text in small letters without accents and signs; None for nothing."""
    if not isinstance(value, str):
        return None
    plain = unicodedata.normalize("NFD", value.lower()).encode("ascii", "ignore").decode()
    return re.sub("[^a-z0-9]+", "", plain) or None


def table(job: dict[str, Any], side: str) -> Any:
    """One file: a column per field, named by type (and number where a type comes twice)."""
    path, plan = job[side], job["plan"]
    frame = pd.read_parquet(path) if path.endswith(".parquet") else pd.read_csv(path, dtype=str)
    frame = frame.set_index(plan["id"][side])
    columns = {}
    for field in plan["fields"]:
        column = frame[field[side]]
        if field["type"] == "birth_date":
            iso = pd.to_datetime(column, format="%Y-%m-%d", errors="coerce")
            other = pd.to_datetime(column, format=field.get("format", "%Y-%m-%d"), errors="coerce")
            column = iso.fillna(other).dt.strftime("%Y%m%d")
        elif field["type"] == "sex":
            column = column.map({"1": "M", "2": "F", "M": "M", "F": "F"})
        name = field["type"]
        while name in columns:
            name += "_"
        columns[name] = column.map(folded)
    return pd.DataFrame(columns)


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Link, and say what it took."""
    files = [table(job, side) for side in ("a", "b") if job.get(side)]
    indexer = recordlinkage.Index()
    for rule in job["plan"]["blocking"]:
        indexer.block(rule)
    candidates = indexer.index(*files)
    compare = recordlinkage.Compare()
    for name in files[0].columns:
        if name.rstrip("_") in TEXTS:
            compare.string(name, name, method="jarowinkler", threshold=0.85, label=name)
        else:
            compare.exact(name, name, label=name)
    features = compare.compute(candidates, *files)
    found = recordlinkage.ECMClassifier().fit_predict(features)
    pairs = found.to_frame(index=False) if job.get("b") else together(found)
    links = pairs.astype(str).set_axis(["left_id", "right_id"], axis=1).assign(probability=1.0)
    links.to_csv(Path(job["folder"]) / "links.csv", index=False)
    seconds = round(time.monotonic() - job["begun"], 3)
    return {
        "seconds": seconds,
        "processor": round(time.process_time(), 3),
        "candidates": {"all": len(candidates)},
        "peak": peak(),
    }


def together(found: Any) -> Any:
    """Every pair of rows that links join, directly or through others."""
    ids = found.get_level_values(0).union(found.get_level_values(1)).unique()
    rows, columns = (ids.get_indexer(found.get_level_values(level)) for level in (0, 1))
    graph = coo_array((np.ones(len(found)), (rows, columns)), shape=(len(ids), len(ids)))
    group = connected_components(graph, directed=False)[1]
    members = pd.DataFrame({"row": ids, "group": group})
    pairs = members.merge(members, on="group")
    return pairs.loc[pairs["row_x"] < pairs["row_y"], ["row_x", "row_y"]]


def peak() -> int:
    """The largest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) << 10


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
