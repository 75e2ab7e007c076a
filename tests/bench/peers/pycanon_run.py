"""pycanon on a CSV file, in an environment of its own: `python pycanon_run.py FILE KEYS SENSITIVE`.

What is printed is one JSON object: seconds for k, l and t, and what they are. The file is read
before the clock starts.
"""

import json
import sys
import time

import pandas as pd
from pycanon import anonymity

data = pd.read_csv(sys.argv[1], dtype=str)
keys, sensitive = sys.argv[2].split(","), [sys.argv[3]]
begun, found = time.perf_counter(), {}
found["k"] = int(anonymity.k_anonymity(data, keys))
found["l"] = int(anonymity.l_diversity(data, keys, sensitive))
found["t"] = float(anonymity.t_closeness(data, keys, sensitive))
print(json.dumps({"seconds": time.perf_counter() - begun, **found}))
