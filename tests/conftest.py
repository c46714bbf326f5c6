"""What every test runs under: silent implicit broadcasting raises, compiled code is stored, slow evidence is marked.

`--part K/N` runs one of N parts of the slow tests: the (K mod N)-th. A test function is in one part with all its cases.
"""

import zlib
from pathlib import Path

import jax
import pytest

from bellmax.caching import store_compiled_programs

store_compiled_programs()
jax.config.update("jax_numpy_rank_promotion", "raise")
SLOW = Path(__file__).with_name("slow.txt")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", metavar="K/N", help="of the slow tests, only the (K mod N)-th of N parts")


def in_part(item: pytest.Item, part: str) -> bool:
    """Whether a test is in a part "K/N" of the slow tests, or is quick."""
    number, parts = map(int, part.split("/"))
    place = zlib.crc32(item.nodeid.split("[")[0].encode()) % parts
    return item.get_closest_marker("slow") is None or place == number % parts


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that slow.txt names; `slow_evidence.py` makes it and checks that each name is that of a test."""
    slow = set(SLOW.read_text(encoding="utf-8").splitlines())
    for item in items:
        if item.nodeid in slow:
            item.add_marker(pytest.mark.slow)
    if part := config.getoption("--part"):
        left_out = [item for item in items if not in_part(item, part)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if in_part(item, part)]
