"""The relay: carries events from the outbox to RabbitMQ.

Guarantees:

- every event is published at least once, in version order for each order, under the id it was stored with;
- a second time only if a process or connection died in the instant between the broker's confirm and its mark, or a
  lease ran out meanwhile;
- a request that nobody takes counts as not published: it is retried, held back with its order's later events, and
  `RELAY_PARK_AFTER` after its first failed try handed to an operator. A fact that nobody takes is done; it stays in the
  history.

How: relays lease buckets of the outbox (`leases`), fetch what is due, publish a window of it with at most one event in
flight for each order, and delete what was confirmed, all fenced by the epoch of the lease. No transaction is open while
publishing: an open one would stop vacuum on the whole database.

How it fails: with RabbitMQ or PostgreSQL away it waits and tries again, and spends no event's attempts. One that alone
cannot reach RabbitMQ lets go of its leases, and others send in its place. A relay that dies is taken over when its
leases run out, `leases.TTL_SECONDS` later.

Events wait for a hint from the same process or for a poll: 5 ms when busy, 300 ms once there has been nothing for most
of a second, then at the ticks at which the leases are renewed (most of what an idle worker takes is waking up). No
NOTIFY: it takes one lock for the whole server at commit.
"""
