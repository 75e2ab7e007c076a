"""Alembic's entry: the service's own tables and the vault's, in one database."""

from alembic import context

from api import store
from keyvault import tables

config = context.config
METADATA = [store.Base.metadata, tables.metadata]


def run() -> None:
    """Migrate on an engine of our own, so that SQLite is the library we chose."""
    engine = store.connect(config.attributes["url"])
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
