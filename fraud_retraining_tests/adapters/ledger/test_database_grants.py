"""The application's role adds to the record and can do nothing else to it, on a real PostgreSQL."""

from uuid import uuid4

import pytest
import sqlalchemy as sa

from fraud_retraining.adapters.ledger.archive import ArchivingLedger
from fraud_retraining.adapters.ledger.database_grants import FORBIDDEN, OwnedLedger
from fraud_retraining.adapters.ledger.decisions import ReviewerDecision
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.domain.releases.release import Decision
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining_tests.support.ledgers import ANYBODY, person, promoted, waiting
from fraud_retraining_tests.support.tampering import run_sql

pytest_plugins = ("fraud_retraining_tests.support.databases",)


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


def test_releases_pass_through_all_states_under_the_role(app_url: str):
    ledger = Ledger(app_url)
    promoted(ledger, 1, day=1)
    promoted(ledger, 2, day=3, expected=1)
    waiting(ledger, 3, day=5)
    rejection = ReviewerDecision(Decision.REJECT, person("alice"), "cli", reason="worse at night")
    ledger.record_decision(3, rejection, ANYBODY)
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


COPIED = """INSERT INTO {0}.audit_events SELECT {1}, at, model, kind, actor, channel, subject, as_of, version,
    fingerprint, payload, txn, {2}, hash FROM {0}.audit_events WHERE seq = 1"""


def schema_of(url: str) -> str:
    return str(sa.make_url(url).query["options"]).removeprefix("-csearch_path=")


@pytest.mark.parametrize(
    ("statements", "refused"),
    [
        ([COPIED.format("{schema}", 9999, "prev_hash")], "append-only"),
        ([COPIED.format("{schema}", "(SELECT max(seq) + 1 FROM audit_events)", "'evil'")], "append-only"),
        (
            [
                "CREATE TEMPORARY TABLE audit_events AS SELECT 9998::bigint AS seq, 'evil'::text AS hash",
                COPIED.format("{schema}", 9999, "'evil'"),
            ],
            "append-only",
        ),
        (["UPDATE ledger_head SET seq = 0"], "is the last row"),
        (["UPDATE ledger_head SET hash = 'evil'"], "is the last row"),
    ],
    ids=["row 9999", "another previous hash", "behind a temporary table", "head 0", "another head"],
)
def test_the_role_appends_in_turn_or_not_at_all(app_url: str, statements: list[str], refused: str):
    ledger = Ledger(app_url)
    promoted(ledger, 1)
    with pytest.raises(sa.exc.DBAPIError, match=refused):
        run_sql(app_url, *(statement.format(schema=schema_of(app_url)) for statement in statements))
    assert ledger.verify().ok


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("ALTER TABLE audit_events DISABLE TRIGGER audit_events_in_order", "audit_events_in_order is switched off"),
        ("DROP TRIGGER releases_no_delete ON releases", "releases_no_delete is missing"),
        (
            "CREATE OR REPLACE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RETURN NEW; END $$",
            "audit_events_no_update was altered",
        ),
        (
            "CREATE OR REPLACE TRIGGER ledger_head_follows BEFORE UPDATE OF id ON ledger_head FOR EACH ROW "
            "EXECUTE FUNCTION ledger_head_follow()",
            "ledger_head_follows was altered",
        ),
        (
            "CREATE TRIGGER helpful BEFORE UPDATE ON releases FOR EACH ROW EXECUTE FUNCTION releases_refuse()",
            "helpful on releases is none of this software's",
        ),
        ("ALTER TABLE releases ENABLE ROW LEVEL SECURITY", "releases is no plain table"),
        (
            "ALTER TABLE releases RENAME TO kept; CREATE VIEW releases AS SELECT * FROM kept",
            "releases is no plain table",
        ),
        ("CREATE RULE quiet AS ON INSERT TO audit_events DO INSTEAD NOTHING", "audit_events is no plain table"),
        ("DROP INDEX releases_one_promoted", "index releases_one_promoted is missing"),
    ],
)
def test_what_the_owner_weakens_is_named(postgres_url: str, statement: str, named: str):
    ledger = Ledger(postgres_url)
    promoted(ledger, 1)
    assert ledger.verify().ok
    run_sql(postgres_url, statement)
    found = ledger.verify()
    assert not found.ok and any(named in problem for problem in found.guards), found.guards
    assert ledger.weakness()


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
