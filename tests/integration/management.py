"""RabbitMQ's HTTP API, for what a test does to the broker."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit


class Management:
    """RabbitMQ's HTTP API, for what a test does to the broker."""

    def __init__(self, url: str, vhost: str) -> None:
        parts = urlsplit(url)
        self._base = urlunsplit((parts.scheme, f"{parts.hostname}:{parts.port}", "", "", ""))
        passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
        passwords.add_password(None, self._base, parts.username or "", parts.password or "", is_authenticated=True)
        self._opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
        self.name = vhost

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call; the decoded answer, or None."""
        request = urllib.request.Request(
            f"{self._base}/api/{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"content-type": "application/json"},
        )
        with self._opener.open(request, timeout=60) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    @contextmanager
    def vhost(self, rabbitmq_url: str) -> Iterator[str]:
        """Makes the vhost, and removes it at the end; gives the AMQP URL for it."""
        user = urlsplit(rabbitmq_url).username or "guest"
        self.call("PUT", f"vhosts/{self.name}", {})
        self.call("PUT", f"permissions/{self.name}/{quote(user)}", {"configure": ".*", "write": ".*", "read": ".*"})
        try:
            yield urlunsplit(urlsplit(rabbitmq_url)._replace(path=f"/{self.name}"))
        finally:
            self.call("DELETE", f"vhosts/{self.name}")

    def delete_queue(self, queue: str) -> None:
        """What an operator may do by mistake."""
        self.call("DELETE", f"queues/{self.name}/{quote(queue)}")

    def queue(self, queue: str) -> dict[str, Any] | None:
        """What the broker knows of a queue, or None if there is none."""
        try:
            found: dict[str, Any] = self.call("GET", f"queues/{self.name}/{quote(queue)}")
        except urllib.error.HTTPError:
            return None
        return found

    def connections(self, client: str) -> list[str]:
        """The connections of the clients whose name begins so, as far as RabbitMQ's statistics have come."""
        found: list[dict[str, Any]] = self.call("GET", f"vhosts/{self.name}/connections")
        return [one["name"] for one in found if one.get("user_provided_name", "").startswith(client)]

    def close_connections(self, names: Iterable[str]) -> None:
        """Cuts connections off, as an operator may."""
        for name in names:
            self.call("DELETE", f"connections/{quote(name)}")
