"""What every test runs under: silent implicit broadcasting raises, compiled code is stored, slow evidence is marked."""

from pathlib import Path

import jax
import pytest

from bellmax.caching import store_compiled_programs

store_compiled_programs()
jax.config.update("jax_numpy_rank_promotion", "raise")
SLOW = Path(__file__).with_name("slow.txt")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that slow.txt names (`slow_evidence.py` makes it). A name that no test has is an error."""
    slow = set(SLOW.read_text(encoding="utf-8").splitlines())
    names = {item.nodeid for item in items}
    for item in items:
        if item.nodeid in slow:
            item.add_marker(pytest.mark.slow)
    if not any("::" in str(argument) for argument in config.args):  # whole files
        files = {name.split("::")[0] for name in names}
        if gone := sorted(name for name in slow - names if name.split("::")[0] in files):
            raise pytest.UsageError(f"slow.txt names tests that are not there: {', '.join(gone[:5])}")
