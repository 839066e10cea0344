"""Bad input of every kind, at every RPC and every consumed message of real processes.

Guarantees: what is sent is made by hypothesis from the protobuf descriptors and from one seed, so a new field or RPC is
covered by itself, and a failing example is shrunk and comes again with its seed. After each example it is checked that
both processes live, that no answer leaks what is inside, that nothing was logged that must not be, and that each
message had one effect; healthy orders in between must be confirmed, and memory must stay flat.

`requests`, `bodies`, `properties` and `http2` make the garbage, `under_test` has the processes and looks at them,
`targets` says what is sent where and what must hold, `session` does it round by round. `make fuzz` runs it for minutes.
"""
