"""How close the service comes to what PostgreSQL, RabbitMQ and gRPC can do at all, on the machine at hand.

Absolute figures mean little on a machine that others share, so every row of the table is a ratio: the service beside
the limit, measured in turn (limit, service, limit, service, ...) against the same servers, with the same bytes, by the
same load generator, which runs in a process of its own and whose own cost is shown.

`python -m tests.bench`, or `make bench`, prints the table, leaves the figures in build/bench.json and the picture in
build/ (that of a whole run in docs/ as well), and exits with 1 if a target is missed. The rows are in `api_rows`,
`messaging_rows` and `saga_rows`. What goes wrong while a row is measured, such as one call that fails or an order that
was acknowledged and is not stored, ends that row, which then does not hold.
"""
