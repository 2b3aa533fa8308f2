"""The two servers: what differs between MariaDB and MySQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Product:
    """A kind of server.

    Attributes:
        image: The image's name.
        collation: The server's own (server.cnf).
        privileges: What an episode's user may do in its own database.
        arguments: The server's arguments for a time limit of statements in seconds.
        initial: Statements at its start, besides the administrator's account.
        unlimited: Lifts the time limit of a session.
        usage: A query for the memory of connection ``%(id)s``, the size of the files of the database whose files are
            named ``LIKE %(files)s``, and that of all files, in bytes.
        memory_mb: Memory in MiB, without the file systems below.
        data_mb: Size of the data's file system.
        temporary_mb: Size of the file system of temporary files.
        nearest: Collations that the server lacks, each with what takes its place.
        episode_mb: What one episode's tables may fill of the data's file system.
        session_mb: What one session may hold in memory.
    """

    image: str
    collation: str
    privileges: str
    arguments: Callable[[float], list[str]]
    initial: tuple[str, ...]
    unlimited: str
    usage: str
    memory_mb: int
    data_mb: int
    temporary_mb: int
    nearest: tuple[tuple[str, str], ...] = ()
    episode_mb: int = 64
    session_mb: int = 64

    def collation_of(self, name: str | None) -> str:
        """The server's collation for a name: its own, that of the name, or the nearest that it has."""
        return self.collation if name is None else dict(self.nearest).get(name, name)


MARIADB: Final = Product(
    image="mariadb",
    collation="utf8mb4_general_ci",
    privileges="SELECT, INSERT, UPDATE, DELETE",
    arguments=lambda seconds: [f"--max-statement-time={seconds:g}"],
    initial=(),
    unlimited="SET max_statement_time = 0",
    usage=(
        "SELECT COALESCE((SELECT MEMORY_USED FROM information_schema.PROCESSLIST WHERE ID = %(id)s), 0), "
        "COALESCE(SUM(IF(NAME LIKE %(files)s, FILE_SIZE, 0)), 0), COALESCE(SUM(FILE_SIZE), 0) "
        "FROM information_schema.INNODB_SYS_TABLESPACES"
    ),
    memory_mb=512,
    data_mb=768,
    temporary_mb=128,
    # Unicode's order, spaces at the end count, no two emoji are equal, ß is ss.
    nearest=(("utf8mb4_0900_ai_ci", "uca1400_nopad_ai_ci"),),
)
MYSQL: Final = Product(
    image="mysql",
    collation="utf8mb4_0900_ai_ci",
    privileges=(
        "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, CREATE TEMPORARY TABLES, "
        "CREATE VIEW, SHOW VIEW"
    ),
    arguments=lambda seconds: [f"--max-execution-time={round(seconds * 1000)}"],
    # MD5 and SHA1 are a component of their own from 9.6 on.
    initial=("INSTALL COMPONENT 'file://component_classic_hashing';", "DROP USER IF EXISTS root@localhost;"),
    unlimited="SET max_execution_time = 0",
    usage=(
        "SELECT 0, COALESCE(SUM(IF(NAME LIKE %(files)s, FILE_SIZE, 0)), 0), COALESCE(SUM(FILE_SIZE), 0) "
        "FROM information_schema.INNODB_TABLESPACES"
    ),
    memory_mb=1024,
    data_mb=768,
    temporary_mb=256,
)
PRODUCTS: Final = {product.image: product for product in (MARIADB, MYSQL)}
