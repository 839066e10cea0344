"""The consumer: takes replies from RabbitMQ and lets them change state once.

Guarantees:

- a message is acknowledged only after the transaction that holds its effect has committed; until then it comes again;
- two batches are under way at a time, and acknowledged in the order in which they were taken, as an acknowledgement
  counts for all before it: one that waits holds up the acknowledgement of the next one, not its effect. So replies to
  one order that come in two batches may have their effect in either order, as they may with two workers;
- it has its effect once: noted in the inbox within that transaction, and guarded for good by the saga's state;
- a message that cannot be handled never stops the others: what is unreadable is parked at once with its bytes, headers
  and the reason; a reply for an unknown order is retried for `REPLY_RETRY_FOR`, then left to an operator; of a batch
  that the database refuses, the culprit is found by halving and parked alone. Nothing is dropped.

How it fails: with PostgreSQL away it holds what it has and tries again; with RabbitMQ away it reconnects. Neither
spends a message's attempts, and no message is ever handed back to the broker to be tried in a circle.

What makes two messages the same: peers set no message id, so the key is made from the content (and the id, if there is
one). Alike by key and delivered twice is one message; the saga's state catches what is alike in meaning only.
"""
