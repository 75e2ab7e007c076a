"""Who is who: tables in, links out. No keys, no database, no network.

`link(delivery, spine, plan)` is the heart. `extracts` reads what came in, `spine` keeps whom a
scope knows.
"""

from linkage.datasets import LinkageError

__all__ = ["LinkageError"]
