"""How a demo fails of itself, as opposed to finding something wrong with the service."""

from order_service.domain.errors import OrderServiceError


class DemoFailed(OrderServiceError):
    """The demo cannot go on: a process has ended or does not get ready. One line that says which, and where its log
    is."""
