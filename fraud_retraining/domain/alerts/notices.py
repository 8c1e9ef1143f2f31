"""Notices, and the settings of alerts.

Here: what a notice says about a failure, and which success resolves it. Not here: its destinations
(`domain/alerts/routing.py`), its form there (one module each beside it), storing it (`adapters/alerts/outbox.py`) and
sending it (`services/delivery.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote

from pydantic import Field, StringConstraints

from fraud_retraining.domain.alerts.failures import Audience, Category, Failure, Severity
from fraud_retraining.domain.data.lake_layout import SetAside
from fraud_retraining.domain.evaluation.gates import GateResult
from fraud_retraining.domain.values.base import Policy, Value
from fraud_retraining.domain.values.digests import digest

Job = Literal["ingest", "monitor", "retrain", "clean", "decide"]
RUNBOOK = "docs/runbook.md"
LINES = 20
"""Lines of a list that a message shows."""


class SlackChannels(Policy):
    """The channels by audience."""

    data: str = Field("#data-quality", pattern=r"^[#@CGU]\S+$", description="Data validation failures.")
    model: str = Field("#ml-alerts", pattern=r"^[#@CGU]\S+$", description="Gate failures and releases.")
    oncall: str = Field("#ml-oncall", pattern=r"^[#@CGU]\S+$", description="Anything that pages a person.")


class SlackPolicy(Policy):
    """Slack, through its Web API."""

    channels: SlackChannels = Field(SlackChannels(), description="Channel by audience.")
    api_url: str = Field(
        "https://slack.com/api/", pattern=r"^https?://\S+/$", description="Slack's API; another one for a proxy."
    )


class PagerDutyPolicy(Policy):
    """PagerDuty Events v2; the routing key comes from the environment only."""

    source: str = Field("fraud-retraining", min_length=1, description="The source that incidents name.")
    api_url: str = Field(
        "https://events.pagerduty.com", pattern=r"^https://\S+$", description="Events API v2; another one for a region."
    )


Address = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,189}$", max_length=254)
]


class EmailChannels(Policy):
    """The addresses by audience."""

    data: tuple[Address, ...] = Field(min_length=1, description="Data validation failures.")
    model: tuple[Address, ...] = Field(min_length=1, description="Gate failures and releases.")
    oncall: tuple[Address, ...] = Field(min_length=1, description="Anything that pages a person.")


class EmailPolicy(Policy):
    """E-mail over SMTP within TLS; user and password come from the environment only."""

    host: str = Field(pattern=r"^[A-Za-z0-9.:_-]+$", description="The mail server.")
    port: int = Field(587, gt=0, lt=65536, description="Its port: 587 with starttls, 465 with tls, as a rule.")
    security: Literal["starttls", "tls"] = Field("starttls", description="TLS by STARTTLS, or from the first byte.")
    login: bool = Field(True, description="Whether the server asks for a user and a password.")
    sender: Address = Field(description="The address that mails come from.")
    channels: EmailChannels = Field(description="Addresses by audience.")
    timeout_seconds: float = Field(10, gt=0, le=10, description="Longest silence of the server.")


class WebhookPolicy(Policy):
    """A program that gets every notice over HTTP; the signing secret comes from the environment only."""

    url: str = Field(
        pattern=r"^https?://[A-Za-z0-9.:\[\]_-]+(?:[/?][!-\"$-~]*)?$", description="Where signed JSON is posted to."
    )
    timeout_seconds: float = Field(10, gt=0, le=10, description="Longest silence of the receiver.")


class LinkPolicy(Policy):
    """Addresses of the links in messages; null leaves a link out."""

    dagster: str | None = Field(None, pattern=r"^https?://\S+$", description="The Dagster UI.")
    mlflow: str | None = Field(None, pattern=r"^https?://\S+$", description="The MLflow UI.")
    releases: str | None = Field(None, pattern=r"^https?://\S+$", description="The page of releases.")
    runbook: str | None = Field(None, pattern=r"^https?://\S+$", description="The runbook; by default docs/runbook.md.")


class AlertPolicy(Policy):
    """Destinations of alerts; null turns one off."""

    slack: SlackPolicy | None = Field(SlackPolicy(), description="Slack, through dagster-slack.")
    pagerduty: PagerDutyPolicy | None = Field(None, description="PagerDuty.")
    email: EmailPolicy | None = Field(None, description="E-mail over SMTP.")
    webhook: WebhookPolicy | None = Field(None, description="Any program that takes signed JSON over HTTP.")
    links: LinkPolicy = Field(LinkPolicy(), description="Where the links in messages lead.")
    escalate_after_minutes: float = Field(
        15, gt=0, le=24 * 60, description="Minutes after which an alert that Slack did not take goes to PagerDuty."
    )
    give_up_after_hours: float = Field(
        72,
        gt=0,
        le=24 * 30,
        description="Hours after which a message that could not be delivered is given up, which is reported.",
    )


class Topic(StrEnum):
    """Subjects of notices that are not the failure of a run. Each has a section of the runbook."""

    AUTOMATION_PAUSED = "automation_paused"
    PERFORMANCE_DECAYED = "performance_decayed"
    LAKE_SET_ASIDE = "lake_set_aside"
    PROMOTION_REFUTED = "promotion_refuted"
    PROMOTION_WORSE = "promotion_worse"
    SERVED_SKEW = "served_skew"


class Link(Value):
    """A place to look further."""

    text: str
    url: str


class Notice(Value):
    """One message to people. One notice is open for a `key`: the same again is counted, not sent again."""

    key: str = Field(min_length=1, description="Category and fingerprint, day or as-of day.")
    model: str
    category: str
    severity: Severity
    audience: Audience
    title: str = Field(description="What happened, in a line.")
    facts: tuple[tuple[str, str], ...] = Field((), description="Name and value: window, trigger, fingerprint, ...")
    why: tuple[str, ...] = ()
    serving: str = Field("", description="The version that still serves.")
    todo: str = ""
    links: tuple[Link, ...] = ()
    job: Job | None = Field(None, description="The job whose success resolves it.")
    as_of: date | None = None
    days: tuple[date, ...] = Field((), description="Days whose ingest resolves it.")
    dagster_run_id: str | None = None


class Action(StrEnum):
    """What a destination does with a message."""

    OPEN = "open"
    UPDATE = "update"
    REPLY = "reply"
    RESOLVE = "resolve"


class Message(Value):
    """A message for one destination, such as `slack:CHANNEL`, `pagerduty` or `file`, in its form."""

    destination: str
    action: Action
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        """Kind of the destination."""
        return kind_of(self.destination)


SLACK, PAGERDUTY, FILE = "slack", "pagerduty", "file"


def kind_of(destination: str) -> str:
    """Return the kind of a destination.

    Examples:
        >>> kind_of("slack:#ml-oncall"), kind_of("file")
        ('slack', 'file')
    """
    return destination.split(":", 1)[0]


class Occasion(Value):
    """The run that failed, and its context."""

    model: str
    job: Job
    as_of: date | None = None
    days: tuple[date, ...] = ()
    trigger: str = ""
    window: str = Field("", description="Training window and holdout, in words.")
    fingerprint: str | None = None
    version: int | None = None
    serving: str = ""
    gates: tuple[str, ...] = Field((), description="Each failed gate, in words.")
    dagster_run_id: str | None = None
    mlflow_run_id: str | None = None


def sentences(*parts: str) -> str:
    """Join the parts, each with a capital letter and a full stop; empty ones are left out.

    Examples:
        >>> sentences("no rows", "", "deliver the day again.")
        'No rows. Deliver the day again.'
    """
    return " ".join(_sentence(part.strip()) for part in parts if part.strip())


def _sentence(text: str) -> str:
    first, *_ = text.split(None, 1)
    begun = text[0].upper() + text[1:] if first.strip(",;:").isalpha() else text
    return begun if begun.endswith((".", "!", "?", ":", "…", "...")) else f"{begun}."


TITLES: Mapping[Category, str] = MappingProxyType(
    {
        Category.DATA_VALIDATION: "Data refused",
        Category.GATE_FAILED: "Candidate failed its gates",
        Category.BUDGET_EXCEEDED: "Budget exceeded",
        Category.DEPENDENCY: "A dependency did not answer",
        Category.OUT_OF_RESOURCES: "Out of memory or disk",
        Category.INTEGRITY: "Stored bytes differ from what was recorded",
        Category.CONFLICT: "A person or another process decided first",
        Category.SETTINGS: "Settings cannot be obeyed",
        Category.INTERRUPTED: "Interrupted",
        Category.WORKER_DIED: "The process died",
        Category.UNEXPECTED: "Unexpected failure",
    }
)
WHAT_TO_DO: Mapping[Category, str] = MappingProxyType(
    {
        Category.DATA_VALIDATION: "Have the data delivered again; it is ingested anew once its files change.",
        Category.GATE_FAILED: "Nothing at once: the next retrain tries again. If it fails too, look at drift.",
        Category.BUDGET_EXCEEDED: "Find out why it took longer, or raise the budget.",
        Category.DEPENDENCY: "Bring the dependency back; the next run tries again by itself.",
        Category.OUT_OF_RESOURCES: "Make room, or give the process more memory; then run again.",
        Category.INTEGRITY: "Do not promote anything; find out who changed the stored bytes.",
        Category.CONFLICT: "See in the audit trail who decided, and whether this run is still wanted.",
        Category.SETTINGS: "Correct the settings that are named; nothing runs before.",
        Category.INTERRUPTED: "Run it again if it was not ended on purpose.",
        Category.WORKER_DIED: "Look for the out-of-memory killer and restarts; the next run has the same window.",
        Category.UNEXPECTED: "Read the run's log; this is a bug or an unforeseen case.",
    }
)


def failure_notice(failure: Failure, occasion: Occasion, links: LinkPolicy) -> Notice:
    """Return the notice of a failed run."""
    return Notice(
        key=failure.cause,
        **_surroundings(failure.category, occasion, links),
        severity=failure.severity,
        audience=failure.audience,
        title=f"{TITLES[failure.category]}: {work_of(occasion.job, occasion.as_of, occasion.days)}",
        why=(failure.what, *(occasion.gates or failure.culprits)),
        todo=_todo(failure),
        job=occasion.job,
        as_of=occasion.as_of,
        days=occasion.days,
        dagster_run_id=occasion.dagster_run_id,
    )


def _todo(failure: Failure) -> str:
    """What to do; the remedy of refused data says whether another delivery would help."""
    if failure.category is Category.DATA_VALIDATION and failure.remedy:
        return sentences(failure.remedy)
    return sentences(WHAT_TO_DO[failure.category], failure.remedy)


def paused_notice(cause: str, failures: int, occasion: Occasion, links: LinkPolicy) -> Notice:
    """Return the notice that automation stopped trying. Resuming resolves it, not a run."""
    return Notice(
        key=Topic.AUTOMATION_PAUSED,
        **_surroundings(Topic.AUTOMATION_PAUSED, occasion, links),
        severity=Severity.CRITICAL,
        audience=Audience.ONCALL,
        title=f"Automation paused after {failures} failures with one cause",
        why=(f"{failures} retrains in a row failed with the cause {cause}",),
        todo="Remove the cause, then run `fraud-retraining resume`; new input resumes it by itself.",
        as_of=occasion.as_of,
        dagster_run_id=occasion.dagster_run_id,
    )


def decay_notice(measured: str, days: str, occasion: Occasion, links: LinkPolicy) -> Notice:
    """Return the notice that live performance fell below the promise. Later days resolve it, not a run."""
    return Notice(
        key=Topic.PERFORMANCE_DECAYED,
        **_surroundings(Topic.PERFORMANCE_DECAYED, occasion, links),
        severity=Severity.HIGH,
        audience=Audience.MODEL,
        title=f"Live performance has decayed on {days}",
        why=(measured,),
        todo="See whether fraud or data changed (drift_report, production_performance). Retrains learn the new fraud "
        "once its labels are in the training window; until then consider rules beside the model.",
    )


def skew_notice(found: str, remedy: str, occasion: Occasion, links: LinkPolicy) -> Notice:
    """Return the notice that a day was served with other features than the batch's. A later day resolves it."""
    return Notice(
        key=Topic.SERVED_SKEW,
        **_surroundings(Topic.SERVED_SKEW, occasion, links),
        severity=Severity.HIGH,
        audience=Audience.MODEL,
        title=f"Served with other features than the batch's on {', '.join(map(str, occasion.days))}",
        why=(found,),
        todo=remedy,
    )


