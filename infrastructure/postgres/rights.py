"""Whose the tables are, who may work with them, and what a role is told that may not."""

# ruff: noqa: S608  # statements are put together from names of our own; values are always bound
from __future__ import annotations

import psycopg

from ...domain.errors import StoreUnavailable
from .connections import Connections
from .links import Link

_OTHER_OWNER = """
SELECT pg_get_userbyid(c.relowner), current_user FROM pg_class c
WHERE c.relnamespace = to_regnamespace(%s) AND c.relname = 'runs' AND NOT pg_has_role(c.relowner, 'USAGE')
"""

_OF_TABLE = """
FROM pg_class c, aclexplode(c.relacl) AS a,
    LATERAL (SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS name) AS who
WHERE a.grantee <> c.relowner AND c.oid = %({table})s::regclass
"""
_GIVEN_AWAY = """
SELECT format('ALTER TABLE %%s OWNER TO %%I', %(new)s::text, pg_get_userbyid(o.relowner))
FROM pg_class o JOIN pg_class n ON n.relowner <> o.relowner WHERE o.oid = %(old)s::regclass AND n.oid = %(new)s::regclass
"""
_REVOKED = f"""
SELECT DISTINCT format('REVOKE ALL ON TABLE %%s FROM %%s', %(new)s::text, who.name) {_OF_TABLE.format(table="new")}
"""
_GRANTED = f"""
SELECT format('GRANT %%s ON TABLE %%s TO %%s', a.privilege_type, %(new)s::text, who.name)
    || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END {_OF_TABLE.format(table="old")}
"""


def check_owner(link: Link, connections: Connections) -> None:
    """Only the owner can put other tables in place. Raises `StoreUnavailable`, which names him, for everybody else."""
    schema = f'"{connections.address.schema}"'
    row = link.execute(_OTHER_OWNER.encode(), (schema,)).fetchone()
    if row is not None:
        owner, role = row
        raise StoreUnavailable(
            f"{connections.url}: expected the role {owner!r}, which owns the tables, to compute their rows anew, found {role!r};"
            f" call `lastword rebuild` with the URL of {owner!r}, and go on as before",
            transient=False,
        )


def same_rights(link: Link, new: str, old: str) -> None:
    """Give a table the owner and the grants of the one whose place it takes: no more than these, and no less."""
    for query in (_GIVEN_AWAY, _REVOKED, _GRANTED):
        rows = link.execute(query.encode(), {"new": new, "old": old}).fetchall()
        for (statement,) in rows:
            link.execute(statement.encode())


def check_temporary(link: Link, connections: Connections, error: psycopg.Error) -> None:
    """Raise `StoreUnavailable`, which says what to grant, when it is temporary tables that this role may not make."""
    row = link.execute(
        b"SELECT current_user, current_database() WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')"
    ).fetchone()
    if row is not None:
        role, database = row
        raise StoreUnavailable(
            f"{connections.url}: expected to put histories aside in temporary tables, found that the role {role!r} may make none;"
            f' as an owner of the database, GRANT TEMPORARY ON DATABASE "{database}" TO "{role}" (nothing was taken in)',
            transient=False,
        ) from error
