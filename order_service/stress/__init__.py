"""Load for a running order service, and what it answered: `order-service stress`.

Guarantees: it speaks gRPC only, as a gateway does, and sends every order once: what fails is counted by its code and
not repeated. Its memory is bounded for any number of orders. With a rate it is an open loop: each RPC has its time,
whatever became of those before, and its latency counts from that time, so that a server that stalls cannot hide it (Gil
Tene, "How NOT to Measure Latency"); what could not be sent on time is told. Without a rate it is a closed loop: so many
RPCs are in flight, the next is sent when one is answered. Latencies are kept in buckets less than one per cent wide.

Each order has a user of this run alone, by whom its outcome is asked for afterwards, so that asking costs the load
nothing: a sample of orders is listed, and the time to the outcome is that between the order's creation and its last
change, by the service's own clocks. An order that was accepted and is not listed is missing, and the report says so.

Fails with `ServiceUnavailable` if the target cannot be reached when it starts, and with `NoOrderService` if something
else answers there. From then on nothing that the service does is a failure of the load, but a line in its report.

`plan` says what is sent when, `orders` what is in it, `load` sends it, `measuring` (`histogram`, `timeline`) counts,
`outcomes` asks afterwards; `report`, `bars` and `plot` show it, `display` while it runs. `run` holds it together.
"""
