"""Credentials in what is told."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_service.telemetry.redaction import redacted, redacted_entries


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgres://admin:hunter2@db:5432/shop", "postgres://admin:***@db:5432/shop"),
        ("lost amqps://u:hunter2@h/, retrying", "lost amqps://u:***@h/, retrying"),
        ("amqp://u:hunter2@one/,amqp://v:hunter2@two/", "amqp://u:***@one/,amqp://v:***@two/"),
        ("amqp://:hunter2@h", "amqp://:***@h"),
        ("postgres://u:hun/ter2@p:2@h/d", "postgres://u:***@h/d"),
        ("'amqp://u:hunter2@h' and me@example.org", "'amqp://u:***@h' and me@example.org"),
        ("host=db password=hunter2 user=u", "host=db password=*** user=u"),
        ("host=db password = 'hunter 2'", "host=db password = ***"),
        ("postgres://h/d?user=u&password=hunter2&x=1", "postgres://h/d?user=u&password=***&x=1"),
        ("{'password': 'hunter2', 'x': 1}", "{'password': ***, 'x': 1}"),
        ("http://host:8080/path", "http://host:8080/path"),
        ("invalid token: x", "invalid token: x"),
    ],
)
def test_a_password_in_a_text_is_hidden(text: str, expected: str) -> None:
    assert redacted(text) == expected


@given(st.text(st.characters(exclude_characters=" \t\"'<>", exclude_categories=["Z", "C"]), min_size=1))
def test_no_password_in_a_url_gets_through_whatever_it_is_made_of(password: str) -> None:
    url = f"amqp://guest:{password.replace('://', '')}@rabbitmq:5672/"

    assert redacted(f"cannot reach {url} now") == "cannot reach amqp://guest:***@rabbitmq:5672/ now"


@dataclass(frozen=True)
class Login:
    url: str = "amqp://u:hunter2@h/"


@pytest.mark.parametrize(
    "value",
    [
        ["amqp://u:hunter2@h/"],
        {"deep": ({"PGPASSWORD": "hunter2"},)},
        {"api_token": ["hunter2"]},
        b"amqp://u:hunter2@h/",
        OSError("amqp://u:hunter2@h/"),
        Login(),
    ],
)
def test_a_credential_is_hidden_at_any_depth(value: Any) -> None:
    entries = redacted_entries({"event": "x", "value": value, "client_secret": "hunter2"})

    assert "hunter2" not in str(entries)
    assert entries["client_secret"] == "***"


def test_an_absent_secret_is_seen_to_be_absent() -> None:
    assert redacted_entries({"password": None, "token": ""}) == {"password": None, "token": ""}
