"""The saga of an order as a value: a table of steps (`order_saga`) and a pure engine that decides (`engine`).

Guarantees, checked over every interleaving of replies, duplicates, deadlines and cancel requests:

- an order gets one outcome, CONFIRMED or CANCELLED, and a confirmed one can only be cancelled afterwards;
- what a step holds is held only for an order that is or may become confirmed: whenever a success arrives, in time or
  late, for an order that will not be fulfilled, its undoing is asked for, once;
- undoing walks the table backwards.

The engine never sends, saves or reads a clock: it maps (saga, stimulus, now) to a `Decision`, and the use cases carry
the decision out in one transaction. It has no failure of its own; a stimulus that changes nothing is an outcome.

The idea is Garcia-Molina and Salem, "Sagas" (SIGMOD 1987), orchestrated, with compensation that may run late because a
reply may come late.
"""
