"""The multi-row insert of the very rows that the service stores, driven by pgbench.

The rows are read back from where the service has put them, and written into a script as literals, whatever their
columns are: only the ids differ from one transaction to the next. All of a batch goes to PostgreSQL as one message and
is one transaction, which is as little as anybody can do who stores these rows.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from tests.bench.measured import NotMeasured
from tests.bench.processes import Ended, run_to_end

TABLES: Final = ("orders", "order_items", "sagas", "order_events", "outbox")
"""Where CreateOrder puts something, in the order in which it does."""

_VARIABLES: Final = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
}
_IDS: Final = {"order_id": "0", "event_id": "1"}
_NUMBER: Final = """\\if :number = 0
\\set number 1000000 + :client_id
\\else
\\set number :number + 16
\\endif
"""
"""Distinct for each transaction of up to 16 clients, and rising, as the service's ids are. It has seven characters, as
its name has with the colon: pgbench then puts it in place without moving the rest of the script."""


@dataclass(frozen=True, slots=True)
class Inserted:
    """What one run of pgbench did."""

    transactions: int
    per_second: float
    cpu_seconds: float


def find_pgbench(database_url: str) -> Path:
    """The one that came with the server, or one on the path. Raises NotMeasured."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute("select setting from pg_config where name = 'BINDIR'").fetchone()
    beside = Path(row[0] if row else "/") / "pgbench"
    found = beside if beside.exists() else shutil.which("pgbench")
    if found is None:
        raise NotMeasured(f"pgbench is missing (not in {beside.parent}): run 'sudo apt-get install postgresql'")
    return Path(found)


def write_script(database_url: str, file: Path) -> int:
    """A script that stores what the five tables hold, under new ids. Returns how many rows one transaction inserts."""
    with psycopg.connect(database_url) as connection:
        ids = _new_ids(connection)
        inserts = [_insert(connection, table, ids) for table in TABLES]
    whole = "\\;\n".join(["begin", *(text for text, _ in inserts), "commit"])
    file.write_text(f"{_NUMBER}{whole};\n")
    return sum(count for _, count in inserts)


async def run_pgbench(program: Path, database_url: str, script: Path, clients: int, seconds: float) -> Inserted:
    """For that long, in whole seconds. Raises ProcessFailed if a transaction fails."""
    command = [str(program), "--no-vacuum", "--define=number=0", f"--file={script}", f"--client={clients}"]
    command.append(f"--time={max(1, round(seconds))}")
    environ = _environ(database_url)
    ended = await run_to_end("pgbench", command, script.with_suffix(".log"), seconds + 60, **environ)
    return parsed(ended)


def parsed(ended: Ended) -> Inserted:
    """What pgbench says of itself; the time of connecting is left out of its rate."""
    transactions = re.search(r"transactions actually processed: (\d+)", ended.said)
    rate = re.search(r"tps = ([\d.]+)", ended.said)
    if transactions is None or rate is None:
        raise ValueError(f"pgbench has not said how many transactions it ran: {ended.said}")
    return Inserted(int(transactions[1]), float(rate[1]), ended.cpu_seconds)


def _new_ids(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """What stands in place of each id that the rows have: the transaction's number, then the id's own."""
    new: dict[str, str] = {}
    for column, kind in _IDS.items():
        query = SQL("select distinct {0}::text from order_service.order_events order by 1").format(Identifier(column))
        found = [row[0] for row in connection.execute(query)]
        new |= {old: f"{kind}:number-0000-7000-8000-{place:012}" for place, old in enumerate(found)}
    return new


def _insert(connection: psycopg.Connection[Any], table: str, ids: dict[str, str]) -> tuple[str, int]:
    """The statement for the rows of a table, and how many there are."""
    name = SQL("{}.{}").format(Identifier("order_service"), Identifier(table))
    cursor = connection.execute(SQL("select * from {} limit 0").format(name))
    columns = [column.name for column in cursor.description or ()]
    literal = SQL("quote_nullable({}::text)")
    quoted = SQL(", ").join(literal.format(Identifier(column)) for column in columns)
    rows = connection.execute(SQL("select concat_ws(', ', {}) from {}").format(quoted, name)).fetchall()
    if not rows:
        raise ValueError(f"{table} is empty: the service stores nothing there any more")
    values = ",\n".join(f"({row[0]})" for row in rows)
    for old, fresh in ids.items():
        values = values.replace(old, fresh)
    return f"insert into {name.as_string()} ({', '.join(columns)}) values\n{values}", len(rows)


def _environ(database_url: str) -> dict[str, str]:
    """Where the server is, as libpq's variables: a password has no place on a command line."""
    given = conninfo_to_dict(database_url)
    return {variable: str(given[key]) for key, variable in _VARIABLES.items() if given.get(key)}
