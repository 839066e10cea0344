"""Everything at once: the whole platform under steady load while whatever can break is broken, and a judge at the end.

What it is
    Two apis, three workers, a RabbitMQ cluster of three nodes with quorum queues, and a PostgreSQL primary whose
    standby confirms every commit. Each process has its own network links to each server, each pair of broker nodes has
    its own links too (`epmd` tells a node where its neighbours are: behind proxies), and the servers' data lie on small
    disks. A plan drawn from a seed says which fault strikes when (`plan`); the same seed gives the same plan.

What it proves
    That orders which were acknowledged are never lost and end as they must, whatever breaks, as `tests.faults.judge`
    decides by what everybody outside of the service saw; and how soon orders flow again after each kind of fault.

What faults may not do
    Destroy both nodes of PostgreSQL, or a majority of the brokers: outages are fine, the loss of all copies is not.
    So faults of one server never overlap (`Shape.resource`), and a standby takes over only if it has all that was
    confirmed. What an operator deletes with a queue is repeated by the peer's operator, as no promise covers it.

How it ends
    All is healed, the load stops, everything settles, the judge decides. build/chaos.json holds the figures,
    build/chaos.png and .svg show the run, build/chaos the logs. Exit code 1 if a promise was broken or a process of the
    service ended by itself. Ctrl-C ends the faults early, and the rest goes its way.
"""
