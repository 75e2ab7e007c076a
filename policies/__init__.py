"""Who may, and what may leave.

Approvals, permits, coarsening, disclosure tests and release packages. Nothing here holds a key,
opens a database or speaks HTTP; every function takes its data, its clock and its limits as
arguments. The vault imports `policies.permits`, so this file stays light.
"""


class PolicyError(Exception):
    """Base of every error of this package. A message never holds a value that came from data."""
