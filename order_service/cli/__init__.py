"""The command line, `order-service`: processes, and tools for operators.

Guarantees: tables for people, `--json` for programs; errors are one line on standard error, never a traceback; exit
codes are those of `exits`. Settings come from the environment, read once, and only by the commands that need them.
"""

from order_service.cli.main import main

__all__ = ["main"]
