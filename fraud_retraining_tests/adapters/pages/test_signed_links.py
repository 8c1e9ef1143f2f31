"""Signed links: what they say is what was signed, for as long as a release may wait."""

from datetime import UTC, date, datetime

import pytest

from fraud_retraining.adapters.pages.signed_links import ReleaseLinks
from fraud_retraining.domain.releases.release import Release, ReleaseState
from fraud_retraining.domain.values.errors import NotPermitted

SECRET = "s" * 32
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
RELEASE = Release(
    model="fraud_detector",
    version=3,
    fingerprint="f3",
    as_of=date(2026, 11, 1),
    trigger="schedule",
    state=ReleaseState.AWAITING_APPROVAL,
    artifact_digest="d3",
    verdict_passed=True,
    opened_at=NOON,
    moved_at=NOON,
    moved_by="pipeline",
)


def test_a_link_says_version_artifact_and_reviewer() -> None:
    links = ReleaseLinks(SECRET, hours=24)
    found = links.read(links.token(RELEASE, "alice"))
    assert (found.version, found.digest, found.reviewer) == (3, "d3", "alice")


def test_two_links_of_one_reviewer_differ_so_that_each_works_once() -> None:
    links = ReleaseLinks(SECRET, hours=24)
    assert links.read(links.token(RELEASE, "alice")).nonce != links.read(links.token(RELEASE, "alice")).nonce


def test_a_link_is_an_address_below_the_base() -> None:
    links = ReleaseLinks(SECRET, hours=24)
    address, _, token = links.url("https://releases.example/", RELEASE, "alice").partition("?link=")
    assert address == "https://releases.example/3"
    assert links.read(token).reviewer == "alice"


@pytest.mark.parametrize("damage", [lambda token: token[:-1], lambda token: "x" + token, lambda token: ""])
def test_an_altered_link_is_refused(damage) -> None:
    links = ReleaseLinks(SECRET, hours=24)
    with pytest.raises(NotPermitted, match="not valid"):
        links.read(damage(links.token(RELEASE, "alice")))


def test_a_link_under_another_secret_is_refused() -> None:
    token = ReleaseLinks("t" * 32, hours=24).token(RELEASE, "alice")
    with pytest.raises(NotPermitted):
        ReleaseLinks(SECRET, hours=24).read(token)


def test_a_link_that_is_too_old_is_refused() -> None:
    links = ReleaseLinks(SECRET, hours=-1)
    with pytest.raises(NotPermitted):
        links.read(links.token(RELEASE, "alice"))


def test_a_signed_text_of_another_shape_is_refused() -> None:
    links = ReleaseLinks(SECRET, hours=24)
    with pytest.raises(NotPermitted):
        links.read(str(links._serializer.dumps([3, "d3"])))
