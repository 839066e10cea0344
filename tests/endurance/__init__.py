"""How the service holds out: a long backlog, sagas that cannot finish, poison, and being stopped a hundred times.

`python -m tests.endurance [--only NAME] [--scale 0.01..1]`, or `make endurance`, runs each on private servers that
write to disk as in production, prints what was measured against its bound, leaves the figures in build/endurance.json,
and exits with 1 if a bound is missed. What is slow or fast here is always a comparison within one run: absolute speeds
are those of the machine.
"""
