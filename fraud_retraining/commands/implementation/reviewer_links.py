"""Signed links to a waiting version for one reviewer, where no Slack sends them.

Here: who may get one, and the event that records for whom it was made; never the link itself. Not here: signing
(`adapters/pages/signed_links.py`) and the decision made by it (`serving/release_routes.py`).
"""

from datetime import datetime, timedelta

from pydantic import Field

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.pages.signed_links import LINK_VARIABLE, ReleaseLinks
from fraud_retraining.adapters.storage.accounts import account
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.release import Release, ReleaseState
from fraud_retraining.domain.releases.reviewers import Reviewer
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.errors import Conflict, NotPermitted, SettingsError
from fraud_retraining.orchestration.resources import open_ledger, open_links
from fraud_retraining.settings import Settings

CHANNEL, DEADLINE = "command line", "deadline"


class MadeLink(Value):
    """A link, the reviewer it is for, and when it expires."""

    version: int
    reviewer: str
    url: str = Field(repr=False)
    expires_at: datetime


def make_link(settings: Settings, version: int, name: str) -> MadeLink:
    """A new link by which one reviewer decides about one version, once.

    Raises:
        SettingsError: there is no secret to sign with, or no address of the page of releases.
        NotPermitted: no reviewer has that name.
        Conflict: the version does not wait for a decision.
    """
    links, base = _signing(settings)
    reviewer = _reviewer(settings, name)
    ledger = open_ledger(settings)
    release = _waiting(ledger, version)
    expires_at = _expiry(ledger, release, settings.promotion.approval_hours)
    # Recorded before it is signed: no link exists that the ledger has no event of.
    _record(ledger, release, reviewer, expires_at)
    url = links.url(base, release, reviewer.name)
    return MadeLink(version=version, reviewer=reviewer.name, url=url, expires_at=expires_at)


def _signing(settings: Settings) -> tuple[ReleaseLinks, str]:
    links, base = open_links(settings), settings.alerts.links.releases
    if links is None:
        raise SettingsError(
            "no link can be signed",
            culprits=[f"{LINK_VARIABLE} is not set"],
            remedy="set it as where `serve-approvals` runs.",
        )
    if base is None:
        raise SettingsError(
            "a link would lead nowhere",
            culprits=["alerts.links.releases is not set"],
            remedy="set it to the address of the page of releases, such as https://fraud.example/releases.",
        )
    return links, base


def _reviewer(settings: Settings, name: str) -> Reviewer:
    found = settings.promotion.reviewer(name)
    if found is None:
        known = ", ".join(one.name for one in settings.promotion.reviewers) or "none"
        raise NotPermitted(f"{name!r} is no reviewer", remedy=f"reviewers in promotion.reviewers: {known}.")
    return found


def _waiting(ledger: Ledger, version: int) -> Release:
    ledger.expire_due(actor=DEADLINE, channel=DEADLINE)
    release = ledger.release_by_version(version)
    if release is None:
        raise Conflict(
            f"there is no release of version {version}", remedy="`fraud-retraining pending` says what waits."
        )
    if release.state is not ReleaseState.AWAITING_APPROVAL:
        state = str(release.state).replace("_", " ")
        raise Conflict(
            f"version {version} does not wait for a decision: {state}", remedy="there is nothing to decide about it."
        )
    return release


def _expiry(ledger: Ledger, release: Release, hours: float) -> datetime:
    """The end of its own hours, or the release's deadline where that comes first."""
    own = ledger.now() + timedelta(hours=hours)
    return min(own, release.deadline) if release.deadline else own


def _record(ledger: Ledger, release: Release, reviewer: Reviewer, expires_at: datetime) -> None:
    ledger.append(
        EventKind.LINK_MADE,
        actor=account() or "unknown account",
        channel=CHANNEL,
        keys=EventKeys(as_of=release.as_of, version=release.version, fingerprint=release.fingerprint),
        payload={"reviewer": reviewer.name, "expires_at": expires_at.isoformat()},
    )
