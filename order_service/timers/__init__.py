"""What is due: deadlines of sagas, retries of parked replies, and housekeeping.

Guarantees: whatever is due is found in PostgreSQL, by PostgreSQL's clock, so that any worker can do it and none has to;
two workers that do the same at once do it once (rows are locked and looked at again). What keeps failing is put off, so
that it never starves what is fresh.

How it fails: a round that fails is logged, counted and repeated after a pause. Nothing is held between rounds.
"""
