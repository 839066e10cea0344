"""Events to bytes and received bytes to replies: the wire of RabbitMQ, and nothing else.

Guarantees: a closed registry (`outgoing`, `incoming`) of everything that is published or understood; amounts are
written as exact decimal numbers; an event's bytes are made once, when it happens, and never again, so every
republishing is byte for byte the same. Unknown fields of what is received are ignored.

Fails with `UnreadableMessage` for bytes that do not match their schema, with the reason in words. Bodies above
`incoming.MAX_BODY` are not even parsed.
"""
