"""Whose fault an error of the server or of the client library is: the statement's, or the server's."""

from __future__ import annotations

from pymysql.err import InterfaceError, MySQLError

CONNECTION_ERRORS = frozenset({1053, 1077, 1079, 1927, 2000, 2002, 2003, 2006, 2013, 2014, 2027, 2055, 4031})
"""ER_SERVER_SHUTDOWN, ER_NORMAL_SHUTDOWN, ER_SHUTDOWN_COMPLETE, ER_CONNECTION_KILLED,
ER_CLIENT_INTERACTION_TIMEOUT, and the client's: CR_UNKNOWN_ERROR, CR_CONNECTION_ERROR, CR_CONN_HOST_ERROR,
CR_SERVER_GONE_ERROR, CR_SERVER_LOST, CR_COMMANDS_OUT_OF_SYNC, CR_MALFORMED_PACKET, CR_SERVER_LOST_EXTENDED."""
DISK_FULL = frozenset({3, 20, 28, 1021, 1026, 1030, 1114, 3019, 3675, 13040})
"""Server errors of a full disk or file: EE_WRITE, EE_DISK_FULL, ENOSPC, ER_DISK_FULL, ER_ERROR_ON_WRITE,
ER_GET_ERRNO, ER_RECORD_FILE_FULL, ER_INNODB_UNDO_LOG_FULL, and what MySQL says of temporary files."""
OUT_OF_MEMORY = frozenset({5, 1037, 1038, 1041, 4082, 4083})
"""EE_OUTOFMEMORY, ER_OUTOFMEMORY, ER_OUT_OF_SORTMEMORY, ER_OUT_OF_RESOURCES, and MySQL's limits per connection and
of all connections."""
DAMAGE = frozenset({126, 127, 130, 134, 144, 145, 1033, 1034, 1035, 1040, 1135, 1194, 1195})
"""A damaged table, a server without free connections or threads: nothing that a statement could have meant."""
LOCKED_OUT = frozenset({1045, 1698, 1820, 1862, 3118, 3955, 4151})
"""An account that its user has given a password, or let expire or be locked."""


def described(error: MySQLError | OSError) -> str:
    """The server's message, verbatim, with its number."""
    if len(error.args) >= 2:
        return f"ERROR {error.args[0]}: {error.args[1]}"
    return f"ERROR: {error}"


def error_number(error: Exception) -> int:
    """The server's or client's error number; 0 when there is none."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def is_connection_error(error: MySQLError | OSError) -> bool:
    """Whether the connection failed, not the statement."""
    return not isinstance(error, MySQLError) or isinstance(error, InterfaceError) or \
        error_number(error) in CONNECTION_ERRORS  # fmt: skip


def is_of_the_data(error: MySQLError | OSError) -> bool:
    """Whether a statement that loads a table failed because of the table."""
    of_the_server = CONNECTION_ERRORS | DISK_FULL | OUT_OF_MEMORY | DAMAGE
    return (
        isinstance(error, MySQLError) and not is_connection_error(error) and error_number(error) not in of_the_server
    )
