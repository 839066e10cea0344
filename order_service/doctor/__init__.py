"""What the promise rests on in PostgreSQL and RabbitMQ, and what of it a live system lacks. Pure: facts to findings.

Guarantees: every check gives one finding, whatever the facts; what could not be read is `not checked`, never `ok`. A
finding is `missing` if without it something acknowledged can be lost, or the service cannot work; `advice` is all that
an operator should know and may have reasons for. No finding holds a password.

What each setting protects from is in docs/durability.md.
"""
