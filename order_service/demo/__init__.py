"""The whole service at work on this machine: real servers, api, worker, and peers written from the contract alone.

Guarantees: every figure it tells is counted from the database, from the broker or from a peer, none is assumed; a run
neither changes nor counts what others have in servers that were given to it; all processes that it starts end with it,
however it ends.

Fails with `DemoFailed` if a process dies or the platform cannot be started, and with the errors of `private_servers`.
Whatever it finds wrong with the service is no failure of the demo but a line in its report (`checks`).

Why: a promise such as "never lost" is worth what its check is worth. So the stock service keeps its own books, and a
recorder that was there before the first order hears every event.
"""
