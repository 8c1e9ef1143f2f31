"""What the pages read of a request before anything is decided."""

from urllib.parse import urlencode

import pytest

from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.serving.release_routes import FIELDS, form_fields, host_of


def test_a_form_loses_what_cannot_be_printed_and_keeps_lines() -> None:
    typed = {"decision": "reject", "reason": "too low\n\x00\x1b[2Jagain"}
    assert form_fields(urlencode(typed).encode()) == {"decision": "reject", "reason": "too low\n[2Jagain"}


def test_a_field_that_stands_twice_counts_as_it_stood_first() -> None:
    assert form_fields(b"decision=reject&decision=approve") == {"decision": "reject"}


def test_bytes_that_are_no_text_are_no_error() -> None:
    assert form_fields(b"reason=\xff\xfe%ff") == {"reason": "\N{REPLACEMENT CHARACTER}" * 3}


def test_a_form_with_too_many_fields_is_refused() -> None:
    with pytest.raises(SettingsError, match="too many fields"):
        form_fields("&".join(f"f{n}=1" for n in range(FIELDS + 1)).encode())


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://fraud.example", "fraud.example"),
        ("https://fraud.example:8443/releases/3?x=1", "fraud.example:8443"),
        ("", ""),
        ("null", ""),
        ("http://[broken", None),
    ],
)
def test_the_host_of_an_origin(origin: str, host: str | None) -> None:
    assert host_of(origin) == host
