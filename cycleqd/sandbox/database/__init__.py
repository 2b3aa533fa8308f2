"""Databases in which models act: a server in a container, a database and a user for every episode.

A server is shared by all episodes of an evaluation, so what one of them takes is bounded: time, the size of its tables
and its session's memory by a guard that looks at them while a statement runs (`guard`), the rest by the server's own
configuration. Its socket is reached through a shared folder, or, where the Docker engine is on another host, through
the engine (`relay`). What a server can't survive ends it: then every use raises `SandboxUnavailable`, and
`DatabaseServers` opens the next database on a new one. Public: `DatabaseServer`, `DatabaseServers`, `Database`,
`Table`, `StatementResult`, `UnreadableTable`, the products `MARIADB` and `MYSQL`.
"""

from cycleqd.sandbox.database.products import MARIADB, MYSQL, PRODUCTS, Product
from cycleqd.sandbox.database.relay import SOCKET_MOUNT, SharedFolder, ThroughTheEngine, Way
from cycleqd.sandbox.database.server import PIDS, DatabaseServer
from cycleqd.sandbox.database.servers import DatabaseServers
from cycleqd.sandbox.database.session import STATEMENT_CHARACTERS, Database
from cycleqd.sandbox.database.values import (
    IDENTIFIER_CHARACTERS,
    StatementResult,
    Table,
    UnreadableTable,
    folded,
    quoted,
)

__all__ = [
    "IDENTIFIER_CHARACTERS",
    "MARIADB",
    "MYSQL",
    "PIDS",
    "PRODUCTS",
    "SOCKET_MOUNT",
    "STATEMENT_CHARACTERS",
    "Database",
    "DatabaseServer",
    "DatabaseServers",
    "Product",
    "SharedFolder",
    "StatementResult",
    "Table",
    "ThroughTheEngine",
    "UnreadableTable",
    "Way",
    "folded",
    "quoted",
]
