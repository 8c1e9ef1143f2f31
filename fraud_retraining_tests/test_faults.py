"""What must survive what: real processes that die, real disks that fill up, and days that arrive in every bad shape.

The numbers are those of the invariants: I1 one champion whose artifact verifies; I2 a complete record of how it became
champion; I3 one version a fingerprint; I4 a ledger whose chain verifies; I6 running again ends in the same digests.

Every moment is tried on the embedded default; on a company's servers a retrain dies where its models, its runs and its
record are kept otherwise.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from fraud_retraining.adapters.mlflow.model_artifact import PREFIX
from fraud_retraining.adapters.mlflow.tags import ENDED_WHY
from fraud_retraining.domain.data.rule_results import Report
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.release import ReleaseState
from fraud_retraining.domain.training.fitting import ModelPolicy
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.resources import open_registry, open_store
from fraud_retraining.orchestration.runs.failed_runs import close_abandoned, fail_dead
from fraud_retraining.orchestration.runs.resource_definitions import open_outcomes
from fraud_retraining.settings import load_settings
from fraud_retraining.simulation import SimulationPolicy, Simulator
from fraud_retraining_tests.adapters.conftest import MisbehavingServer
from fraud_retraining_tests.support.command_line import champion, ledger, retrain, run
from fraud_retraining_tests.support.company_servers import CompanyServers
from fraud_retraining_tests.support.faults import run_killed, run_undisturbed, run_with
from fraud_retraining_tests.support.project_homes import AS_OF, DAYS, START, ProjectHome, use_home
from fraud_retraining_tests.support.registries import free_port, serving_at, store_in

pytest_plugins = ["fraud_retraining_tests.support.company_servers", "fraud_retraining_tests.support.databases"]

LATER = AS_OF + timedelta(days=2)
LENIENT = {"max_regression": 1.0, "max_unproven_regression": 1.0, "max_slice_regression": 1.0}


def model_of(version: int) -> bytes:
    return open_registry(load_settings()).download(version)[f"{PREFIX}model.ubj"]


def require_invariants(champions: int) -> None:
    """I1 to I4, after any fault."""
    records = ledger()
    assert records.verify().ok
    versions = open_registry(load_settings()).versions()
    releases = records.releases()
    assert len({version.fingerprint for version in versions}) == len(versions)
    assert {version.version for version in versions} >= {release.version for release in releases}
    promoted = records.releases(ReleaseState.PROMOTED)
    assert len(promoted) == champions
    serving = champion()
    assert (serving is None) == (champions == 0)
    for release in promoted:
        assert serving == (release.version, release.artifact_digest)
        require_complete_record(release.version, release.fingerprint)


def require_complete_record(version: int, fingerprint: str) -> None:
    """I2: trained, judged, decided, intended and done, in this order; judging and intending may be begun anew."""
    records = ledger()
    release = records.release_by_version(version)
    assert release is not None
    assert release.verdict_passed
    assert release.decided_by
    kinds = [event.kind for event in records.events(fingerprint=fingerprint)]
    wanted = ["model_trained", "model_evaluated", "version_registered", "promotion_intended", "promotion_done"]
    assert [kinds.index(kind) for kind in wanted] == sorted(kinds.index(kind) for kind in wanted)
    once = ("model_trained", "version_registered", "promotion_done")
    assert [kinds.count(kind) for kind in once] == [1, 1, 1]
    assert kinds.count("promotion_intended") == 1 + kinds.count("promotion_undone")


@pytest.fixture(scope="session")
def ingested(tmp_path_factory: pytest.TempPathFactory, small_lake: Path) -> Path:
    """A home that has ingested what a retrain as of `AS_OF` needs, and trained nothing."""
    project = ProjectHome(tmp_path_factory.mktemp("ingested"))
    shutil.copytree(small_lake, project.lake)
    project.configure(promotion={"mode": "auto"})
    with pytest.MonkeyPatch.context() as patch:
        use_home(project, patch)
        code, answer, _ = run("ingest", "--from", str(START), "--to", str(AS_OF))
    assert code == 0, answer
    return project.folder


@pytest.fixture
def ready(ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectHome:
    """A copy of that home."""
    shutil.copytree(ingested, tmp_path / "ready")
    project = ProjectHome(tmp_path / "ready")
    project.configure(promotion={"mode": "auto"})
    use_home(project, monkeypatch)
    return project


@pytest.fixture(params=["embedded", "servers"])
def ready_anywhere(request: pytest.FixtureRequest, ready: ProjectHome, monkeypatch: pytest.MonkeyPatch) -> ProjectHome:
    """That home; and with Dagster's storage and the ledger in PostgreSQL, and MLflow's server with users."""
    if request.param == "servers":
        servers: CompanyServers = request.getfixturevalue("company_servers")
        for name, value in servers.environment().items():
            monkeypatch.setenv(name, value)
        # Names of its own: other tests share MLflow's server.
        name = f"faults_{uuid4().hex[:8]}"
        ready.configure(promotion={"mode": "auto"}, model={"name": name}, mlflow={"experiment": name})
    return ready


@pytest.fixture(scope="session")
def undisturbed(promoted_home: ProjectHome) -> Iterator[tuple[str, bytes]]:
    """Fingerprint and booster of the same retrain when nothing goes wrong."""
    with pytest.MonkeyPatch.context() as patch:
        use_home(promoted_home, patch)
        yield ledger().releases()[0].fingerprint, model_of(1)


def require_same_model(answer: dict[str, Any], undisturbed: tuple[str, bytes]) -> None:
    """I6; the fingerprint pins the digest of every day, and the model's name."""
    fingerprint, model = undisturbed
    assert model_of(answer["model_version"]) == model
    assert answer["fingerprint"] == fingerprint or load_settings().model.name != ModelPolicy().name


