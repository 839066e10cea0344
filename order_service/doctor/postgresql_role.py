"""Judges what the service's role may do in PostgreSQL."""

from typing import Final

from order_service.doctor.finding import Finding, listed
from order_service.doctor.postgresql_settings import POSTGRESQL
from order_service.storage.server import ServerFacts, TableRights

_RIGHTS: Final = {
    "create_requests": "select insert delete",
    "event_confirmations": "select insert",
    "inbox": "select insert delete",
    "order_events": "select insert",
    "order_items": "select insert",
    "orders": "select insert update",
    "relay_leases": "select update",
    "sagas": "select insert update",
    "schema_migrations": "select",
}
_ALL_RIGHTS: Final = "select insert update delete"


def judge_role(server: ServerFacts) -> list[Finding]:
    """One finding for each kind of right."""
    role = server.identity.role
    lacking = [f"{right} on {rights.table}" for rights in server.rights for right in lacking_rights(rights)]
    none_there = not server.rights
    return [
        POSTGRESQL.advice_unless(
            not server.identity.superuser,
            "role",
            f"{role}, a superuser" if server.identity.superuser else role,
            "no superuser",
            "use a role of its own: see docs/operations.md",
        ),
        POSTGRESQL.missing_unless(
            not lacking and not none_there,
            "rights on tables",
            "no tables" if none_there else f"lacks {listed(lacking)}" if lacking else "enough",
            "enough",
            "order-service migrate" if none_there else f"grant {listed(lacking)} to {role}, in schema order_service",
        ),
        POSTGRESQL.missing_unless(
            server.may_make_partitions,
            "right to make partitions",
            "yes" if server.may_make_partitions else "no",
            "yes",
            f"grant execute on function order_service.ensure_partitions(integer) to {role}",
        ),
    ]


def lacking_rights(rights: TableRights) -> list[str]:
    """The rights on a table that the service needs and has not; all four on one that is not known here."""
    wanted = _RIGHTS.get(rights.table, _ALL_RIGHTS).split()
    return [right for right in wanted if not getattr(rights, right)]
