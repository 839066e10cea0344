"""Starts processes of the service by forking one that has imported all of it: it costs a tenth of a fresh interpreter.

Guarantees: what runs is the same code from the same entry, with an environment, arguments and log of its own. No
process outlives who asked for it, even if that one gets SIGKILL.

The forked process differs from one that was started afresh in that modules were imported beforehand, and with PATH,
HOME and LANG alone in the environment. Nothing else of the service has run in it: no thread, no event loop, no gRPC.
"""

from tests.faults.forks.forking import Forks, forking

__all__ = ["Forks", "forking"]
