"""Run the quick tests with the lowest and with the newest versions of the dependencies (`make test-versions`).

The lowest versions are the bounds in pyproject.toml, on the oldest Python that bellmax supports. The newest versions
are installed for each Python from that one on. A Python that this machine does not have is reported and left out.

    python .ci/versions.py                                  all environments, all quick tests
    python .ci/versions.py --only lowest tests/test_mdp_model.py     one environment, some tests
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OLDEST = int(PROJECT["requires-python"].removeprefix(">=3."))
TOOLS = 6  # Python 3.11 to 3.16: more than there are today
BOUND = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(\[.*\])?>=(?P<low>[0-9.]+)")


def lowest_versions() -> list[str]:
    """One pip constraint for each lower bound in pyproject.toml, without those of the developer's tools."""
    extras = PROJECT["optional-dependencies"]
    others = [line for name, lines in extras.items() if name != "dev" for line in lines]
    found = [BOUND.fullmatch(line) for line in [*PROJECT["dependencies"], *others]]
    return [f"{match['name']}=={match['low']}" for match in found if match]


def find_python(minor: int) -> str | None:
    """The command of Python 3.`minor`: this one, one of the search path, one of pyenv or uv; None if there is none."""
    if sys.version_info[:2] == (3, minor):
        return sys.executable
    installed = [*Path("~/.pyenv/versions").expanduser().glob(f"3.{minor}.*/bin/python"),
                 *Path("~/.local/share/uv/python").expanduser().glob(f"cpython-3.{minor}.*/bin/python")]  # fmt: skip
    for command in (f"python3.{minor}", *map(str, installed)):
        path = shutil.which(command)
        if path and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0:
            return path
    return None


def install(folder: Path, python: str, constraints: list[str]) -> str:
    """Make the environment, or bring it up to date; return its Python."""
    inside = str(folder / "bin" / "python")
    if not Path(inside).exists():
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
    pins = folder / "constraints.txt"
    pins.write_text("\n".join(constraints) + "\n", encoding="utf-8")
    command = [inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(pins)]
    if not constraints:
        command += ["--upgrade", "--upgrade-strategy", "eager"]
    subprocess.run([*command, "-e", ".[dev]"], cwd=ROOT, check=True)
    return inside


def main() -> int:
    """Test in every environment; return the number of those that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="only the environments whose name contains this word")
    parser.add_argument("tests", nargs="*", default=["tests"], help="files of tests; default: all quick tests")
    given = parser.parse_args()
    pythons = {minor: find_python(minor) for minor in range(OLDEST, OLDEST + TOOLS)}
    environments = [("lowest", OLDEST, lowest_versions())]
    environments += [(f"newest-3.{minor}", minor, []) for minor in pythons]
    results: dict[str, str] = {}
    for name, minor, constraints in environments:
        if given.only and given.only not in name:
            continue
        python = pythons[minor]
        if python is None:
            results[name] = f"not run: this machine does not have Python 3.{minor}"
            continue
        try:
            inside = install(ROOT / f".venv-{name}", python, constraints)
        except subprocess.CalledProcessError:
            results[name] = "FAILED to install"
            continue
        tests = [inside, "-m", "pytest", "-q", "-m", "not slow", "-n", "2", "--dist", "worksteal", *given.tests]
        code = subprocess.run(tests, cwd=ROOT, check=False).returncode
        results[name] = "passed" if code == 0 else "FAILED"
    for name, result in results.items():
        print(f"{name:<12}  {result}")
    return sum(result.startswith("FAILED") for result in results.values())


if __name__ == "__main__":
    sys.exit(main())
