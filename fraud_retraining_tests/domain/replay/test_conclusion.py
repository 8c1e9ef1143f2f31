"""The sentence of a replay, and what it cannot know."""

from fraud_retraining.domain.labels.policy import LabelPolicy
from fraud_retraining.domain.replay.conclusion import best, conclusion, limits, trainer_limit
from fraud_retraining_tests.support.replay_results import result_of


def test_the_best_policy_is_named_against_the_present_settings() -> None:
    policies = [
        result_of("present settings", [0.5] * 30),
        result_of("never retrain", [0.3] * 30),
        result_of("every 2 days", [0.58] * 30),
    ]
    assert conclusion(policies, 100, 0.95) == (
        "every 2 days instead of present settings: +.08 average precision, an amount of 243 a month at 100 alerts a "
        "day, for 1.0 hours of compute."
    )


def test_present_settings_that_are_best_are_compared_with_no_retrain() -> None:
    policies = [result_of("present settings", [0.5] * 30), result_of("never retrain", [0.3] * 30)]
    assert conclusion(policies, 50, 0.95).startswith(
        "present settings instead of never retrain: +.20 average precision"
    )


def test_a_difference_that_chance_could_explain_is_reported_as_such() -> None:
    noisy = [0.5, 0.9, 0.1, 0.6, 0.2, 0.8, 0.5, 0.3] * 3
    policies = [
        result_of("present settings", noisy),
        result_of("never retrain", [0.1] * 24),
        result_of("other", [*noisy[5:], *noisy[:4], 0.9]),
    ]
    assert conclusion(policies, 100, 0.95).endswith("chance could explain the difference.")


def test_without_a_fraud_nothing_is_said() -> None:
    policies = [result_of("present settings", [None]), result_of("never retrain", [None])]
    assert conclusion(policies, 100, 0.95).startswith("No served day has a fraud")


def test_of_equal_policies_the_one_with_less_compute_is_best() -> None:
    cheap = result_of("cheap", [0.5]).model_copy(update={"hours": 0.1})
    assert best([result_of("dear", [0.5]), cheap]) == cheap


def test_a_replay_says_that_it_waits_for_no_labels_of_a_feed() -> None:
    def known(labels: LabelPolicy) -> str:
        return limits(labels, labels, label_times=True, days=30)[0]

    feed = LabelPolicy(uri="s3://payments/labels", use="as_known")
    assert "no decision waits for the labels of its day" in known(feed)
    for other in (feed.model_copy(update={"wait_days": 0}), LabelPolicy(use="as_known")):
        assert "waits" not in known(other)


def test_a_replay_says_that_it_fits_here_where_retrains_do_not() -> None:
    assert trainer_limit("local") == ()
    assert "The replay fits them here" in trainer_limit("spark")[0]
