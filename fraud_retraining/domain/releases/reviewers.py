"""Who may decide about releases, and how they prove who they are.

Here: reviewers, their proofs, and the identity that a proof gives. Every function takes a presented proof and returns
an identity, or refuses. Not here: which decisions a reviewer may make, and until when (`approval_rules.py`), what a
decision does (`lifecycle.py`), and how a token, a Slack signature or a proxy's header is received (the command line,
`serving/`).
"""

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from fraud_retraining.domain.values.base import Policy, Value
from fraud_retraining.domain.values.errors import NotPermitted, SettingsError

PROXY_SECRET_VARIABLE = "FRAUD_RETRAINING_PROXY_SECRET"
LEAST_SECRET = 32


class Reviewer(Policy):
    """A person who may approve, reject and roll back, with the proofs that only they can give."""

    name: str = Field(min_length=1, max_length=100, description="Name under which decisions are recorded.")
    slack_id: str | None = Field(
        None, pattern=r"^[UW][A-Z0-9]{2,}$", description="User id in Slack, such as U02ABCDEF."
    )
    token_sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the reviewer's own random token, in hexadecimal."
    )
    os_user: str | None = Field(None, min_length=1, description="Operating-system account that only they log in to.")

    @property
    def provable(self) -> bool:
        """Whether a proof for the command line is configured; then a mere name is not believed."""
        return self.token_sha256 is not None or self.os_user is not None

    @property
    def provable_somewhere(self) -> bool:
        """Whether a proof is configured for any way of deciding: token, account or Slack."""
        return self.provable or self.slack_id is not None

    @property
    def names(self) -> frozenset[str]:
        """Every name under which they may have requested a retrain."""
        return frozenset(name for name in (self.name, self.slack_id, self.os_user) if name is not None)


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class ReviewerPolicy(Policy):
    """Who may decide, and what they have to prove."""

    reviewers: tuple[Annotated[Reviewer, BeforeValidator(_named)], ...] = Field(
        (),
        description="Who may approve and reject, each a name or {name, slack_id, token_sha256, os_user}; empty: all.",
    )
    require_verified: bool = Field(
        False, description="Whether a decision counts only from a person with a proven identity."
    )
    two_person: bool = Field(
        False, description="Whether two different reviewers have to approve; each then needs a proof."
    )
    proxy_header: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9-]+$",
        description="Header in which a login proxy in front of the page names who is logged in; null believes none.",
    )
    proxy_secret_header: str = Field(
        "X-Proxy-Secret",
        pattern=r"^[A-Za-z0-9-]+$",
        description="Header in which that proxy sends the secret of FRAUD_RETRAINING_PROXY_SECRET.",
    )
    proxy_peers: tuple[str, ...] = Field(
        (), description="Addresses or networks that the proxy connects from, such as 10.1.2.3 or 10.1.0.0/16."
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        taken = Counter(name for reviewer in self.reviewers for name in reviewer.names)
        taken.update(one.token_sha256 for one in self.reviewers if one.token_sha256)
        twice = sorted(name for name, count in taken.items() if count > 1)
        if twice:
            raise ValueError(f"two reviewers share {', '.join(twice)}")
        return self

    @field_validator("proxy_peers")
    @classmethod
    def _networks(cls, peers: tuple[str, ...]) -> tuple[str, ...]:
        for peer in peers:
            # 0.0.0.0/0 would believe the header of everybody.
            if ip_network(peer).prefixlen == 0:
                raise ValueError(f"{peer} is every address there is")
        return peers

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.require_verified and not self.reviewers:
            raise ValueError("require_verified needs reviewers, each with a proof, or no one could ever approve")
        if self.two_person and len(self.reviewers) == 1:
            raise ValueError("two_person needs two reviewers, or nothing could ever be approved")
        return self

    def reviewer(self, name: str) -> Reviewer | None:
        """The reviewer of that name."""
        return next((reviewer for reviewer in self.reviewers if reviewer.name == name), None)


class Proof(StrEnum):
    """Kinds of proof of an identity."""

    TOKEN = "own token"
    ACCOUNT = "operating-system account"
    SLACK = "Slack user"
    PROXY = "login proxy"
    LINK = "signed link"
    NOTHING = "unverified"


class Identity(Value):
    """Identity of a person who wants to decide, with its proof."""

    name: str = Field(min_length=1, max_length=200)
    how: Proof = Field(description="Kind of proof.")

    @property
    def verified(self) -> bool:
        """Whether it is proven; a mere name is no proof."""
        return self.how is not Proof.NOTHING


def identify(
    policy: ReviewerPolicy, *, claimed: str | None = None, token: str | None = None, account: str | None = None
) -> Identity:
    """Return the identity of a command's user: by their own token, else by their account, else by the mere name.

    Args:
        policy: the reviewers.
        claimed: the name that was given.
        token: the secret that was presented.
        account: the operating-system account that the command runs under.

    Raises:
        NotPermitted: no reviewer has the token, or token or account belong to another person than claimed.
        SettingsError: there is neither a name nor a proof.
    """
    # A token outweighs the account: it is the reviewer's own, an account may be shared.
    if token:
        return _agreed(_by_token(policy, token), Proof.TOKEN, claimed)
    owner = next((one for one in policy.reviewers if account is not None and one.os_user == account), None)
    if owner is not None:
        return _agreed(owner, Proof.ACCOUNT, claimed)
    if not (claimed or "").strip():
        raise SettingsError(
            "nothing says who decides", remedy="name yourself with --by, or prove it by your own token."
        )
    return Identity(name=str(claimed).strip(), how=Proof.NOTHING)


def token_digest(token: str) -> str:
    """Return the digest of a token, as settings hold it."""
    # A plain digest is enough: tokens are random and long, unlike passwords.
    return hashlib.sha256(token.strip().encode()).hexdigest()


def _by_token(policy: ReviewerPolicy, token: str) -> Reviewer:
    """The reviewer with this token; every hash is compared, so that timing reveals nothing."""
    given = token_digest(token)
    matching = [one for one in policy.reviewers if hmac.compare_digest(one.token_sha256 or "", given)]
    if not matching:
        raise NotPermitted("the token is no reviewer's", remedy="its SHA-256 must stand in promotion.reviewers.")
    return matching[0]


def _agreed(reviewer: Reviewer, how: Proof, claimed: str | None) -> Identity:
    if claimed and claimed.strip() != reviewer.name:
        raise NotPermitted(
            f"the {how} belongs to {reviewer.name}, not to {claimed.strip()}",
            remedy="decide under your own name.",
        )
    return Identity(name=reviewer.name, how=how)


def identify_by_slack(policy: ReviewerPolicy, user_id: str) -> Identity:
    """Return the identity of a Slack user, after the signature was verified.

    Raises:
        NotPermitted: no reviewer has that user id.
    """
    return _recognised(policy, user_id, Proof.SLACK, lambda one: one.slack_id)


def identify_by_proxy(policy: ReviewerPolicy, login: str) -> Identity:
    """Return the identity that the configured login proxy names: a reviewer's name, or their account.

    Raises:
        NotPermitted: no reviewer has that name or account.
    """
    return _recognised(policy, login, Proof.PROXY, lambda one: login if login in (one.name, one.os_user) else None)


def require_proxy_proof(policy: ReviewerPolicy, secret: str) -> None:
    """Refuse to trust a login proxy that cannot be distinguished from other clients.

    Raises:
        SettingsError: neither a secret nor a list of peers is set, or the secret can be guessed.
    """
    if policy.proxy_header is None or (policy.proxy_peers and not secret):
        return
    if len(secret) < LEAST_SECRET:
        raise SettingsError(
            f"anyone who reaches the port could send the header {policy.proxy_header} and be believed",
            culprits=[f"{PROXY_SECRET_VARIABLE} has {len(secret)} of at least {LEAST_SECRET} characters"],
            remedy=f"set {PROXY_SECRET_VARIABLE} here and let the proxy send it in {policy.proxy_secret_header} "
            "(openssl rand -hex 32), or name the proxy's addresses in promotion.proxy_peers.",
        )


def is_proxy(policy: ReviewerPolicy, secret: str, presented: str, peer: str | None) -> bool:
    """Whether a request comes from the configured login proxy, by its secret and by its address, as far as each is set.

    Args:
        policy: which addresses the proxy has.
        secret: what the proxy has to present; empty if only its address identifies it.
        presented: what the request presents.
        peer: the address that the connection comes from.
    """
    # Without either, any client could send the header.
    if not secret and not policy.proxy_peers:
        return False
    if secret and not hmac.compare_digest(presented.encode("utf-8", "replace"), secret.encode()):
        return False
    return not policy.proxy_peers or _is_among(policy.proxy_peers, peer)


def _is_among(networks: Sequence[str], peer: str | None) -> bool:
    try:
        address = ip_address(peer or "")
    except ValueError:
        return False
    # A server that listens on IPv6 sees IPv4 clients as ::ffff:10.1.2.3.
    inner = getattr(address, "ipv4_mapped", None) or address
    return any(one in ip_network(network) for network in networks for one in {address, inner})


def identify_by_link(policy: ReviewerPolicy, name: str) -> Identity:
    """Return the identity of the person whom a signed one-time link names, after the signature was verified.

    Raises:
        NotPermitted: no reviewer has that name (any more).
    """
    return _recognised(policy, name, Proof.LINK, lambda one: one.name)


def _recognised(policy: ReviewerPolicy, given: str, how: Proof, known_as: Callable[[Reviewer], str | None]) -> Identity:
    if not policy.reviewers and given.strip():
        return Identity(name=given, how=how)
    for reviewer in policy.reviewers:
        if known_as(reviewer) == given:
            return Identity(name=reviewer.name, how=how)
    raise not_a_reviewer(given)


def not_a_reviewer(name: str) -> NotPermitted:
    """Return the refusal of a person who is no reviewer."""
    who = name or "a person without a name"
    return NotPermitted(f"{who} is not a reviewer", remedy="reviewers are named in promotion.reviewers.")


def admit(policy: ReviewerPolicy, identity: Identity) -> None:
    """Refuse a person who may not decide.

    Raises:
        NotPermitted: not a reviewer, or not proven where a proof is required.
    """
    reviewer = policy.reviewer(identity.name)
    if policy.reviewers and reviewer is None:
        raise not_a_reviewer(identity.name)
    if identity.verified:
        return
    if policy.require_verified or (reviewer is not None and reviewer.provable):
        raise NotPermitted(
            f"{identity.name} has not proven to be {identity.name}",
            remedy=f"{_PROOFS}; a name alone is not believed.",
        )


_PROOFS = "present your own token (FRAUD_RETRAINING_REVIEWER_TOKEN), or decide from your own account, Slack or the page"


def is_requester(policy: ReviewerPolicy, identity: Identity, requested_by: str) -> bool:
    """Whether this person requested the retrain, under any of their names."""
    reviewer = policy.reviewer(identity.name)
    return requested_by in (reviewer.names if reviewer is not None else {identity.name})


def as_recorded(identity: Identity) -> Mapping[str, Any]:
    """Return an identity as the ledger stores it."""
    return {"name": identity.name, "verified": identity.verified, "how": identity.how.value}
