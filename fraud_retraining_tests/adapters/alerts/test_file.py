"""The file of alerts: private, one line a message, and without links that work."""

import json
import stat
from pathlib import Path

from fraud_retraining.adapters.alerts.file import ALERT_FILE, forget_links


def test_links_of_earlier_versions_are_blanked_and_the_rest_stays(tmp_path: Path) -> None:
    file = tmp_path / ALERT_FILE
    url = f"https://host/3?link={'a1B2-' * 20}"
    file.write_text(json.dumps({"text": f"see {url}"}) + '\n{"text": "a day is missing"}\n')
    forget_links(tmp_path)
    assert url.partition("?link=")[2] not in file.read_text()
    assert '{"text": "a day is missing"}' in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_without_links_is_not_written_again(tmp_path: Path) -> None:
    file = tmp_path / ALERT_FILE
    file.write_text('{"text": "a day is missing"}\n')
    before = file.stat().st_ino
    forget_links(tmp_path)
    assert file.stat().st_ino == before


def test_a_home_without_the_file_is_left_without_it(tmp_path: Path) -> None:
    forget_links(tmp_path)
    assert list(tmp_path.iterdir()) == []
