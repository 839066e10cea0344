"""PostgreSQL: the only room that knows SQL. One module and one `.sql` file for each table.

Guarantees:

- `Database.run(work)` carries `work` out in one transaction; everything it did commits together or not at all.
- `work` may run more than once: after a deadlock, and after a connection that broke while the outcome of COMMIT was
  unknown. Every use case is therefore repeatable: ids are made before the first attempt, inserts of what is already
  there do nothing, and an event goes to the outbox only if it is new to the history.
- A process that dies may leave a transaction behind that still commits, whole, as its COMMIT was sent with its last
  statements. Nobody was told of it, as of one whose COMMIT was not heard of: who asks again under the same `request_id`
  gets what it stored.
- The only way to send a message is `UnitOfWork.events.append`: it writes the history and the outbox in one statement.
- No session state is relied upon (no session locks, no LISTEN, no temporary tables), so a pooler in transaction mode
  may stand in between.

Fails with `StorageUnavailable` (try again later: no connection, no free one in time, a statement above its time limit)
or `StorageRefused` (the database refuses the data or the statement: trying again will not help). Drivers' exceptions
never leave this room.

A connection that was of use within the last second, and over which nothing has come since, is used as it is
(`freshness`); any other one is asked first whether it works, so that no batch fails because PostgreSQL was restarted
before it. A server that keeps silent is given up after twice the time limit of a statement, and not tried again for
that unit of work (`silence`).

Batches travel as one JSON document each, unpacked by `json_to_recordset`: one parameter and one plan whatever the
number of rows, and nothing is ever spliced into SQL. Statements are sent in pipeline mode: those of a unit of work
that reads nothing share one round trip, BEGIN and COMMIT included.
"""
