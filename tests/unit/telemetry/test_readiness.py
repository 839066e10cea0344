"""What a process needs to serve."""

from order_service.telemetry.readiness import Readiness


def test_a_process_is_ready_once_every_need_is_met() -> None:
    readiness = Readiness({"database": "not connected yet"})

    before = readiness.wrong()
    readiness.report("database")
    readiness.report("broker", "connection refused")
    then = readiness.wrong()
    readiness.report("broker")

    assert before == {"database": "not connected yet"}
    assert then == {"broker": "connection refused"}
    assert readiness.wrong() == {}
