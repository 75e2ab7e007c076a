"""keyvault's own tables. The caller's migrations create them; moments are ISO texts in UTC."""

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

root = Table(
    "vault_root",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),  # active, decrypt-only, destroyed
    Column("created_at", String(40), nullable=False),
    comment="Versions of the root key that custody holds or held; the key itself is never here.",
)

role_key = Table(
    "vault_role_key",
    metadata,
    Column("role", String(16), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("public", LargeBinary, nullable=False),
    Column("root_version", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_at", String(40), nullable=False),
    comment="HPKE key pairs of the process roles; private halves wrapped by the root.",
)

founders = Table(
    "vault_founders",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("root_version", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    comment="One row: the founding administrators' enrolments, wrapped by the root.",
)

sealed_key = Table(
    "vault_key",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("purpose", String(40), nullable=False),
    Column("owner", String(200), nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("role", String(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("public", Text),  # the public half of signing keys and of the age identity
    Column("proof", LargeBinary),  # that the vault made this row; absent on keys made elsewhere
    Column("created_at", String(40), nullable=False),
    UniqueConstraint("purpose", "owner", "version"),
    comment="Keys sealed to a role's public half: data, scopes, projects, the service's own.",
)

enrolment = Table(
    "vault_enrolment",
    metadata,
    Column("person", String(64), primary_key=True),
    Column("at", String(40), primary_key=True),
    Column("document", LargeBinary, nullable=False),
    Column("signatures", LargeBinary, nullable=False),
    comment="Who holds which keys and roles, each row signed by two administrators.",
)

permit = Table(
    "vault_permit",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project", String(64), nullable=False, index=True),
    Column("body", LargeBinary, nullable=False),
    Column("signature", String(100), nullable=False),
    Column("key_version", Integer, nullable=False),
    Column("state", String(16), nullable=False),  # in_force, suspended
    Column("sealed_at", String(40), nullable=False),
    comment="Permits as signed by the vault, byte for byte.",
)

ledger_entry = Table(
    "ledger_entry",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("checkpoint", Text, nullable=False),
    comment="What happened: RFC 6962 leaves and the checkpoint signed when each was added.",
)

ledger_head = Table(
    "ledger_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    comment="One row: how many entries there are, and the roots of their complete subtrees.",
)

ledger_tile = Table(
    "ledger_tile",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
    comment="The ledger's tree in tiles (C2SP tlog-tiles), so that a proof reads few of them.",
)
