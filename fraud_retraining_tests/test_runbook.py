"""Every alert links to a section of the runbook that says what it means and what to do."""

import re
from pathlib import Path

import pytest

from fraud_retraining.domain.alerts.failures import Category
from fraud_retraining.domain.alerts.notices import RUNBOOK, LinkPolicy, Topic, runbook_link

TEXT = (Path(__file__).resolve().parents[1] / RUNBOOK).read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
QUESTIONS = ("What it means", "What still serves", "What to look at", "What to do")


@pytest.mark.parametrize("topic", [*Category, *Topic])
def test_every_alert_has_its_section(topic: str) -> None:
    anchor = runbook_link(topic, LinkPolicy()).url.removeprefix(f"{RUNBOOK}#")
    section = SECTIONS[anchor]
    for question in QUESTIONS:
        answer = re.search(rf"\*\*{question}\.\*\*(.+?)(?=\n\n|\Z)", section, re.DOTALL)
        assert answer is not None, f"{anchor} does not say: {question}"
        assert len(answer[1].split()) >= 2


def test_links_within_the_runbook_lead_somewhere() -> None:
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in SECTIONS}
    assert set(re.findall(r"\]\(#(.+?)\)", TEXT)) <= anchors
