"""The one way in which this package fails."""

import re


class ServerUnavailable(Exception):
    """A server cannot be had. The message is one line: what is missing, and how to get it; never a password."""

    def __init__(self, message: str) -> None:
        super().__init__(re.sub(r"\s+", " ", message).strip())