@pytest.mark.slow
@pytest.mark.timeout(1200)
class TestKilled:
    @pytest.mark.parametrize(
        "moment",
        [
            "before the record of an ingested day",
            "after the record of an ingested day",
            "before the checks of a day",
            "before the record of entity days",
            "before the record of features",
        ],
    )
    def test_while_a_day_is_made(self, moment: str, project: ProjectHome, undisturbed: tuple[str, bytes]) -> None:
        project.configure(promotion={"mode": "auto"})
        run_killed(moment, "ingest", "--from", str(START), "--to", str(AS_OF))
        require_invariants(champions=0)
        code, answer, _ = retrain()
        assert (code, answer["status"]) == (0, "promoted")
        require_same_model(answer, undisturbed)

    @pytest.mark.parametrize(
        ("moment", "trained"),
        [
            ("in the fifth round of boosting", 0),
            ("before the upload is complete", 0),
            ("after the upload", 1),
            ("before the evaluation is recorded", 1),
            ("before registering", 1),
            ("after registering", 1),
            ("after the release is opened", 1),
        ],
    )
    def test_before_there_is_anything_to_promote(
        self, moment: str, trained: int, ready: ProjectHome, undisturbed: tuple[str, bytes]
    ) -> None:
        run_killed(moment, "retrain", "--as-of", str(AS_OF), "--json")
        require_invariants(champions=0)
        assert run("status")[0] == 0
        fingerprint, _ = undisturbed
        before = open_registry(load_settings()).find_run(fingerprint)
        assert (before is not None) == (trained == 1)

        code, answer, _ = retrain()
        assert (code, answer["status"], answer["model_version"]) == (0, "promoted", 1)
        require_invariants(champions=1)
        require_same_model(answer, undisturbed)
        assert before is None or before.run_id == answer["mlflow_run_id"], "an uploaded model is adopted"
        assert retrain()[1]["status"] == "already_trained"

    @pytest.mark.parametrize(
        ("moment", "serving"),
        [
            ("after the policy's approval", 1),
            ("after the intent", 1),
            ("after the alias", 2),
            ("after the outcome", 2),
        ],
    )
    def test_while_a_champion_is_replaced(self, moment: str, serving: int, home: ProjectHome) -> None:
        home.configure(promotion={"mode": "auto"}, gates=LENIENT)
        run_killed(moment, "retrain", "--as-of", str(LATER), "--json")
        now = champion()
        assert now is not None
        assert now[0] == serving, "served is the old one or the new one, never neither"
        assert ledger().verify().ok
        status = run("status")
        assert (status[0], status[1]["champion"]["version"]) == (0, serving)

        code, answer, _ = retrain(LATER)
        assert (code, answer["model_version"]) == (0, 2)
        assert answer["status"] in {"promoted", "already_trained"}
        require_invariants(champions=1)
        assert [release.version for release in ledger().releases(ReleaseState.PROMOTED)] == [2]

    @pytest.mark.parametrize("moment", ["after a reviewer's approval", "after the alias"])
    def test_while_a_reviewer_approves(self, moment: str, home: ProjectHome) -> None:
        home.configure(promotion={"mode": "manual"}, gates=LENIENT)
        assert retrain(LATER)[1]["status"] == "awaiting_approval"
        decision = ("approve", "2", "--by", "alice", "--reason", "better on the new fraud", "--json")
        run_killed(moment, *decision)
        assert ledger().verify().ok
        assert run(*decision[:-1])[0] in (0, 5)
        require_invariants(champions=1)
        release = ledger().release_by_version(2)
        assert release is not None
        assert (release.state, release.decided_by) == (ReleaseState.PROMOTED, "alice")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("ready_anywhere", "moments"),
    [
        ("embedded", ("after the upload", "after registering", "after the intent", "after the alias")),
        ("servers", ("after registering", "after the alias")),
    ],
    ids=["embedded", "servers"],
    indirect=["ready_anywhere"],
)
def test_a_second_death_on_the_way_back_changes_nothing(
    ready_anywhere: ProjectHome, moments: tuple[str, ...], undisturbed: tuple[str, bytes]
) -> None:
    for moment in moments:
        run_killed(moment, "retrain", "--as-of", str(AS_OF), "--json")
        assert ledger().verify().ok
    code, answer, _ = retrain()
    assert code == 0
    require_invariants(champions=1)
    require_same_model(answer, undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_a_killed_retrain_left_open_in_mlflow_is_ended_and_its_model_adopted(ready_anywhere: ProjectHome) -> None:
    run_killed("after the upload", "retrain", "--as-of", str(AS_OF), "--json")
    settings = load_settings()
    registry, instance = open_registry(settings), open_instance()
    (left,) = registry.open_runs()
    assert "was failed" in fail_dead(instance, open_outcomes(settings))
    assert close_abandoned(instance, registry) == f"ended in MLflow: {left.run_id[:8]}"
    instance.dispose()
    assert registry.open_runs() == []
    (ended,) = registry.runs()
    assert "ended as FAILURE" in ended.tags[ENDED_WHY]
    code, answer, _ = retrain()
    assert (code, answer["status"], answer["mlflow_run_id"]) == (0, "promoted", left.run_id)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("moment", ["before the record of features", "in the fifth round of boosting"])
def test_memory_that_runs_out_is_a_typed_failure_and_the_next_run_works(
    moment: str, project: ProjectHome, undisturbed: tuple[str, bytes]
) -> None:
    project.configure(promotion={"mode": "auto"})
    ended = run_with("exhaust memory", moment, "retrain", "--as-of", str(AS_OF), "--json")
    answer = json.loads(ended.stdout)
    assert (ended.returncode, answer["error"]["message"]) == (7, "there is not enough memory"), ended.stderr[-3000:]
    failed = ledger().last(EventKind.RETRAIN_FAILED, as_of=AS_OF)
    assert failed is not None
    assert champion() is None
    code, answer, _ = retrain()
    assert code == 0
    require_invariants(champions=1)
    require_same_model(answer, undisturbed)


def test_an_engine_with_too_little_memory_names_its_knob(project: ProjectHome) -> None:
    project.configure(engine={"memory_limit": "1MB"})
    code, answer, _ = run("ingest", "--from", str(START), "--to", str(START))
    assert code == 7
    assert "engine.memory_limit" in answer["error"]["remedy"]
    project.configure()
    assert run("ingest", "--from", str(START), "--to", str(START))[0] == 0


@pytest.fixture
def small_disk(tmp_path: Path, small_lake: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProjectHome]:
    """A project on a disk of 64 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    project = ProjectHome(disk)
    shutil.copytree(small_lake, project.lake)
    project.configure(promotion={"mode": "auto"}, gates=LENIENT)
    use_home(project, monkeypatch)
    yield project
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, left: int) -> Path:
    """A file that leaves so many bytes free."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - left)))
    return ballast


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_disk_that_fills_up_publishes_nothing_and_the_next_run_works(small_disk: ProjectHome) -> None:
    assert run_undisturbed("retrain", "--as-of", str(AS_OF))[1]["status"] == "promoted"
    before = champion()
    for left in (0, 200_000, 1_000_000):
        ballast = fill(small_disk.folder, left)
        code, answer = run_undisturbed("retrain", "--as-of", str(LATER))
        ballast.unlink()
        assert code == 7, answer
        assert champion() == before
        assert ledger().verify().ok
    code, answer = run_undisturbed("retrain", "--as-of", str(LATER))
    assert (code, answer["status"]) == (0, "promoted"), answer
    require_invariants(champions=1)


class TestDays:
    """Days in every bad shape; what the others become of it."""

    days = tuple(START + timedelta(days=n) for n in range(5))

    def ingest(self) -> tuple[int, dict[str, Any], str]:
        return run("ingest", "--from", str(self.days[0]), "--to", str(self.days[-1]))

    def stored(self) -> dict[date, int]:
        found = open_store(load_settings()).partitions("transactions", self.days)
        return {day: partition.facts["rows"] for day, partition in found.items()}

    def test_a_corrupt_day_is_refused_by_name_and_the_others_stand(self, project: ProjectHome) -> None:
        file = project.day_file(self.days[2])
        file.write_bytes(file.read_bytes()[:-200])
        code, answer, _ = self.ingest()
        assert code == 3
        assert file.name in str(answer)
        assert str(self.days[2]) in str(answer)
        assert set(self.stored()) == {*self.days} - {self.days[2]}

    def test_the_same_file_twice_and_the_same_ids_twice_count_once(self, project: ProjectHome) -> None:
        once = {day: project.read_day(day).num_rows for day in self.days}
        shutil.copy(project.day_file(self.days[1]), project.day_file(self.days[1]).with_name("again.parquet"))
        table = project.read_day(self.days[2])
        project.write_day(self.days[2], pa.concat_tables([table, table.slice(0, 100)]))
        code, answer, _ = self.ingest()
        assert (code, answer["rows"]) == (0, sum(once.values())), answer
        assert self.stored() == once

    def test_a_column_that_is_added_is_ignored_with_a_warning_and_one_that_goes_is_refused(
        self, project: ProjectHome
    ) -> None:
        table = project.read_day(self.days[2])
        project.write_day(self.days[2], table.append_column("TX_DEVICE", pa.array(["phone"] * table.num_rows)))
        project.write_day(self.days[4], project.read_day(self.days[4]).drop_columns(["TX_AMOUNT"]))
        code, answer, _ = self.ingest()
        assert code == 3
        assert "TX_AMOUNT" in str(answer)
        assert set(self.stored()) == {*self.days} - {self.days[4]}
        store = open_store(load_settings())
        reports = {day: Report.model_validate(store.annotation("transactions", day, "checks")) for day in self.days[:4]}
        warned = {day: result for day, report in reports.items() for result in report.results if not result.passed}
        assert list(warned) == [self.days[2]]
        assert (warned[self.days[2]].name, warned[self.days[2]].severity) == ("new_columns", "warn")
        assert "TX_DEVICE" in warned[self.days[2]].message


class TestLabels:
    """Labels that are corrected later, in a lake that says when a label became known."""

    used = AS_OF - timedelta(days=6)

    def label(self, project: ProjectHome, day: date, late: int, known_on: date | None = None) -> None:
        """Every label of the day is known after two days; `late` of the others turn to fraud on `known_on`."""
        table = project.read_day(day)
        table = table.select([name for name in table.column_names if name != "LABELLED_AT"])
        labels = table["TX_FRAUD"].to_pylist()
        known = [datetime.combine(day + timedelta(days=2), time(12))] * len(labels)
        for row in [n for n, fraud in enumerate(labels) if not fraud][:late]:
            labels[row], known[row] = 1, datetime.combine(known_on or day, time(12))
        position = table.schema.get_field_index("TX_FRAUD")
        turned = table.set_column(position, "TX_FRAUD", pa.array(labels, pa.int8()))
        project.write_day(day, turned.append_column("LABELLED_AT", pa.array(known, pa.timestamp("us"))))

    @pytest.mark.slow
    def test_the_cut_off_stands_and_a_later_retrain_uses_what_is_known_by_then(self, project: ProjectHome) -> None:
        project.configure(columns={"labelled_at": "LABELLED_AT"}, promotion={"mode": "auto"}, gates=LENIENT)
        for n in range(DAYS):
            self.label(project, START + timedelta(days=n), late=0)
        first = retrain()[1]
        frauds = frauds_of(first, self.used)

        self.label(project, self.used, late=25, known_on=AS_OF + timedelta(days=1))
        again = retrain()[1]
        assert again["as_of"] == first["as_of"]
        assert frauds_of(again, self.used) == frauds, "what was not known by the as-of day does not exist for it"
        assert again["window"]["rows"] == first["window"]["rows"] - 25

        later = retrain(AS_OF + timedelta(days=1))[1]
        assert frauds_of(later, self.used) == frauds + 25


def frauds_of(answer: dict[str, Any], day: date) -> int:
    """Frauds of a training day in the manifest that the ledger keeps of a retrain."""
    built = ledger().last(EventKind.WINDOW_BUILT, as_of=date.fromisoformat(answer["as_of"]))
    assert built is not None
    return next(one["frauds"] for one in built.payload["training"] if one["day"] == str(day))


@pytest.mark.slow
@pytest.mark.parametrize("failure", ["answers 503", "answers 500", "hangs", "crawls"])
def test_s3_that_fails_is_reported_in_bounded_time(
    home: ProjectHome, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    before = champion()
    server = MisbehavingServer()
    server.behaviour = {
        "answers 503": server.status(503),
        "answers 500": server.status(500),
        "hangs": server.hang(),
        "crawls": server.crawl(100_000),
    }[failure]
    transfer = {"connect_seconds": 1, "read_seconds": 1, "deadline_seconds": 8}
    s3 = {"endpoint": server.endpoint, "region": "us-east-1", "max_attempts": 2, "transfer": transfer}
    home.configure(promotion={"mode": "auto"}, lake={"uri": "s3://payments/lake", "s3": s3})
    began = monotonic()
    code, answer, _ = retrain()
    assert monotonic() - began < 120
    server.close()
    assert code == 7
    assert "s3://payments/lake" in str(answer["error"])
    assert server.requests, answer["error"]
    home.configure(promotion={"mode": "auto"})
    assert champion() == before


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("moment", ["before the evaluation is recorded", "before registering", "after registering"])
def test_an_mlflow_that_dies_around_registration_is_an_outage_and_the_re_run_registers_once(
    moment: str, ready: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("FRAUD_RETRAINING_MLFLOW__TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("FRAUD_RETRAINING_MLFLOW__TIMEOUT_SECONDS", "5")
    server = (port, store_in(tmp_path), tmp_path / "served", tmp_path / "mlflow.log")
    with serving_at(*server) as process:
        monkeypatch.setenv("FAULTS_SERVER", str(process.pid))
        ended = run_with("stop server", moment, "retrain", "--as-of", str(AS_OF), "--json")
    assert ended.returncode == 7, ended.stdout + ended.stderr[-3000:]
    assert f"127.0.0.1:{port}" in str(json.loads(ended.stdout)["error"])
    assert ledger().verify().ok
    assert ledger().champion() is None
    with serving_at(*server):
        code, answer, _ = retrain()
        assert (code, answer["status"], answer["model_version"]) == (0, "promoted", 1)
        assert len(open_registry(load_settings()).versions()) == 1
        require_invariants(champions=1)
        assert retrain()[1]["status"] == "already_trained"
    kinds = [event.kind for event in ledger().events()]
    assert (kinds.count("model_trained"), kinds.count("version_registered")) == (1, 1)


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestCalendar:
    """The machine's time zone and the nights in which its clocks are changed mean nothing: a day is a day in UTC."""

    nights = {
        "leap day": (date(2024, 2, 28), 3),
        "clocks go forward": (date(2024, 3, 30), 3),
        "clocks go back": (date(2024, 11, 2), 3),
    }

    @pytest.mark.parametrize("night", nights)
    def test_no_day_is_missing_none_is_there_twice_and_no_row_changes_its_day(
        self, night: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, count = self.nights[night]
        tables = dict(Simulator(SimulationPolicy(start=first, days=count, transactions_per_day=2000, fraud_rate=0.02)))
        found = {}
        for zone in ("UTC", "America/New_York", "Pacific/Kiritimati"):
            project = ProjectHome(tmp_path / zone)
            for day, table in tables.items():
                project.write_day(day, table)
            project.configure()
            use_home(project, monkeypatch)
            monkeypatch.setenv("TZ", zone)
            code, answer = run_undisturbed(
                "ingest", "--from", str(first), "--to", str(first + timedelta(days=count - 1))
            )
            assert code == 0, answer
            store = open_store(load_settings())
            found[zone] = [
                (asset, day, made.digest, made.facts["rows"])
                for asset in ("transactions", "transaction_features")
                for day, made in store.partitions(asset, list(tables)).items()
            ]
        assert [(day, rows) for _, day, _, rows in found["UTC"][:count]] == [(day, len(t)) for day, t in tables.items()]
        assert found["UTC"] == found["America/New_York"] == found["Pacific/Kiritimati"]
