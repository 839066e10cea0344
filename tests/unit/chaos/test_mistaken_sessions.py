"""What PostgreSQL's log tells of a client that mistakes what its session is in."""

from pathlib import Path

from tests.chaos.platform import mistaken_sessions

QUIET = "2026-01-01 00:00:00.000 UTC [1] LOG:  database system is ready to accept connections\n"
OUTSIDE = "2026-01-01 00:00:01.000 UTC [2] WARNING:  there is no transaction in progress\n"
WITHIN = "2026-01-01 00:00:02.000 UTC [3] WARNING:  there is already a transaction in progress\n"


def test_a_log_without_such_a_warning_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "postgresql-0.log").write_text(QUIET)

    assert mistaken_sessions(tmp_path) == []


def test_a_warning_in_the_log_of_either_server_is_trouble(tmp_path: Path) -> None:
    (tmp_path / "postgresql-0.log").write_text(QUIET + OUTSIDE)
    (tmp_path / "postgresql-1.log").write_text(WITHIN)

    (told,) = mistaken_sessions(tmp_path)

    assert "2 times" in told
