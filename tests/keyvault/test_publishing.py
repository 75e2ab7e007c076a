"""The service's public keys, believed over a rotation by whoever knew them before."""

from sqlalchemy import Connection

from keyvault.publishing import endorsed
from tests.keyvault.conftest import NOW, House


def test_a_rotated_list_of_keys_is_vouched_for_by_a_key_from_before(
    house: House, conn: Connection
) -> None:
    """Whoever knew the service before a rotation knows it afterwards; nobody else's list passes."""
    known = house.vault.public_keys(conn)["receipt"]
    for purpose in ("receipt", "intake-identity"):
        house.vault.rotate_key(conn, purpose, now=NOW)
        shown = house.vault.public_keys(conn)
        assert endorsed(shown, known)
    for changed in (
        {**shown, "uploads": "age1mallory"},
        {**shown, "ledger": []},
        {**shown, "endorsements": []},
        {**shown, "endorsements": None},
        {**shown, "endorsements": ["x", {"key": known[0], "signature": "AA"}]},
    ):
        assert not endorsed(changed, known)
    assert not endorsed(shown, ["another"])
