"""The door: founding, permits, pseudonyms, signatures."""

import pyarrow as pa

from keyvault import tables
from keyvault.ledger import entries, verify
from tests.keyvault.conftest import NOW, House, Request


def test_everything(house: House, conn, request_: Request) -> None:
    v = house.vault
    env = request_.seal(v, conn)
    p = v.permit(conn, "permit-1", "release", now=NOW)
    ids = pa.array([bytes([i]) * 16 for i in range(5)], pa.binary(16))
    out = v.pseudonyms(conn, "permit-1", "person", ids, now=NOW)
    print(out, [e.kind for e in entries(conn)])
    assert verify(conn, v.ledger(conn).verifier) == []
    print(v.public_keys(conn), env["key"])
    print(len(v.keys(conn)), v.people(conn)[0])
