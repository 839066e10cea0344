"""What the service can do: one file for each thing, a function over an open unit of work.

Guarantees: each function does its part within the transaction it is given and nothing outside it, so it can be run
again (see `storage`). None can reach RabbitMQ: to send is to append to the outbox. Times and ids are parameters.

Fails with the errors of `domain.errors`; then the transaction is rolled back. Functions that take a list do the whole
list in a fixed number of statements, and one bad entry never fails its neighbours: its result says what is wrong.
"""
