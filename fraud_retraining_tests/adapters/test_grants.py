"""The application's role adds to the record and can do nothing else to it, on a real PostgreSQL."""

from uuid import uuid4

import pytest
import sqlalchemy as sa

from fraud_retraining.adapters.archive import ArchivingLedger
from fraud_retraining.adapters.grants import FORBIDDEN, OwnedLedger
from fraud_retraining.adapters.ledger import Ledger
from fraud_retraining.domain.errors import SettingsError
from fraud_retraining.domain.releases import Decision
from fraud_retraining_tests.adapters.ledgers import ANYBODY, person, promoted, waiting
from fraud_retraining_tests.adapters.tampering import run_sql

pytest_plugins = ("fraud_retraining_tests.adapters.databases",)


@pytest.fixture
def role(postgres_url: str) -> str:
    """A role with an awkward name that owns nothing."""
    name = f'Fraud "app" 100%s {uuid4().hex[:8]}'
    quoted = name.replace('"', '""')
    run_sql(postgres_url, f"CREATE ROLE \"{quoted}\" LOGIN PASSWORD 'app'")
    return name


@pytest.fixture
def app_url(postgres_url: str, role: str) -> str:
    """How that role connects, once it was granted what it needs."""
    OwnedLedger(postgres_url).grant(role)
    return sa.make_url(postgres_url).set(username=role, password="app").render_as_string(hide_password=False)


def test_releases_live_their_whole_life_under_the_role(app_url: str):
    ledger = Ledger(app_url)
    promoted(ledger, 1, day=1)
    promoted(ledger, 2, day=3, expected=1)
    waiting(ledger, 3, day=5)
    about = {"policy": ANYBODY, "by": person("alice"), "channel": "cli", "reason": "worse at night"}
    ledger.decide(3, Decision.REJECT, **about)
    with ledger.promotion_lock():
        assert ledger.unfinished_intents() == []
    assert ledger.verify(ledger.head()).ok


def test_working_state_may_be_written_and_tidied_up_under_the_role(app_url: str):
    run_sql(
        app_url,
        "INSERT INTO notices (model, dedup_key, category, severity, notice, seen, opened_at, seen_at) "
        "VALUES ('m', 'k', 'gate_failed', 'medium', '{}', 1, 'now', 'now')",
        "UPDATE notices SET seen = 2",
        "DELETE FROM notices",
        "INSERT INTO used_links VALUES ('n', 'now', 'alice')",
    )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET actor = 'mallory'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "DELETE FROM releases",
        "TRUNCATE releases",
        "INSERT INTO ledger_head VALUES (2, 0, '')",
        "DELETE FROM ledger_head",
        "UPDATE ledger_version SET version_num = '0000'",
        "ALTER TABLE audit_events DISABLE TRIGGER ALL",
        "DROP TABLE audit_events",
        "DROP TRIGGER audit_events_no_update ON audit_events",
        "CREATE TABLE mine (n int)",
        "SET session_replication_role = replica",
    ],
)
def test_the_role_cannot_rewrite_the_record_nor_take_its_guards_away(app_url: str, statement: str):
    ledger = Ledger(app_url)
    promoted(ledger, 1)
    with pytest.raises(sa.exc.ProgrammingError, match=r"permission denied|must be owner"):
        run_sql(app_url, statement)
    assert ledger.verify().ok


def test_the_role_cannot_archive(app_url: str, role: str, tmp_path):
    promoted(Ledger(app_url), 1)
    with pytest.raises(SettingsError, match="cannot archive: the ledger's tables belong to ledger"):
        ArchivingLedger(app_url).move_out(tmp_path, 365, actor="olga", channel="command line")


def test_granting_again_takes_back_what_was_given_by_hand(postgres_url: str, role: str):
    owned = OwnedLedger(postgres_url)
    statements = owned.grant(role)
    quoted = role.replace('"', '""')
    run_sql(postgres_url, f'GRANT ALL ON audit_events TO "{quoted}"', "GRANT DELETE ON releases TO PUBLIC")
    assert owned.grant(role) == statements == owned.grants(role)


def test_the_owner_is_no_insert_only_role(postgres_url: str):
    with pytest.raises(SettingsError, match="can change the record whatever is granted") as refusal:
        OwnedLedger(postgres_url).grant("ledger")
    assert len(refusal.value.culprits) == sum(map(len, FORBIDDEN.values()))


def test_a_role_that_is_not_there_and_a_database_without_roles_are_named(postgres_url: str, sqlite_url: str):
    with pytest.raises(SettingsError, match="there is no role nobody"):
        OwnedLedger(postgres_url).grants("nobody")
    with pytest.raises(SettingsError, match="only PostgreSQL knows roles"):
        OwnedLedger(sqlite_url).grants("app")
