"""The judged tables of the shipped defaults are of the defaults that ship."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from bellmax.catalog import make_agent

TABLES = sorted((Path(__file__).parent.parent / "baselines").glob("defaults-*.json"))


def test_cartpole_is_judged_after_short_and_long_training() -> None:
    assert {path.stem for path in TABLES} >= {f"defaults-cartpole-{what}" for what in ("50k", "100k", "200k", "host")}


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_table_is_of_the_shipped_settings_and_meets_its_bar(path: Path) -> None:
    """A changed default makes its table old: run `python baselines/run.py NAME` again."""
    table = json.loads(path.read_text())
    assert table["config"] == json.loads(json.dumps(asdict(make_agent("dqn", table["world"], {}))))
    assert table["seeds"][0] == 1000, "settings were looked for on other seeds"
    assert table["met"], table["found"]
