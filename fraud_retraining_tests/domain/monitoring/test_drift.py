"""The measures agree with scipy, a day is compared with the days of its reference among each other; reports say so."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.monitoring.bins import Bins
from fraud_retraining.domain.monitoring.drift import (
    FALSE_DAYS,
    FLOOR,
    FRAUD_RATE,
    SCORES,
    DriftPolicy,
    DriftReport,
    FeatureDrift,
    FeatureProfile,
    FeatureRole,
    FraudDay,
    HeavyKeys,
    ReferenceProfile,
    excused,
    feature_drift,
    fraud_rate_drift,
    heavy_keys,
    jensen_shannon_distance,
    left_out_reasons,
    population_stability_index,
    reference_days,
    without_heavy,
)
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.schemas import EntityPolicy

START = date(2026, 1, 1)
PLAN = FeaturePlan(
    entities={
        "customer": EntityPolicy(column="C", windows_days=(1, 7)),
        "terminal": EntityPolicy(column="T", windows_days=(1, 7), fraud_share=True),
    },
    numeric=("distance",),
    categorical=("channel",),
    label_delay_days=5,
)


def day(number: int) -> date:
    return START + timedelta(days=number)


@st.composite
def two_counts(draw: st.DrawFn, fewest: int = 0) -> tuple[list[int], list[int]]:
    size = draw(st.integers(2, 15))
    counts = st.lists(st.integers(fewest, 10**6), min_size=size, max_size=size).filter(any)
    return draw(counts), draw(counts)


class TestMeasures:
    @given(counts=two_counts())
    def test_the_index_is_scipys_relative_entropy_in_both_directions(self, counts: tuple[list[int], list[int]]) -> None:
        p, q = (np.maximum(np.array(c) / sum(c), FLOOR) for c in counts)
        found = population_stability_index(*counts)
        assert found == pytest.approx(entropy(p, q) + entropy(q, p), rel=1e-9, abs=1e-12)

    @given(counts=two_counts())
    def test_the_distance_is_scipys(self, counts: tuple[list[int], list[int]]) -> None:
        assert jensen_shannon_distance(*counts) == pytest.approx(jensenshannon(*counts, base=2), abs=2e-8)

    @given(counts=two_counts())
    def test_both_are_symmetric_and_at_least_nought(self, counts: tuple[list[int], list[int]]) -> None:
        a, b = counts
        for measure in (population_stability_index, jensen_shannon_distance):
            assert measure(a, b) == pytest.approx(measure(b, a), abs=1e-9)
            assert measure(a, b) >= 0
        assert jensen_shannon_distance(a, b) <= 1

    @given(counts=two_counts(), times=st.integers(1, 1000))
    def test_shares_alone_count(self, counts: tuple[list[int], list[int]], times: int) -> None:
        a, b = counts
        many = [rows * times for rows in b]
        for measure in (population_stability_index, jensen_shannon_distance):
            assert measure(a, many) == pytest.approx(measure(a, b), abs=1e-9)
            assert measure(b, many) == pytest.approx(0, abs=1e-7)

    @given(counts=two_counts(fewest=30_000))
    def test_they_agree_on_small_changes_up_to_a_constant(self, counts: tuple[list[int], list[int]]) -> None:
        """Both are second-order equal to a chi-square distance: the index is 8 ln 2 squared distances."""
        a, b = (np.array(c, float) + 1 for c in counts)
        near = 0.999 * a / a.sum() + 0.001 * b / b.sum()
        rounded = [round(share * 1e12) for share in near], [round(share * 1e12) for share in a / a.sum()]
        index, distance = population_stability_index(*rounded), jensen_shannon_distance(*rounded)
        assert min(a / a.sum()) > 10 * FLOOR
        assume(index > 1e-9)
        assert index == pytest.approx(8 * np.log(2) * distance**2, rel=0.02)

    def test_samples_without_overlap_are_farthest_apart(self) -> None:
        assert jensen_shannon_distance([5, 0], [0, 9]) == 1
        assert population_stability_index([5, 0], [0, 9]) == pytest.approx(
            2 * (1 - 2 * FLOOR) * np.log(1 / FLOOR), rel=0.01
        )

    def test_published_bins_give_the_textbook_index(self) -> None:
        expected = 0.1 * np.log(0.6 / 0.5) + 0.1 * np.log(0.5 / 0.4)
        assert population_stability_index([50, 50], [60, 40]) == pytest.approx(expected)

    @pytest.mark.parametrize("measure", [population_stability_index, jensen_shannon_distance])
    def test_nothing_has_no_distance(self, measure: Any) -> None:
        with pytest.raises(ValueError, match="without a row"):
            measure([0, 0], [1, 2])


BINS = Bins(name="amount", edges=(0.0, 10.0, 20.0))
CALM = [(0, 500 + noise, 500 - noise, 0, 0) for noise in (3, -7, 12, 0, -5, 9, -11, 4)]


class TestOneFeature:
    def test_a_day_like_the_others_does_not_drift(self) -> None:
        profile = FeatureProfile.of(BINS, CALM)
        found = feature_drift(profile, (0, 505, 495, 0, 0), FeatureRole("transaction"), statistic="psi")
        assert found.drift == 0
        assert profile.counts == (0, 4005, 3995, 0, 0)
        assert profile.days == 8

    def test_a_day_unlike_them_drifts_by_what_goes_beyond_their_usual_distance(self) -> None:
        profile = FeatureProfile.of(BINS, CALM)
        found = feature_drift(profile, (0, 900, 100, 0, 0), FeatureRole("transaction"), statistic="psi")
        assert found.psi > 0.5
        assert found.drift == pytest.approx(found.psi - profile.usual_of("psi", 1))

    def test_a_weekend_that_the_reference_knows_is_no_drift(self) -> None:
        week = [*[(0, 700, 300, 0, 0)] * 5, *[(0, 200, 800, 0, 0)] * 2]
        profile = FeatureProfile.of(BINS, week * 4)
        saturday = feature_drift(profile, (0, 200, 800, 0, 0), FeatureRole("transaction"), statistic="psi")
        assert saturday.psi > 0.2
        assert saturday.drift < 0.01

    def test_one_odd_day_of_the_reference_does_not_hide_later_ones(self) -> None:
        profile = FeatureProfile.of(BINS, [*CALM * 3, (0, 100, 900, 0, 0)])
        found = feature_drift(profile, (0, 100, 900, 0, 0), FeatureRole("transaction"), statistic="psi")
        assert found.drift > 0.5

    def test_the_measure_of_the_policy_is_judged(self) -> None:
        profile = FeatureProfile.of(BINS, CALM)
        found = feature_drift(profile, (0, 900, 100, 0, 0), FeatureRole("transaction"), statistic="jensen_shannon")
        assert found.drift == pytest.approx(found.jensen_shannon - profile.usual_of("jensen_shannon", 1))

    def test_missing_and_new_values_are_shares_of_the_day(self) -> None:
        found = feature_drift(FeatureProfile.of(BINS, CALM), (10, 400, 400, 40, 150), FeatureRole("g"), statistic="psi")
        assert (found.missing, found.new) == (0.15, 0.05)
        words = FeatureProfile.of(Bins(name="channel", categories=("chip",)), [(90, 5, 5), (95, 0, 5)])
        found = feature_drift(words, (60, 30, 10), FeatureRole("g"), statistic="psi", newcomers=[("wallet", 30)])
        assert (found.missing, found.new, found.newcomers) == (0.1, 0.3, (("wallet", 30),))
        assert found.drift > 0.2

    def test_the_more_features_are_looked_at_the_more_is_usual(self) -> None:
        profile = FeatureProfile.of(BINS, CALM)
        usual = [profile.usual_of("psi", features) for features in (1, 10, 200)]
        assert usual == sorted(usual)
        assert usual[0] == pytest.approx(1.3 * profile.usual["psi"], rel=0.01)
        assert usual[2] == pytest.approx(3.6 * profile.usual["psi"], rel=0.01)

    def test_the_greatest_of_many_calm_features_is_usual_on_nearly_every_day(self) -> None:
        random = np.random.default_rng(3)
        features, days = 150, 60
        drawn = random.multinomial(800, np.full(10, 0.1), (features, 30 + days))
        exceeded = np.zeros(days, bool)
        for counts in drawn:
            profile = FeatureProfile.of(Bins(name="n", edges=tuple(range(9))), [tuple(day) for day in counts[:30]])
            distances = np.array([population_stability_index(profile.counts, day) for day in counts[30:]])
            exceeded |= distances > profile.usual_of("psi", features)
        assert exceeded.mean() <= 2 * FALSE_DAYS

    def test_a_single_reference_day_has_nothing_usual(self) -> None:
        assert FeatureProfile.of(BINS, CALM[:1]).usual == {"psi": 0, "jensen_shannon": 0}

    def test_other_bins_are_refused(self) -> None:
        with pytest.raises(ValueError, match="5 bins"):
            feature_drift(FeatureProfile.of(BINS, CALM), (1, 2), FeatureRole("g"), statistic="psi")


def one_report(*features: tuple[str, float, float], min_importance: float = 0.05, **more: Any) -> DriftReport:
    """A report of features given as name, drift and importance."""
    found = tuple(
        FeatureDrift(
            name=name,
            group=SCORES if name == "score" else "transaction",
            psi=drift,
            jensen_shannon=0,
            usual=0,
            drift=drift,
            importance=importance,
            missing=0,
            new=0,
            counts=(1,),
        )
        for name, drift, importance in features
    )
    given: dict[str, Any] = {"groups": ("transaction", SCORES), "scores": "", "fraud_rate": None, "no_fraud_rate": ""}
    return DriftReport(
        day=day(0),
        version=1,
        fingerprint="f",
        statistic="psi",
        threshold=0.2,
        rows=10,
        features=found,
        left_out={},
        min_importance=min_importance,
        **{**given, **more},
    )


class TestWhatCounts:
    @pytest.mark.parametrize(
        ("features", "value", "why"),
        [
            ((("amount", 0.4, 0.3), ("night", 0.1, 0.7)), 0.4, "an important feature counts by itself"),
            ((("junk", 6.0, 0.01), ("amount", 0.03, 0.9)), 0.03, "a feature that is hardly used does not"),
            (
                (("a", 6.0, 0.02), ("b", 0.5, 0.02), ("c", 0.4, 0.02), ("d", 0, 0.9)),
                0.4,
                "many little ones do together",
            ),
            ((("junk", 6.0, 0.01), ("score", 0.3, 1.0), ("amount", 0, 0.9)), 0.3, "the score counts as it is"),
            ((("junk", 6.0, 0.01),), 0.0, "what is judged is not enough of the model"),
            ((), 0.0, "nothing is judged"),
        ],
    )
    def test_drift_counts_where_it_holds_enough_of_the_model(
        self, features: tuple[tuple[str, float, float], ...], value: float, why: str
    ) -> None:
        drift_report = one_report(*features)
        assert drift_report.value == pytest.approx(value), why
        assert drift_report.drift_day.value == drift_report.value
        assert bool(drift_report.drift_day.worst) is (value > 0.2), why
        assert drift_report.counts("transaction") is (value > 0.2), why

    def test_where_no_importance_is_known_the_greatest_counts(self) -> None:
        assert one_report(("a", 0.3, 1.0), ("b", 0.1, 1.0), min_importance=0).value == 0.3

    def test_the_reason_of_a_retrain_names_the_most_important_first(self) -> None:
        drift_report = one_report(("junk", 6.0, 0.01), ("amount", 0.4, 0.3))
        assert drift_report.over() == ("junk", "amount")
        assert drift_report.drift_day.worst == ("amount", "junk")


class TestHeavyKeys:
    KEYS = (("a", 40), ("b", 400), (7, 9), ("c", 300))

    def test_heavy_keys_are_left_out_as_long_as_they_are_not_most_of_the_day(self) -> None:
        found = heavy_keys("terminal", self.KEYS, 1000)
        assert found is not None
        assert (found.keys, found.rows) == (("b",), 400)
        assert heavy_keys("terminal", [("a", 10)], 1000) is None
        assert heavy_keys("country", [("all", 1000)], 1000) is None, "an entity of one key is never left out whole"

    @pytest.mark.parametrize(
        ("rest", "drifts", "why"),
        [
            ((0, 470, 470, 0, 0), False, "the others are as ever: only the heavy key moved"),
            ((0, 100, 100, 740, 0), True, "the others moved too"),
        ],
    )
    def test_what_a_heavy_key_did_alone_is_no_drift(self, rest: tuple[int, ...], drifts: bool, why: str) -> None:
        profile = FeatureProfile.of(BINS, CALM)
        day_with_key = (*rest[:3], rest[3] + 60, 0)
        full = feature_drift(profile, day_with_key, FeatureRole("terminal"), statistic="psi")
        assert full.drift > 0.2
        heavy = HeavyKeys("terminal", (3,), 60)
        found = excused(full, heavy, without_heavy(profile, full, rest, "psi"))
        assert (found.drift > 0.2) is drifts, why
        assert found.counts == day_with_key and found.psi == full.psi, "what was measured stays"
        if not drifts:
            assert found.heavy == f"terminal 3: 6.0% of the rows; {full.drift:.3f} with them"


class TestReferenceDays:
    TRAINING = [day(n) for n in range(20, 30)]

    def test_an_old_lake_gives_every_day_to_every_feature(self) -> None:
        found = reference_days(PLAN, DriftPolicy(), self.TRAINING, day(0))
        assert set(found.left_out) == {"hour", "weekend", "night"}
        assert set(found.days) == set(PLAN.names) - set(found.left_out)
        assert set(found.days.values()) == {tuple(self.TRAINING)}

    @pytest.mark.parametrize(
        ("feature", "horizon"),
        [
            ("amount", 0),
            ("distance", 0),
            ("channel", 0),
            ("customer_count_1d", 1),
            ("customer_count_7d", 7),
            ("customer_seconds_since_previous", 7),
            ("terminal_fraud_share_1d", 6),
            ("terminal_labelled_count_7d", 12),
            ("terminal_days_since_last_fraud", 12),
        ],
    )
    def test_a_young_lake_gives_only_days_with_a_full_look_back(self, feature: str, horizon: int) -> None:
        first = day(18)
        found = reference_days(PLAN, DriftPolicy(min_reference_days=2), self.TRAINING, first)
        days = tuple(d for d in self.TRAINING if d - timedelta(days=horizon) >= first)
        if len(days) < 2:
            assert feature not in found.days
            assert f"looks back {horizon} days" in found.left_out[feature]
        else:
            assert found.days[feature] == days

    def test_too_few_full_days_are_no_reference(self) -> None:
        found = reference_days(PLAN, DriftPolicy(min_reference_days=5), self.TRAINING, day(19))
        assert found.left_out["customer_count_7d"].startswith("looks back 7 days, and only 4 training days")

    def test_the_policy_says_what_is_left_out_and_why(self) -> None:
        policy = DriftPolicy(left_out={"amount": "inflation", "not_a_feature": "gone"})
        found = reference_days(PLAN, policy, self.TRAINING, day(0))
        assert found.left_out == {"amount": "inflation"}
        assert "hour" in found.days

    def test_every_feature_has_a_horizon_and_a_topic(self) -> None:
        odd = PLAN.model_copy(
            update={"entities": {"card": EntityPolicy(column="K", windows_days=(31, 3, 1), fraud_share=True)}}
        )
        assert set(odd.horizons) == set(odd.topics) == set(odd.names)
        assert {odd.horizons[f"card_max_ratio_{n}d"] for n in (1, 3, 31)} == {1, 3, 31}
        assert odd.horizons["card_fraud_share_31d"] == 36
        assert odd.topics["card_fraud_share_31d"] == "card_labels"


class TestPolicy:
    def test_features_are_grouped_by_what_they_are_about(self) -> None:
        grouped = DriftPolicy().grouped(PLAN)
        assert grouped["amount"] == grouped["channel"] == "transaction"
        assert grouped["customer_count_7d"] == "customer"
        assert grouped["terminal_seconds_since_previous"] == "terminal"
        assert grouped["terminal_fraud_share_7d"] == "terminal_labels"

    def test_groups_of_ones_own_come_first_and_scores_and_fraud_rate_last(self) -> None:
        policy = DriftPolicy(groups={"place": ("distance",)})
        assert policy.grouped(PLAN)["distance"] == "place"
        groups = policy.group_names(PLAN)
        assert set(groups) == {"transaction", "place", "customer", "terminal", "terminal_labels", SCORES, FRAUD_RATE}
        assert groups[-2:] == (SCORES, FRAUD_RATE)

    def test_features_that_do_not_exist_are_named(self) -> None:
        policy = DriftPolicy(left_out={"hour": "x", "colour": "x"}, groups={"a": ("shape",)})
        assert policy.unknown(PLAN) == ["colour", "shape"]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"groups": {"a": ("amount",), "b": ("amount",)}},
            {"groups": {"scores": ("amount",)}},
            {"groups": {"no good": ("amount",)}},
            {"bins": 1},
            {"statistic": "kolmogorov"},
            {"max_fraud_rate_factor": 1},
            {"nonsense": 1},
        ],
    )
    def test_what_cannot_be_obeyed_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            DriftPolicy(**wrong)


def fraud_days(rate: float, rows: int = 10_000, days: int = 30) -> list[FraudDay]:
    noise = np.random.default_rng(1).normal(0, 0.05, days)
    return [FraudDay(day=day(n), rows=rows, frauds=round(rows * rate * (1 + noise[n]))) for n in range(days)]


class TestFraudRate:
    @pytest.mark.parametrize(
        ("frauds", "over", "why"),
        [
            (80, False, "the same rate"),
            (100, False, "a quarter more is a day like others"),
            (200, True, "two and a half times as many"),
            (25, True, "a third"),
            (0, True, "none at all among so many"),
        ],
    )
    def test_it_drifts_by_what_goes_beyond_its_noise(self, frauds: int, over: bool, why: str) -> None:
        found = fraud_rate_drift(
            fraud_days(0.008), FraudDay(day=day(40), rows=10_000, frauds=frauds), factor=1.5, threshold=0.2
        )
        assert found is not None
        assert (found.drift > 0.2) is over, why

    def test_few_rows_are_allowed_more(self) -> None:
        def drift(rows: int) -> float:
            found = fraud_rate_drift(
                fraud_days(0.01), FraudDay(day=day(40), rows=rows, frauds=rows * 3 // 100), factor=1.5, threshold=0.2
            )
            assert found is not None
            return found.drift

        assert drift(100) == 0
        assert drift(100_000) > drift(1_000) > 0

    @pytest.mark.parametrize(
        ("reference", "rows"), [(fraud_days(0.0), 100), ([], 100), (fraud_days(0.01), 0)], ids=["none", "empty", "day"]
    )
    def test_without_labels_or_frauds_nothing_is_said(self, reference: list[FraudDay], rows: int) -> None:
        assert fraud_rate_drift(reference, FraudDay(day=day(1), rows=rows, frauds=0), factor=2, threshold=0.2) is None


def feature(name: str, group: str, drift: float) -> FeatureDrift:
    return FeatureDrift(
        name=name, group=group, psi=drift, jensen_shannon=0, usual=0, drift=drift, missing=0, new=0, counts=(1,)
    )


def report(*features: FeatureDrift, rate: float | None = None) -> DriftReport:
    labels = FraudDay(day=day(33), rows=1000, frauds=20)
    found = fraud_rate_drift(fraud_days(0.008), labels, factor=1.5, threshold=0.2)
    assert found is not None
    return DriftReport(
        day=day(40),
        version=3,
        fingerprint="f" * 64,
        statistic="psi",
        threshold=0.2,
        rows=1000,
        features=features,
        left_out={"hour": "follows the calendar"},
        groups=("transaction", "customer", SCORES, FRAUD_RATE),
        scores="scored by another version",
        fraud_rate=found.model_copy(update={"drift": rate}) if rate is not None else None,
        no_fraud_rate="" if rate is not None else "not mature",
    )


class TestReport:
    def test_it_tells_a_trigger_the_greatest_drift_and_what_is_over_the_threshold(self) -> None:
        drift_report = report(
            feature("a", "transaction", 0.1), feature("b", "customer", 0.5), feature("c", "customer", 0.3)
        )
        assert drift_report.drift_day.model_dump() == {"day": day(40), "value": 0.5, "worst": ("b", "c")}
        assert drift_report.over("transaction") == ()
        assert drift_report.maximum("customer") == 0.5
        assert drift_report.maximum(SCORES) is None

    def test_the_fraud_rate_counts_like_a_feature(self) -> None:
        drift_report = report(feature("a", "transaction", 0.1), rate=0.4)
        assert (drift_report.value, drift_report.over()) == (0.4, (FRAUD_RATE,))

    def test_exactly_the_threshold_is_not_over_it(self) -> None:
        assert report(feature("a", "transaction", 0.2)).over() == ()

    def test_a_day_of_which_nothing_can_be_judged_does_not_drift(self) -> None:
        assert report().drift_day.model_dump() == {"day": day(40), "value": 0.0, "worst": ()}

    def test_what_is_not_judged_is_named_with_the_reason(self) -> None:
        assert left_out_reasons(report()) == {
            "hour": "follows the calendar",
            "score": "scored by another version",
            "fraud_rate": "not mature",
        }

    def test_it_survives_being_written_and_read(self) -> None:
        drift_report = report(feature("a", "transaction", 0.1), rate=0.4)
        assert DriftReport.model_validate(drift_report.model_dump(mode="json")) == drift_report


class TestProfilesOfEarlierVersions:
    """They counted a missing number as a great one, so they say nothing about a day that misses numbers."""

    @pytest.mark.parametrize(
        ("bins", "counts", "counted", "miscounts"),
        [
            (Bins(name="x", edges=(1.0, 2.0)), (0, 5, 0, 3), False, True),
            (Bins(name="x", edges=(1.0, 2.0)), (0, 5, 0, 0), False, False),
            (Bins(name="x", edges=(1.0, 2.0)), (0, 5, 0, 3), True, False),
            (Bins(name="x", categories=("a",)), (5, 0, 3), False, False),
        ],
        ids=["missing numbers", "none missing", "a newer profile", "a category"],
    )
    def test_a_number_that_is_missing_is_not_judged(
        self, bins: Bins, counts: tuple[int, ...], counted: bool, miscounts: bool
    ) -> None:
        feature = FeatureProfile.of(bins, [counts, counts])
        profile = ReferenceProfile(
            fingerprint="f",
            as_of=day(20),
            training=DayRange(start=day(0), end=day(1)),
            features=(feature,),
            left_out={},
            fraud_days=(),
            missing_counted=counted,
        )
        assert profile.miscounts(feature, counts) is miscounts
