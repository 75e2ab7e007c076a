"""Alembic's entry: the service's own tables and the vault's, in one database."""

from typing import Any, Literal

from alembic import context

from api import store
from keyvault import tables

config = context.config
METADATA = [store.Base.metadata, tables.metadata]


def _render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """A migration outlives the classes of today: moments are plain DateTime in it."""
    return "sa.DateTime()" if kind == "type" and isinstance(item, store.UtcDateTime) else False


def run() -> None:
    """Migrate on an engine of our own, so that SQLite is the library we chose."""
    engine = store.connect(config.attributes["url"])
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=METADATA,
            render_as_batch=True,
            render_item=_render,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