def set_aside_key(set_aside: Sequence[SetAside]) -> str:
    """Return the key of the notice about files beside the days of the lake; another list has another key."""
    return f"{Topic.LAKE_SET_ASIDE}:{digest([list(one) for one in set_aside])[:16]}"


def set_aside_notice(uri: str, set_aside: Sequence[SetAside], occasion: Occasion, links: LinkPolicy) -> Notice:
    """Return the notice about files and folders of the lake that are not read. It is resolved once they are gone."""
    more = [f"and {len(set_aside) - LINES} more"] if len(set_aside) > LINES else []
    several = len(set_aside) > 1
    return Notice(
        key=set_aside_key(set_aside),
        **_surroundings(Topic.LAKE_SET_ASIDE, occasion, links, ("Lake", uri)),
        severity=Severity.MEDIUM,
        audience=Audience.DATA,
        title=f"{len(set_aside)} file{'s' if several else ''} or folder{'s' if several else ''} of the lake set aside",
        why=(*map(str, set_aside[:LINES]), *more),
        todo="Nothing stops for them: move them away, or deliver what they hold under the folder of its day.",
    )


WORK: Mapping[Job, str] = MappingProxyType(
    {
        "ingest": "ingest",
        "monitor": "monitoring",
        "retrain": "retrain",
        "clean": "clean-up",
        "decide": "decision by form",
    }
)


