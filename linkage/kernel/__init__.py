"""The engine: two files as columns of small integers, candidates in bounded chunks, three classes.

| file | question |
|---|---|
| `columns.py` | what do the rows say, as integers |
| `alike.py` | how alike can two texts be at most, and how alike are they |
| `levels.py` | how does a pair compare, field by field |
| `numbers.py` | what does a common number prove |
| `blocks.py`, `rules.py` | which pairs are worth a look, and by which rules |
| `weights.py`, `estimate.py` | what does a comparison weigh, and where do the weights come from |
| `score.py` | the pairs that may be one unit, out of all candidates |
| `assign.py` | who goes with whom |
"""
