"""Keeps what the service's parts log out of what a command prints."""

import structlog


def send_logs_nowhere() -> None:
    """For commands that tell people and programs themselves what has happened."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), cache_logger_on_first_use=False)
