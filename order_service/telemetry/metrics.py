"""Every metric of the service, defined once. Ids are never labels."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_RPC_LABELS = ("grpc_type", "grpc_service", "grpc_method")
_RPC_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SAGA_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
_BATCH_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """The catalogue, on a registry of its own (or the given one), with the process's own figures beside it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._define_rpc()
        self._define_orders()
        self._define_sent()
        self._define_received()
        self._define_process()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        # The mode is that of processes which share a registry: the sum of those that live.
        return Gauge(name, text, labels, registry=self.registry, multiprocess_mode="livesum")

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)

    def _define_rpc(self) -> None:
        """The names that every gRPC dashboard knows (go-grpc-prometheus)."""
        self.rpc_started = self._counter("grpc_server_started_total", "RPCs started on the server.", *_RPC_LABELS)
        self.rpc_handled = self._counter(
            "grpc_server_handled_total", "RPCs completed on the server, by code.", *_RPC_LABELS, "grpc_code"
        )
        self.rpc_seconds = self._histogram(
            "grpc_server_handling_seconds", "Time from an RPC's start to its end.", _RPC_SECONDS, *_RPC_LABELS
        )

    def _define_orders(self) -> None:
        self.orders = self._counter("order_service_orders_total", "Orders that reached a status.", "status")
        self.saga_seconds = self._histogram(
            "order_service_saga_duration_seconds", "Time from create to outcome.", _SAGA_SECONDS, "outcome"
        )
        self.compensations = self._counter(
            "order_service_compensations_total", "Steps of sagas whose undoing was asked for.", "step"
        )
        self.create_batch = self._histogram(
            "order_service_create_batch_orders", "Orders that one transaction stored (group commit).", _BATCH_SIZES
        )

    def _define_sent(self) -> None:
        self.outbox_backlog = self._gauge(
            "order_service_outbox_backlog_messages", "Events still to be sent, counted up to 100,000."
        )
        self.outbox_oldest = self._gauge(
            "order_service_outbox_oldest_age_seconds", "Age of the oldest event still to be sent."
        )
        self.relay_messages = self._counter(
            "order_service_relay_messages_total",
            "Events by what the relay saw of them: published, then confirmed, returned or failed.",
            "type",
            "result",
        )

    def _define_received(self) -> None:
        self.replies = self._counter(
            "order_service_replies_total",
            "Replies received, by what became of them: applied, duplicate, late, ignored, unknown or parked.",
            "step",
            "outcome",
        )
        self.parked = self._counter(
            "order_service_parked_total", "Messages parked for an operator.", "direction", "reason_code"
        )
        self.parked_waiting = self._gauge(
            "order_service_parked_messages",
            "Messages that are parked now: waiting for an operator, or retried.",
            "state",
        )

    def _define_process(self) -> None:
        self.pool_connections = self._gauge(
            "order_service_db_pool_connections", "Connections to PostgreSQL by state.", "state"
        )
        self.pool_waiting = self._gauge("order_service_db_pool_waiting", "Requests waiting for a connection.")
        self.broker_connected = self._gauge(
            "order_service_broker_connected", "1 while the connection to RabbitMQ stands.", "role"
        )
        self.loop_failures = self._counter(
            "order_service_loop_failures_total", "Rounds of a background loop that failed and are tried again.", "loop"
        )
        self.leased_buckets = self._gauge(
            "order_service_relay_leased_buckets", "Buckets of the outbox that this process relays (of 64)."
        )
        self.build_info = self._gauge(
            "order_service_build_info", "1, labelled with what is running.", "version", "python_version"
        )
