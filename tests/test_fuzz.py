"""Changed files are errors in words, or as the originals; `make fuzz` tries ten thousand of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent / "fuzz" / "fuzz.py"


@pytest.mark.slow
def test_changed_files_are_errors_in_words() -> None:
    """Others than those of `make fuzz`."""
    count = 400
    command = [sys.executable, str(FUZZ), "--first", "20000", "--count", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout[done.stdout.index("{\n") :])
    assert (told["cases"], told["problems"]) == (count, 0)