def work_of(job: Job, as_of: date | None, days: Sequence[date]) -> str:
    """Return what a run does, in words.

    Examples:
        >>> work_of("ingest", None, [date(2026, 3, 1), date(2026, 3, 4)])
        'ingest of 2026-03-01 to 2026-03-04'
    """
    work = WORK[job]
    if job == "retrain":
        return f"{work} as of {as_of}" if as_of else work
    if not days:
        return work
    return f"{work} of {days[0]}" if len(days) == 1 else f"{work} of {days[0]} to {days[-1]}"


def _surroundings(
    category: Category | Topic, occasion: Occasion, links: LinkPolicy, *first: tuple[str, str]
) -> dict[str, Any]:
    """Fields that every notice of an occasion has; `first` are facts that go before its own."""
    return {
        "category": category,
        "model": occasion.model,
        "facts": (*first, *_facts(occasion)),
        "serving": occasion.serving,
        "links": tuple(_links(category, occasion, links)),
    }


def _facts(occasion: Occasion) -> Iterator[tuple[str, str]]:
    named = {
        "Model": occasion.model,
        "As of": occasion.as_of,
        "Version": occasion.version,
        "Trigger": occasion.trigger,
        "Window": occasion.window,
        "Fingerprint": occasion.fingerprint and occasion.fingerprint[:16],
        "Days": ", ".join(map(str, occasion.days[:10])) + (", ..." if len(occasion.days) > 10 else ""),
    }
    return ((name, str(value)) for name, value in named.items() if value)


