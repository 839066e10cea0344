"""The one table of gRPC codes, and errors as callers see them (AIP-193)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from order_service.domain import errors

DOMAIN: Final = "order-service"
DETAILS_KEY: Final = "grpc-status-details-bin"
_RETRY_SECONDS: Final = 1
_INTERNAL_TEXT: Final = "internal error"
_MOST_VIOLATIONS: Final = 30
"""Details travel in the trailing metadata, which clients refuse above 8 KiB: the first of very many must do."""
_LONGEST_TEXT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Code:
    """A gRPC code and the UPPER_SNAKE reason that goes with it."""

    code: grpc.StatusCode
    reason: str


TABLE: Final[Mapping[type[Exception], Code]] = {
    errors.InvalidRequest: Code(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    errors.RequestIdReused: Code(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"),
    errors.OrderNotFound: Code(grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND"),
    errors.IllegalTransition: Code(grpc.StatusCode.FAILED_PRECONDITION, "ILLEGAL_TRANSITION"),
    errors.EtagMismatch: Code(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"),
    errors.ServiceUnavailable: Code(grpc.StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE"),
    # What generated code raises for a method of a service that nobody has written.
    NotImplementedError: Code(grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED"),
}
"""The code of each error; a subclass has that of the nearest class above it. What is not here is INTERNAL."""

INTERNAL: Final = Code(grpc.StatusCode.INTERNAL, "INTERNAL")


def code_of(error: BaseException) -> Code:
    """The code that an error is answered with."""
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), INTERNAL)


def status_of(error: BaseException) -> Status:
    """The error as a google.rpc.Status with its details. Of an unforeseen error it says nothing at all."""
    code = code_of(error)
    metadata: dict[str, str] = {}
    details: list[Message] = []
    match error:
        case errors.InvalidRequest(violations=violations):
            shown = violations[:_MOST_VIOLATIONS]
            fields = [BadRequest.FieldViolation(field=one.field, description=one.description) for one in shown]
            details.append(BadRequest(field_violations=fields))
        case errors.RequestIdReused():
            reused = BadRequest.FieldViolation(field="request_id", description=str(error))
            details.append(BadRequest(field_violations=[reused]))
        case errors.IllegalTransition(status=status, allowed=allowed):
            metadata = {"status": status, "allowed": ",".join(allowed)}
        case errors.ServiceUnavailable():
            details.append(RetryInfo(retry_delay=Duration(seconds=_RETRY_SECONDS)))
    info = ErrorInfo(reason=code.reason, domain=DOMAIN, metadata=metadata)
    return Status(
        code=code.code.value[0], message=_text(error, code), details=[_packed(one) for one in (info, *details)]
    )


def _text(error: BaseException, code: Code) -> str:
    if code is INTERNAL:
        return _INTERNAL_TEXT
    if code.code is grpc.StatusCode.UNAVAILABLE:
        return "the service cannot work at the moment, try again later"
    return str(error)[:_LONGEST_TEXT]


def _packed(detail: Message) -> AnyProto:
    packed = AnyProto()
    packed.Pack(detail)
    return packed
