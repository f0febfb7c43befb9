"""Alembic's entry: runs the migrations on the connection that catalog.database hands over.

To write a migration: `alembic.command.revision(config, autogenerate=True)` with the same config.
"""

from alembic import context

from motiontrace.catalog.records import Record

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Record.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
