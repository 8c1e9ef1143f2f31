"""Links that prove who follows them: made out to one reviewer, for one version and artifact, signed, and used once.

Here: signing and reading them. Not here: using one up (the ledger's transaction that decides) and the page behind it.
"""

from typing import NamedTuple
from uuid import uuid4

from fraud_retraining.domain.releases.release import Release
from fraud_retraining.domain.values.errors import NotPermitted

LINK_VARIABLE = "RELEASES_LINK_SECRET"
SALT = "fraud-retraining release"
LEAST_CHARACTERS = 32


class SignedLink(NamedTuple):
    """What a link says, its signature verified."""

    version: int
    digest: str
    reviewer: str
    nonce: str


class ReleaseLinks:
    """Links under one secret, of the model `segment` among several; they are good for as long as a release may wait."""

    def __init__(self, secret: str, hours: float, segment: str = "") -> None:
        from itsdangerous import URLSafeTimedSerializer

        # Versions of every model are counted from 1: a link of one must say nothing to the pages of another.
        self._serializer = URLSafeTimedSerializer(secret, salt=f"{SALT} {segment}" if segment else SALT)
        self._seconds = int(hours * 3600)

    def token(self, release: Release, reviewer: str) -> str:
        """A new link's token."""
        # The nonce makes each link another one; the ledger lets each decide once.
        return str(self._serializer.dumps([release.version, release.artifact_digest, reviewer, uuid4().hex]))

    def url(self, base: str, release: Release, reviewer: str) -> str:
        """A new link to the page of a release."""
        return f"{base.rstrip('/')}/{release.version}?link={self.token(release, reviewer)}"

    def read(self, token: str) -> SignedLink:
        """What a token says.

        Raises:
            NotPermitted: it is forged, too old, or not one of ours.
        """
        from itsdangerous import BadData

        try:
            version, digest, reviewer, nonce = self._serializer.loads(token, max_age=self._seconds)
            return SignedLink(int(version), str(digest), str(reviewer), str(nonce))
        except (BadData, ValueError, TypeError):
            raise NotPermitted(
                "the link is not valid, or no longer", remedy="ask for a new one, or decide on the command line."
            ) from None
