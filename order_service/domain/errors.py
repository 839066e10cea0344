"""The errors that a caller of the service can do something about; each says what it means to the caller."""

from collections.abc import Collection
from dataclasses import dataclass


class OrderServiceError(Exception):
    """Base of every error that this service raises on purpose."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One bad field: its path in the request ("items[2].price") and what is wrong with it."""

    field: str
    description: str


class InvalidRequest(OrderServiceError):
    """The request cannot be carried out as it stands; repeating it will not help. Names every bad field."""

    def __init__(self, violations: Collection[FieldViolation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{violation.field}: {violation.description}" for violation in self.violations))


class OrderNotFound(OrderServiceError):
    """There is no such order, or it is another user's: the caller cannot tell which."""


class IllegalTransition(OrderServiceError):
    """The order's status does not allow this. Carries the status now and those that the order may go to."""

    def __init__(self, status: str, allowed: Collection[str]) -> None:
        self.status = status
        self.allowed = tuple(allowed)
        super().__init__(f"order is {status}; from there it may go to {', '.join(self.allowed) or 'no other status'}")


class EtagMismatch(OrderServiceError):
    """The order has changed since the caller read it: read it again, then decide again."""


class RequestIdReused(OrderServiceError):
    """The request_id was used before for other content: use a new one."""


class ServiceUnavailable(OrderServiceError):
    """The service cannot work at the moment; the same request may succeed after a pause."""


class StorageUnavailable(ServiceUnavailable):
    """PostgreSQL cannot be reached, has no free connection, or gave up on a transaction."""


class BrokerUnavailable(ServiceUnavailable):
    """RabbitMQ cannot be reached, or the connection was lost."""


class StorageRefused(OrderServiceError):
    """PostgreSQL refuses the data or the statement. Trying again will not help; the cause is for the log."""
