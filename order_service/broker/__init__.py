"""RabbitMQ: connections, topology, publishing with confirms, consuming in batches. aio-pika lives only here.

Guarantees:

- A message counts as confirmed only if the broker acked it and did not return it. Whatever else may have happened to
  it is told apart: RETURNED (no queue takes it), REFUSED (the broker refuses this one), UNKNOWN (the connection broke
  or the time was up: it may have been delivered).
- A connection that failed once is thrown away, never mended: the next one declares everything anew. Plain connections
  instead of aio-pika's robust ones, because a restored consumer or channel hides what was lost meanwhile.
- Publishing and consuming have a connection each: a memory or disk alarm blocks only those that publish.
- A consumer whose queue was deleted fails loudly, like a connection that was lost. A queue or an exchange that an
  operator unbound is bound again within seconds, by every connection that stands: nobody else would be told.

Fails with `BrokerUnavailable`, whose text never holds the password. aio-pika may raise `CancelledError` although nobody
cancelled (a connection closed with a confirm pending): here that is an unavailable broker, never a shutdown.
"""
