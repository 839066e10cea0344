"""How a program that measures ends: without noise, and whoever asks it to."""

import logging
import signal


def end_quietly() -> None:
    """Libraries are cut off from their servers at the end, which is no news. SIGTERM ends as Ctrl-C does."""
    for library in ("aio_pika", "aiormq", "asyncio"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
