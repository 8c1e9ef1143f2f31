"""Who is told what.

Here: the policy of channels. Not here: sending (`adapters/notifier.py`).
"""

from pydantic import Field

from fraud_retraining.domain.schemas import Policy


class SlackChannels(Policy):
    """The channels by audience."""

    data: str = Field("#data-quality", pattern=r"^[#@CGU]\S+$", description="Data validation failures.")
    model: str = Field("#ml-alerts", pattern=r"^[#@CGU]\S+$", description="Gate failures and releases.")
    oncall: str = Field("#ml-oncall", pattern=r"^[#@CGU]\S+$", description="Anything that pages somebody.")


class SlackPolicy(Policy):
    """Where Slack messages go."""

    channels: SlackChannels = Field(SlackChannels(), description="Channel by audience.")
    api_url: str = Field(
        "https://slack.com/api/", pattern=r"^https?://\S+/$", description="Slack's API; another one for a proxy."
    )


class PagerDutyPolicy(Policy):
    """PagerDuty Events v2; the routing key comes from the environment only."""

    source: str = Field("fraud-retraining", min_length=1, description="The source that incidents name.")
    api_url: str = Field(
        "https://events.pagerduty.com", pattern=r"^https?://\S+$", description="Events API v2; another one for a proxy."
    )


class LinkPolicy(Policy):
    """Where the links in messages lead; null leaves a link out."""

    dagster: str | None = Field(None, pattern=r"^https?://\S+$", description="The Dagster UI.")
    mlflow: str | None = Field(None, pattern=r"^https?://\S+$", description="The MLflow UI.")
    releases: str | None = Field(None, pattern=r"^https?://\S+$", description="The page of releases.")
    runbook: str | None = Field(None, pattern=r"^https?://\S+$", description="The runbook; by default docs/runbook.md.")


class AlertPolicy(Policy):
    """Which ways of telling people are on; null turns one off."""

    slack: SlackPolicy | None = Field(SlackPolicy(), description="Slack, through dagster-slack.")
    pagerduty: PagerDutyPolicy | None = Field(None, description="PagerDuty.")
    links: LinkPolicy = Field(LinkPolicy(), description="Where the links in messages lead.")
