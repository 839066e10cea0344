"""Every error has a code in one table, and what nobody foresaw tells callers nothing."""

import importlib
import pkgutil
from collections.abc import Iterator

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

import order_service
from order_service.api.batching import Overloaded
from order_service.api.errors import DOMAIN, INTERNAL, TABLE, code_of, status_of
from order_service.api.ports import PortTaken
from order_service.domain import errors
from order_service.domain.errors import FieldViolation, OrderServiceError
from order_service.storage.migrations import MigrationRefused
from order_service.use_cases.handle_parked_messages import ParkedMessageNotFound

ROOMS = ("domain", "saga", "messages", "storage", "use_cases", "api")
"""What an RPC can reach, by the import rules."""

NEVER_ANSWERED = {
    OrderServiceError: "the base of all",
    errors.StorageRefused: "a fault of the service, whose text may show data: INTERNAL",
    PortTaken: "before the first RPC",
    MigrationRefused: "before the first RPC",
    ParkedMessageNotFound: "operators' tools only",
}
SECRET = "postgres://admin:s3cret@10.0.0.7/ecommerce"


def error_classes(base: type[OrderServiceError] = OrderServiceError) -> Iterator[type[OrderServiceError]]:
    """Every class of errors that the rooms of the api define."""
    if base.__module__.split(".")[1] in ROOMS:
        yield base
    for subclass in base.__subclasses__():
        yield from error_classes(subclass)


def import_rooms() -> None:
    for module in pkgutil.walk_packages(order_service.__path__, "order_service."):
        if module.name.split(".")[1] in ROOMS:
            importlib.import_module(module.name)


def details(status: Status, kind: type) -> list[object]:
    """The details of one kind that a status carries."""
    found = []
    for packed in status.details:
        detail = kind()
        if packed.Unpack(detail):
            found.append(detail)
    return found


def test_every_error_that_an_rpc_can_raise_has_a_code_or_is_internal_on_purpose() -> None:
    import_rooms()

    without_a_code = {kind for kind in error_classes() if not any(base in TABLE for base in kind.__mro__)}

    assert without_a_code == NEVER_ANSWERED.keys()


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (errors.InvalidRequest([]), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (errors.RequestIdReused("reused"), grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"),
        (errors.OrderNotFound("order not found"), grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND"),
        (errors.IllegalTransition("DELIVERED", []), grpc.StatusCode.FAILED_PRECONDITION, "ILLEGAL_TRANSITION"),
        (errors.EtagMismatch("changed"), grpc.StatusCode.ABORTED, "ETAG_MISMATCH"),
        (errors.ServiceUnavailable("away"), grpc.StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE"),
        (errors.StorageUnavailable("away"), grpc.StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE"),
        (errors.BrokerUnavailable("away"), grpc.StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE"),
        (Overloaded("too many"), grpc.StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE"),
        (NotImplementedError("Method not implemented!"), grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED"),
        (errors.StorageRefused("constraint"), grpc.StatusCode.INTERNAL, "INTERNAL"),
        (ZeroDivisionError("boom"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_is_answered_with_the_contracts_code_and_reason(
    error: Exception, code: grpc.StatusCode, reason: str
) -> None:
    status = status_of(error)

    assert code_of(error).code is code
    assert status.code == code.value[0]
    (info,) = details(status, ErrorInfo)
    assert (info.domain, info.reason) == (DOMAIN, reason)  # type: ignore[attr-defined]


def test_bad_input_names_each_field() -> None:
    wrong = [FieldViolation("user_id", "must not be empty"), FieldViolation("items[0].quantity", "must be at least 1")]

    status = status_of(errors.InvalidRequest(wrong))

    assert status.message == "user_id: must not be empty; items[0].quantity: must be at least 1"
    assert details(status, BadRequest) == [
        BadRequest(
            field_violations=[
                BadRequest.FieldViolation(field="user_id", description="must not be empty"),
                BadRequest.FieldViolation(field="items[0].quantity", description="must be at least 1"),
            ]
        )
    ]


def test_a_request_id_that_was_used_before_is_a_bad_field() -> None:
    status = status_of(errors.RequestIdReused("it was used for other content"))

    assert details(status, BadRequest) == [
        BadRequest(
            field_violations=[
                BadRequest.FieldViolation(field="request_id", description="it was used for other content")
            ]
        )
    ]


def test_the_details_of_very_bad_input_fit_into_the_metadata_that_clients_take() -> None:
    wrong = [FieldViolation(f"items[{place}].product_id", "must not have control characters") for place in range(1_000)]

    status = status_of(errors.InvalidRequest(wrong))

    assert len(status.SerializeToString()) < 6_000
    (bad,) = details(status, BadRequest)
    assert bad.field_violations[0].field == "items[0].product_id"  # type: ignore[attr-defined]


def test_an_illegal_transition_names_the_status_and_where_the_order_may_go() -> None:
    status = status_of(errors.IllegalTransition("IN_PROGRESS", ["DELIVERED", "SUSPENDED"]))

    assert status.message == "order is IN_PROGRESS; from there it may go to DELIVERED, SUSPENDED"
    (info,) = details(status, ErrorInfo)
    assert dict(info.metadata) == {"status": "IN_PROGRESS", "allowed": "DELIVERED,SUSPENDED"}  # type: ignore[attr-defined]


def test_an_order_that_may_go_nowhere_says_so() -> None:
    assert status_of(errors.IllegalTransition("DELIVERED", [])).message.endswith("it may go to no other status")


def test_what_is_unavailable_says_when_to_come_back() -> None:
    status = status_of(errors.StorageUnavailable("the pool is exhausted"))

    assert details(status, RetryInfo)
    assert status.message == "the service cannot work at the moment, try again later"


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(SECRET),
        RuntimeError(SECRET),
        KeyError(SECRET),
        AssertionError(SECRET),
        ExceptionGroup(SECRET, [ValueError(SECRET)]),
        OrderServiceError(SECRET),
        errors.StorageRefused(SECRET),
        errors.StorageUnavailable(SECRET),
        errors.BrokerUnavailable(SECRET),
        Overloaded(SECRET),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_text_of_a_fault_never_leaks(error: Exception) -> None:
    error.__cause__ = ValueError(SECRET)

    answered = status_of(error).SerializeToString()

    assert b"s3cret" not in answered
    assert b"10.0.0.7" not in answered
    assert type(error).__name__.encode() not in answered


def test_every_code_of_the_table_has_a_reason_of_its_own() -> None:
    reasons = [code.reason for code in (*TABLE.values(), INTERNAL)]

    assert len(set(reasons)) == len(reasons)
    assert all(reason == reason.upper() and reason.replace("_", "").isalpha() for reason in reasons)
