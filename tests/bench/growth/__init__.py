"""How cost grows: with the orders in the tables, the worker processes, the orders a process has carried, and time.

`python -m tests.bench.growth [--only NAME] [--scale 0.0001..1]`, or `make bench-growth`, measures each on private
servers that write to disk as in production, prints what was measured beside its bound, leaves the figures in
build/bench-growth.json and the picture in build/ (that of a whole run also in docs/), and exits with 1 if a bound is
missed.

Whatever can be a comparison is one: both sides stand on the same servers at the same time, are measured in turn (there
and back again, so that a drift of the machine counts for all of them), and the ratio is taken round by round. Tables
are filled with rows as the service leaves them once their orders are confirmed; before the first round that counts,
each side has one that does not.
"""
