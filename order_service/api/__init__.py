"""The gRPC edge: protobuf in, use cases, protobuf out.

Guarantees:

- CreateOrder is answered only after its order has committed, together with its `order.created` event. Requests that
  arrive while a transaction is under way share the next one (group commit, `batching`); none waits when all is idle,
  under load one waits a few milliseconds at most for others, and none fails because of another. A caller that gives up
  does not stop what is being committed.
- Every error is one of `errors.TABLE`, with google.rpc details; what is unforeseen is INTERNAL with a fixed text, and
  its cause is in the log under the trace id only.
- Every rule for what callers send stands in `requests`. They are checks in Python and not protovalidate annotations,
  because half of them cannot be said in its language (exact decimals, agreeing twins, currencies, totals), and rules in
  two places drift apart.
- It never touches RabbitMQ: with the broker away orders are accepted and their events wait in the outbox.

How it fails: with PostgreSQL away, or more waiting than it can hold, UNAVAILABLE with RetryInfo.
"""