def _links(category: str, occasion: Occasion, policy: LinkPolicy) -> Iterator[Link]:
    if policy.dagster and occasion.dagster_run_id:
        yield Link(text="Dagster run", url=f"{policy.dagster.rstrip('/')}/runs/{occasion.dagster_run_id}")
    if occasion.mlflow_run_id and (url := mlflow_run_url(policy, occasion.mlflow_run_id)):
        yield Link(text="MLflow run", url=url)
    yield runbook_link(category, policy)


def mlflow_run_url(policy: LinkPolicy, run_id: str) -> str | None:
    """Return the page of an MLflow run; None where no MLflow UI is configured."""
    return f"{policy.mlflow.rstrip('/')}/#/runs/{run_id}" if policy.mlflow else None


def mlflow_version_url(policy: LinkPolicy, model: str, version: int) -> str | None:
    """Return the page of a version in MLflow's registry; None where no MLflow UI is configured."""
    return f"{policy.mlflow.rstrip('/')}/#/models/{quote(model, safe='')}/versions/{version}" if policy.mlflow else None


def release_url(policy: LinkPolicy, version: int) -> str | None:
    """Return the page of a release; None where the page of releases is not configured."""
    return f"{policy.releases.rstrip('/')}/{version}" if policy.releases else None


def runbook_link(category: str, policy: LinkPolicy) -> Link:
    """Return the link to a category's section of the runbook; a path in the repository if no address is configured."""
    return Link(text="Runbook", url=f"{policy.runbook or RUNBOOK}#{category.replace('_', '-')}")


class Passed(NamedTuple):
    """Value and as-of day when a gate passed last."""

    value: float
    as_of: date


def gate_lines(failed: Sequence[GateResult], last: Mapping[str, Passed]) -> tuple[str, ...]:
    """Return a line for each failed gate: its value, by how much it missed, and the last value that passed."""
    return tuple(_gate_line(gate, last.get(gate.name)) for gate in failed)


def _gate_line(gate: GateResult, last: Passed | None) -> str:
    if gate.value is None or gate.threshold is None:
        line = f"{gate.name}: {gate.message}"
    else:
        line = f"{gate.name}: {gate.value:.4g} against {gate.threshold:.4g}"
        line += f", missed by {abs(gate.margin):.4g}" if gate.margin is not None else ""
    passed = f"last passed with {last.value:.4g} as of {last.as_of}" if last else "has not passed before"
    return f"{line}; {passed}"


class Success(Value):
    """A successful run."""

    job: Job
    as_of: date | None = None
    days: tuple[date, ...] = ()

    def summary(self) -> str:
        """The success in words."""
        return f"{work_of(self.job, self.as_of, self.days)} passed"


def remaining_notice(notice: Notice, success: Success) -> Notice | None:
    """Return the notice that remains after a success: None if it is resolved, fewer days if some of them are."""
    if success.job in ("clean", "decide"):
        return None if notice.job == success.job else notice
    if success.job == "retrain":
        resolved = notice.job == "retrain" and (
            notice.as_of is None or success.as_of is None or notice.as_of <= success.as_of
        )
        return None if resolved else notice
    left = tuple(day for day in notice.days if day not in success.days)
    covered = ("monitor",) if success.job == "monitor" else ("ingest", "retrain")
    if notice.job not in covered or not notice.days or left == notice.days:
        return notice
    return notice.model_copy(update={"days": left}) if left else None
