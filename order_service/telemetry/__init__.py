"""What the service tells about itself: logs, traces, metrics, and whether it is alive and ready.

Guarantees: telling never stops or slows what is told about. A collector that cannot be reached costs a bounded queue of
spans and one warning; a slow scraper costs one of a few threads. A credential in a URL, or under a name that says
secret, never reaches a log. The whole catalogue of metrics is in `metrics`; ids are never labels.

Logs, spans and metrics belong at the edges and around use cases, never inside decisions: `domain` and `saga` may not
import this room.

Fails at the start only: `http.PortTaken` and `http.CannotListen`.
"""
