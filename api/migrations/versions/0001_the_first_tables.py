"""the first tables

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "application",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("applicant", sa.String(length=63), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("advice", sa.JSON(), nullable=True),
        sa.Column("approval", sa.JSON(), nullable=True),
        sa.Column("permit", sa.String(length=63), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("application", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_application_project"), ["project"], unique=False)

    op.create_table(
        "job",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("queue", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("exclusive", sa.String(length=80), nullable=True),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("actor", sa.String(length=63), nullable=False),
        sa.Column("organisation", sa.String(length=63), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("leased_until", sa.DateTime(), nullable=True),
        sa.Column("not_before", sa.DateTime(), nullable=False),
        sa.Column("stage", sa.String(length=80), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("problem", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sequence"),
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_queue"), ["queue"], unique=False)
        batch_op.create_index(batch_op.f("ix_job_state"), ["state"], unique=False)

    op.create_table(
        "organisation",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=400), nullable=False),
        sa.Column("added_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "project",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("applicant", sa.String(length=63), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "reason",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("about", sa.String(length=63), nullable=False),
        sa.Column("text", sa.String(length=2000), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=63), nullable=False),
        sa.Column("given_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("reason", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_reason_about"), ["about"], unique=False)

    op.create_table(
        "refused_request",
        sa.Column("hour", sa.String(length=13), nullable=False),
        sa.Column("person", sa.String(length=63), nullable=False),
        sa.Column("route", sa.String(length=120), nullable=False),
        sa.Column("type", sa.String(length=63), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "person", "route", "type"),
    )
    op.create_table(
        "stored_object",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "stranger",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("type", sa.String(length=63), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("day", "type"),
    )
    op.create_table(
        "used_assertion",
        sa.Column("used", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("used"),
    )
    op.create_table(
        "dataset",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("organisation", sa.String(length=63), nullable=False),
        sa.Column("declaration", sa.JSON(), nullable=False),
        sa.Column("added_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"],
            ["organisation.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "release",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("permit", sa.String(length=63), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("builder", sa.String(length=63), nullable=False),
        sa.Column("report", sa.JSON(), nullable=True),
        sa.Column("refusal", sa.JSON(), nullable=True),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=True),
        sa.Column("package", sa.String(length=32), nullable=True),
        sa.Column("profile", sa.String(length=32), nullable=True),
        sa.Column("history", sa.JSON(), nullable=True),
        sa.Column("clearance", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("cleared_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["package"],
            ["stored_object.name"],
        ),
        sa.ForeignKeyConstraint(
            ["profile"],
            ["stored_object.name"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("release", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_release_project"), ["project"], unique=False)

    op.create_table(
        "delivery",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("dataset", sa.String(length=63), nullable=False),
        sa.Column("organisation", sa.String(length=63), nullable=False),
        sa.Column("period", sa.String(length=10), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("person", sa.String(length=63), nullable=False),
        sa.Column("declared_sha256", sa.String(length=64), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("offset", sa.Integer(), nullable=False),
        sa.Column("upload", sa.String(length=32), nullable=True),
        sa.Column("receipt", sa.JSON(), nullable=True),
        sa.Column("report", sa.JSON(), nullable=True),
        sa.Column("rows", sa.Integer(), nullable=True),
        sa.Column("identifiers", sa.String(length=32), nullable=True),
        sa.Column("payload", sa.String(length=32), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("moved_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset"],
            ["dataset.id"],
        ),
        sa.ForeignKeyConstraint(
            ["identifiers"],
            ["stored_object.name"],
        ),
        sa.ForeignKeyConstraint(
            ["organisation"],
            ["organisation.id"],
        ),
        sa.ForeignKeyConstraint(
            ["payload"],
            ["stored_object.name"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.create_index("delivery_of_dataset", ["dataset", "period"], unique=False)

    op.create_table(
        "envelope",
        sa.Column("release", sa.String(length=40), nullable=False),
        sa.Column("person", sa.String(length=63), nullable=False),
        sa.Column("object", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["object"],
            ["stored_object.name"],
        ),
        sa.ForeignKeyConstraint(
            ["release"],
            ["release.id"],
        ),
        sa.PrimaryKeyConstraint("release", "person"),
    )
    op.create_table(
        "admission",
        sa.Column("scope", sa.String(length=63), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("delivery", sa.String(length=40), nullable=False),
        sa.Column("records", sa.String(length=32), nullable=False),
        sa.Column("seen", sa.String(length=32), nullable=False),
        sa.Column("links", sa.String(length=32), nullable=False),
        sa.Column("review", sa.String(length=32), nullable=False),
        sa.Column("quality", sa.JSON(), nullable=False),
        sa.Column("admitted_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery"],
            ["delivery.id"],
        ),
        sa.ForeignKeyConstraint(
            ["links"],
            ["stored_object.name"],
        ),
        sa.ForeignKeyConstraint(
            ["records"],
            ["stored_object.name"],
        ),
        sa.ForeignKeyConstraint(
            ["review"],
            ["stored_object.name"],
        ),
        sa.ForeignKeyConstraint(
            ["seen"],
            ["stored_object.name"],
        ),
        sa.PrimaryKeyConstraint("scope", "position"),
        sa.UniqueConstraint("scope", "delivery"),
    )
    op.create_table(
        "ledger_entry",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.Column("checkpoint", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
        comment="What happened: RFC 6962 leaves and the checkpoint signed when each was added.",
    )
    op.create_table(
        "ledger_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="One row: how many entries there are, and the roots of their complete subtrees.",
    )
    op.create_table(
        "vault_enrolment",
        sa.Column("person", sa.String(length=64), nullable=False),
        sa.Column("at", sa.String(length=40), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("signatures", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("person", "at"),
        comment="Who holds which keys and roles, each row signed by two administrators.",
    )
    op.create_table(
        "vault_founders",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("root_version", sa.Integer(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="One row: the founding administrators' enrolments, wrapped by the root.",
    )
    op.create_table(
        "vault_key",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("purpose", sa.String(length=40), nullable=False),
        sa.Column("owner", sa.String(length=200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("public", sa.Text(), nullable=True),
        sa.Column("proof", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("purpose", "owner", "version"),
        comment="Keys sealed to a role's public half: data, scopes, projects, the service's own.",
    )
    op.create_table(
        "vault_permit",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.String(length=100), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("sealed_at", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="Permits as signed by the vault, byte for byte.",
    )
    with op.batch_alter_table("vault_permit", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_vault_permit_project"), ["project"], unique=False)

    op.create_table(
        "vault_role_key",
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("public", sa.LargeBinary(), nullable=False),
        sa.Column("root_version", sa.Integer(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("role", "version"),
        comment="HPKE key pairs of the process roles; private halves wrapped by the root.",
    )
    op.create_table(
        "vault_root",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("version"),
        comment="Versions of the root key that custody holds or held; the key itself is never here.",
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("vault_root")
    op.drop_table("vault_role_key")
    with op.batch_alter_table("vault_permit", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_vault_permit_project"))

    op.drop_table("vault_permit")
    op.drop_table("vault_key")
    op.drop_table("vault_founders")
    op.drop_table("vault_enrolment")
    op.drop_table("ledger_head")
    op.drop_table("ledger_entry")
    op.drop_table("admission")
    op.drop_table("envelope")
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.drop_index("delivery_of_dataset")

    op.drop_table("delivery")
    with op.batch_alter_table("release", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_release_project"))

    op.drop_table("release")
    op.drop_table("dataset")
    op.drop_table("used_assertion")
    op.drop_table("stranger")
    op.drop_table("stored_object")
    op.drop_table("refused_request")
    with op.batch_alter_table("reason", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_reason_about"))

    op.drop_table("reason")
    op.drop_table("project")
    op.drop_table("organisation")
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_state"))
        batch_op.drop_index(batch_op.f("ix_job_queue"))

    op.drop_table("job")
    with op.batch_alter_table("application", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_application_project"))

    op.drop_table("application")
