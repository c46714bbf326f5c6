"""What every test runs under: silent implicit broadcasting raises, compiled code is stored, slow evidence is marked."""

from pathlib import Path

import jax
import pytest

from bellmax.caching import store_compiled_programs

store_compiled_programs()
jax.config.update("jax_numpy_rank_promotion", "raise")
SLOW = Path(__file__).with_name("slow.txt")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that slow.txt names; `slow_evidence.py` makes it and checks that each name is that of a test."""
    slow = set(SLOW.read_text(encoding="utf-8").splitlines())
    for item in items:
        if item.nodeid in slow:
            item.add_marker(pytest.mark.slow)
