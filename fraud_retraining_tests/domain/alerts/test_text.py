"""Text that is sent is one printable line without secrets, and a link cannot end early."""

import pytest

from fraud_retraining.domain.alerts.text import URL, clean, link_target, web_url


def test_clean_text_is_one_printable_line() -> None:
    assert clean("a\n b\t\x1b[31mc\u202e", 100) == "a b [31mc"
    assert clean("x" * 11, 10) == "x" * 9 + "…"


@pytest.mark.parametrize("url", ["javascript:alert(1)", "docs/runbook.md", "https://", "http:// x"])
def test_other_places_are_no_web_address(url: str) -> None:
    assert link_target(url) is None and web_url(url) is None


def test_a_link_has_no_sign_that_ends_it_and_no_secret() -> None:
    assert web_url('https://x/a|b>c d"') == "https://x/a%7Cb%3Ec%20d%22"
    assert "hunter2" not in str(web_url("https://user:hunter2@x/runs"))


def test_a_signed_link_keeps_its_secret_and_its_length() -> None:
    signed = "https://x/releases/1?link=" + "s" * URL
    assert link_target(signed) == signed
    assert web_url("https://x/" + "s" * URL) is None
