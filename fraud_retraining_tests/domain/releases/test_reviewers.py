"""Who may decide, by which proof, and who is refused."""

import hashlib

import pytest
from pydantic import ValidationError

from fraud_retraining.domain.releases.reviewers import (
    Identity,
    Proof,
    Reviewer,
    ReviewerPolicy,
    admit,
    identify,
    identify_by_link,
    identify_by_proxy,
    identify_by_slack,
    is_proxy,
    is_requester,
    require_proxy_proof,
    token_digest,
)
from fraud_retraining.domain.values.errors import NotPermitted, SettingsError

TOKEN = "correct horse battery staple"
ALICE = {"name": "alice", "token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest(), "slack_id": "U0ALICE"}
BOB = {"name": "bob", "os_user": "bdoe"}
TEAM = ReviewerPolicy(reviewers=(ALICE, BOB, "carol"))
ANYBODY = ReviewerPolicy()


def test_a_reviewer_may_be_a_mere_name():
    assert TEAM.reviewer("carol") == Reviewer(name="carol")
    assert not Reviewer(name="carol").provable


@pytest.mark.parametrize(
    "policy",
    [
        {"reviewers": ["alice", "alice"]},
        {"reviewers": [BOB, {"name": "dave", "os_user": "bdoe"}]},
        {"reviewers": [ALICE, {**ALICE, "name": "dave", "slack_id": None}]},
        {"reviewers": ["bdoe", BOB]},
        {"reviewers": [{"name": "alice", "token_sha256": TOKEN}]},
        {"reviewers": [{"name": "alice", "token": TOKEN}]},
        {"reviewers": [{"name": ""}]},
        {"require_verified": True},
        {"two_person": True, "reviewers": ["alice"]},
    ],
    ids=[
        "a name twice",
        "an account twice",
        "a token twice",
        "a name that is another's account",
        "a token in clear",
        "a key that there is not",
        "no name",
        "proof from nobody",
        "two people out of one",
    ],
)
def test_a_policy_that_cannot_be_obeyed_is_refused(policy: dict[str, object]):
    with pytest.raises(ValidationError):
        ReviewerPolicy.model_validate(policy)


@pytest.mark.parametrize("claimed", [None, "alice", " alice "])
@pytest.mark.parametrize("presented", [TOKEN, f"{TOKEN}\n"])
def test_an_own_token_proves_who_it_is_with_or_without_the_name(claimed: str | None, presented: str):
    assert identify(TEAM, claimed=claimed, token=presented, account="root") == Identity(name="alice", how=Proof.TOKEN)


def test_an_account_proves_who_it_is():
    assert identify(TEAM, account="bdoe") == identify(TEAM, claimed="bob", account="bdoe")
    assert identify(TEAM, account="bdoe") == Identity(name="bob", how=Proof.ACCOUNT)


@pytest.mark.parametrize(
    ("presented", "message"),
    [
        ({"token": "guess"}, "no reviewer's"),
        ({"token": "guess", "claimed": "carol"}, "no reviewer's"),
        ({"token": "guess", "account": "bdoe"}, "no reviewer's"),
        ({"token": TOKEN, "claimed": "bob"}, "belongs to alice, not to bob"),
        ({"account": "bdoe", "claimed": "carol"}, "belongs to bob, not to carol"),
        ({"token": "", "account": "bdoe", "claimed": "alice"}, "belongs to bob, not to alice"),
    ],
)
def test_a_proof_that_is_nobodys_or_somebody_elses_is_refused(presented: dict[str, str], message: str):
    with pytest.raises(NotPermitted, match=message):
        identify(TEAM, **presented)


def test_an_empty_token_in_settings_is_no_token():
    """A reviewer without a token is not proven by a token that hashes to nothing."""
    with pytest.raises(NotPermitted):
        identify(ReviewerPolicy(reviewers=("carol",)), token="anything")


def test_a_mere_name_is_unverified():
    carol = identify(TEAM, claimed="carol", account="root")
    assert carol == Identity(name="carol", how=Proof.NOTHING)
    assert not carol.verified
    with pytest.raises(SettingsError, match="nothing says who decides"):
        identify(TEAM, account="root")
    with pytest.raises(SettingsError, match="nothing says who decides"):
        identify(TEAM, claimed="  ")


def test_everybody_but_who_merely_gives_a_name_is_verified():
    assert {how for how in Proof if not Identity(name="x", how=how).verified} == {Proof.NOTHING}


@pytest.mark.parametrize(
    ("policy", "identity", "admitted"),
    [
        (TEAM, Identity(name="carol", how=Proof.NOTHING), True),
        (TEAM, Identity(name="alice", how=Proof.NOTHING), False),
        (TEAM, Identity(name="bob", how=Proof.NOTHING), False),
        (TEAM, Identity(name="alice", how=Proof.TOKEN), True),
        (TEAM, Identity(name="mallory", how=Proof.NOTHING), False),
        (TEAM, Identity(name="mallory", how=Proof.LINK), False),
        (ANYBODY, Identity(name="mallory", how=Proof.NOTHING), True),
        (
            ReviewerPolicy(reviewers=("carol",), require_verified=True),
            Identity(name="carol", how=Proof.NOTHING),
            False,
        ),
        (ReviewerPolicy(reviewers=("carol",), require_verified=True), Identity(name="carol", how=Proof.PROXY), True),
    ],
)
def test_who_is_let_in(policy: ReviewerPolicy, identity: Identity, admitted: bool):
    if admitted:
        admit(policy, identity)
    else:
        with pytest.raises(NotPermitted) as caught:
            admit(policy, identity)
        assert caught.value.exit_code == 2


def test_slack_proxy_and_link_know_reviewers_and_nobody_else():
    assert identify_by_slack(TEAM, "U0ALICE") == Identity(name="alice", how=Proof.SLACK)
    assert identify_by_proxy(TEAM, "bdoe") == identify_by_proxy(TEAM, "bob") == Identity(name="bob", how=Proof.PROXY)
    assert identify_by_link(TEAM, "carol") == Identity(name="carol", how=Proof.LINK)
    for identify_by in (identify_by_slack, identify_by_proxy, identify_by_link):
        for stranger in ("U0MALLORY", "mallory", "", "None"):
            with pytest.raises(NotPermitted, match="is not a reviewer"):
                identify_by(TEAM, stranger)


def test_a_slack_name_is_no_slack_id_and_a_reviewer_without_one_is_not_found_by_nothing():
    with pytest.raises(NotPermitted):
        identify_by_slack(TEAM, "alice")
    with pytest.raises(NotPermitted):
        identify_by_slack(ReviewerPolicy(reviewers=("carol",)), "")


def test_where_nobody_is_named_anybody_who_reaches_it_is_who_they_are():
    assert identify_by_slack(ANYBODY, "U0MALLORY").name == "U0MALLORY"
    with pytest.raises(NotPermitted):
        identify_by_proxy(ANYBODY, " ")


def test_who_asked_is_known_under_every_name():
    bob = Identity(name="bob", how=Proof.ACCOUNT)
    assert is_requester(TEAM, bob, "bdoe")
    assert is_requester(TEAM, bob, "bob")
    assert not is_requester(TEAM, bob, "")
    assert not is_requester(TEAM, bob, "alice")
    assert is_requester(ANYBODY, Identity(name="mallory", how=Proof.NOTHING), "mallory")


def test_settings_hold_the_digest_of_what_the_shell_hashes():
    assert token_digest(f"{TOKEN}\n") == ALICE["token_sha256"]


PROXIED = ReviewerPolicy(proxy_header="X-Login")
NEAR = ReviewerPolicy(proxy_header="X-Login", proxy_peers=("10.1.0.0/16", "::1"))
LONG = "s" * 32


@pytest.mark.parametrize(
    ("policy", "secret", "presented", "peer", "believed"),
    [
        (PROXIED, LONG, LONG, "203.0.113.9", True),
        (PROXIED, LONG, "another", "127.0.0.1", False),
        (PROXIED, LONG, "", None, False),
        (PROXIED, "", "", "127.0.0.1", False),
        (NEAR, "", "", "10.1.2.3", True),
        (NEAR, "", "", "::ffff:10.1.2.3", True),
        (NEAR, "", "", "::1", True),
        (NEAR, "", "", "10.2.0.1", False),
        (NEAR, "", "", None, False),
        (NEAR, "", "", "a name", False),
        (NEAR, LONG, LONG, "10.1.2.3", True),
        (NEAR, LONG, LONG, "10.2.0.1", False),
        (NEAR, LONG, "", "10.1.2.3", False),
    ],
)
def test_only_the_proxy_itself_is_believed(
    policy: ReviewerPolicy, secret: str, presented: str, peer: str | None, believed: bool
):
    assert is_proxy(policy, secret, presented, peer) is believed


@pytest.mark.parametrize(("policy", "secret"), [(PROXIED, ""), (PROXIED, "short"), (NEAR, "short")])
def test_a_proxy_that_cannot_be_told_from_anybody_is_refused(policy: ReviewerPolicy, secret: str):
    with pytest.raises(SettingsError, match="anyone who reaches the port could send the header X-Login"):
        require_proxy_proof(policy, secret)


@pytest.mark.parametrize(("policy", "secret"), [(PROXIED, LONG), (NEAR, ""), (NEAR, LONG), (ANYBODY, "")])
def test_a_proxy_with_a_secret_or_an_address_of_its_own_is_accepted(policy: ReviewerPolicy, secret: str):
    require_proxy_proof(policy, secret)


@pytest.mark.parametrize("peer", ["10.1.2.3/16", "everywhere", "0.0.0.0/0", "::/0"])
def test_peers_are_addresses_or_networks(peer: str):
    with pytest.raises(ValidationError):
        ReviewerPolicy(proxy_header="X-Login", proxy_peers=(peer,))
