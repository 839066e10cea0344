"""The load generator: a process of its own, the same for both sides of a row.

`python -m tests.bench.load --target HOST:PORT --method /order.OrderService/CreateOrder --requests FILE ...` keeps a
number of calls in flight, each answered by the next (closed loop), for some seconds after it has warmed up, and says in
its last line, as JSON, how many were answered and how soon, what it cost itself, and what the processes it watches cost
in just that time.

Requests are read from a file, serialised beforehand, and answers are not looked into beyond what shows that they are no
errors, so that it costs as little as a client of gRPC can. One call that fails ends it, with exit code 1: what follows
would not measure the same thing on both sides.
"""
