"""The order service: a gRPC edge that stores orders with their events, and workers that carry each order's saga.

The promise: an order that was acknowledged is never lost and reaches one outcome; its events are published at least
once, in version order for each order, each with a stable id; each reply changes state once.

Rooms, outermost first; each may only use those below it (held by import-linter)::

    cli, bootstrap, demo              the composition root, and what is built on the whole
    stress                            beside demo: load for a running service, over gRPC alone
    api | inbox | outbox | timers     edges: gRPC, received messages, sent messages, what is due
    doctor                            beside them: judges how the servers are set
    use_cases | broker                one file for each thing the service can do; RabbitMQ. Neither sees the other
    storage                           the only room that knows SQL
    messages                          event <-> bytes
    saga                              the saga as a table and a pure engine
    domain                            orders, money, events: values and rules
"""
