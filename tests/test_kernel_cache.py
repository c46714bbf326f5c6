"""Compiled code on disk: found by a second process, never of another kernel, and dropped where it is damaged."""

# ruff: noqa: S102 - code without a file is what is tested
from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bellmax import compiling
from bellmax.identity import UnknownIdentity, identify
from bellmax.tabular.kernel import kernel

ROOT = Path(__file__).parents[1]

# A loop that is given a kernel, as the tabular loop is given `update`; prints its result, and how it was found.
LOOP = """
@kernel
def loop(update, n):
    total = 0.0
    for i in range(n):
        total += update(float(i))
    return total

print(loop(my_q, 5), "loaded" if loop.stats.cache_hits else "compiled")
"""


def run(script: Path, cache: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BELLMAX_CACHE_DIR": str(cache), **variables}
    return subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, env=environment, cwd=script.parent
    )


def write(path: Path, body: str) -> Path:
    path.write_text("from bellmax.tabular.kernel import kernel\n" + textwrap.dedent(body) + LOOP)
    return path


def test_an_unchanged_kernel_is_found_by_a_second_process_also_under_another_name_of_its_file(tmp_path: Path) -> None:
    body = """
        @kernel
        def my_q(x):
            return x + 1.0
    """
    first = run(write(tmp_path / "a.py", body), tmp_path / "cache")
    assert first.stdout.split() == ["15.0", "compiled"]
    assert not first.stderr
    again = run(write(tmp_path / "b.py", "# moved down by a line\n\n" + textwrap.dedent(body)), tmp_path / "cache")
    assert again.stdout.split() == ["15.0", "loaded"]
    assert not again.stderr


def test_a_module_of_another_name_compiles_its_own_kernels(tmp_path: Path) -> None:
    """Compiled code names the modules of its kernels: where one was moved, that of before cannot be loaded."""
    module = write(tmp_path / "before.py", "@kernel\ndef my_q(x):\n    return x + 1.0\n")
    for name in ("before", "after"):
        module = module.rename(tmp_path / f"{name}.py")
        (tmp_path / "script.py").write_text(f"import {name}\n")
        done = run(tmp_path / "script.py", tmp_path / "cache")
        assert done.stdout.split() == ["15.0", "compiled"]
        assert not done.stderr


BEFORE_AND_AFTER = {
    "the code": ("@kernel\ndef my_q(x):\n    return {}\n", "x + 1.0", "x - 1.0"),
    "a constant of the code": ("@kernel\ndef my_q(x):\n    return x * {}\n", "2.0", "3.0"),
    "a default": ("@kernel\ndef my_q(x, gain={}):\n    return x * gain\n", "2.0", "3.0"),
    "a global number": ("GAIN = {}\n@kernel\ndef my_q(x):\n    return x * GAIN\n", "2.0", "3.0"),
    "a global array": (
        "import numpy as np\nGAIN = np.array([{}, 1.0])\n@kernel\ndef my_q(x):\n    return x * GAIN[0]\n",
        "2.0",
        "3.0",
    ),
    "a closure": (
        "def make(gain):\n    @kernel\n    def my_q(x):\n        return x * gain\n    return my_q\nmy_q = make({})\n",
        "2.0",
        "3.0",
    ),
    "a kernel that it calls": (
        "@kernel\ndef deep(x):\n    return x * {}\n@kernel\ndef helper(x):\n    return deep(x)\n"
        "@kernel\ndef my_q(x):\n    return helper(x)\n",
        "2.0",
        "3.0",
    ),
    "a plain jitted function that it calls": (
        "import numba\n@numba.njit\ndef helper(x):\n    return x * {}\n@kernel\ndef my_q(x):\n    return helper(x)\n",
        "2.0",
        "3.0",
    ),
    "a function written inside": (
        "@kernel\ndef my_q(x):\n    def inner(y):\n        return y * {}\n    return inner(x)\n",
        "2.0",
        "3.0",
    ),
    "the fields of a tuple": (
        "from typing import NamedTuple\nclass Pair(NamedTuple):\n    {}: float\n    {}: float\n"
        "@kernel\ndef my_q(x):\n    return Pair(x, 2.0).a\n",
        ("a", "b"),
        ("b", "a"),
    ),
    "what an overload gives": (
        "from numba.extending import overload\ndef helper(x):\n    raise NotImplementedError\n"
        "@overload(helper)\ndef _helper(x):\n    return lambda x: x * {}\n"
        "@kernel\ndef my_q(x):\n    return helper(x)\n",
        "2.0",
        "3.0",
    ),
}


MODULES_HELD = {
    "a closure": (
        "def make():\n    import {0}\n    @kernel\n    def my_q(x):\n        return x * {0}.GAIN\n    return my_q\n"
        "my_q = make()\n",
        1,
    ),
    "a function that it calls, in a closure": (
        "import numba\ndef make():\n    import {0}\n    @numba.njit\n    def inner(x):\n        return {0}.apply(x)\n"
        "    return inner\ninner = make()\n@kernel\ndef my_q(x):\n    return inner(x)\n",
        1,
    ),
    "packages within packages": ("import {0}\n@kernel\ndef my_q(x):\n    return x * {0}.b.c.d.e.f.GAIN\n", 6),
    "packages that hold each other": ("import {0}\n@kernel\ndef my_q(x):\n    return x * {0}.b.a.b.GAIN\n", 2),
    "getattr": ("import {0}\n@kernel\ndef my_q(x):\n    return x * getattr({0}, 'GAIN')\n", 1),
}


@pytest.mark.parametrize("held", MODULES_HELD)
def test_an_edit_of_a_module_is_seen_wherever_the_kernel_finds_it(held: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, depth = MODULES_HELD[held]

    def identity(gain: float) -> str:
        modules = [types.ModuleType("own_part") for _ in range(depth)]
        for letter, outer, inner in zip("bcdef", modules, modules[1:], strict=False):
            setattr(outer, letter, inner)
            inner.a = outer
        exec(f"import numba\nGAIN = {gain}\n@numba.njit\ndef apply(x):\n    return x * GAIN\n", vars(modules[-1]))
        monkeypatch.setitem(sys.modules, "own_part", modules[0])
        names: dict[str, object] = {"__name__": "__main__", "kernel": kernel}
        exec(source.format("own_part"), names)
        return identify(names["my_q"])[0]

    assert identity(2.0) == identity(2.0)
    assert identity(2.0) != identity(3.0)


@pytest.mark.parametrize("what", BEFORE_AND_AFTER)
def test_an_edit_of_anything_that_is_compiled_in_is_another_identity(what: str) -> None:
    def made(*words: str) -> object:
        names: dict[str, object] = {"__name__": "__main__", "kernel": kernel}
        exec(template.format(*words), names)
        return names["my_q"]

    template, before, after = BEFORE_AND_AFTER[what]
    words = [(each,) if isinstance(each, str) else each for each in (before, after)]
    old, same, new = (identify(made(*each))[0] for each in (words[0], words[0], words[1]))
    assert old == same, "two processes would not find each other's code"
    assert old != new


def test_an_edit_between_two_processes_is_seen_in_the_script_and_in_a_module_that_it_calls(tmp_path: Path) -> None:
    body = "import helper\nfrom helper import GAIN\n@kernel\ndef my_q(x):\n    return helper.apply(x) * GAIN + {}\n"
    module = "from bellmax.tabular.kernel import kernel\nGAIN = {}\n@kernel\ndef apply(x):\n    return x * {}\n"
    results = []
    for gain, inner, offset in ((1.0, 1.0, 0.0), (2.0, 3.0, 0.0), (2.0, 3.0, 1.0)):
        (tmp_path / "helper.py").write_text(module.format(gain, inner))
        script = write(tmp_path / "mine.py", body.format(offset))
        for path in (script, tmp_path / "helper.py"):
            os.utime(path, (1e9, 1e9))  # an editor that keeps times, or a checkout in the same second
        results.append(run(script, tmp_path / "cache", PYTHONDONTWRITEBYTECODE="1").stdout.split()[0])
    assert results == ["10.0", "60.0", "65.0"]


def test_two_scripts_with_a_kernel_of_the_same_name_get_each_their_own(tmp_path: Path) -> None:
    for word, result in (("+", "15.0"), ("-", "5.0")):
        script = write(tmp_path / "mine.py", f"@kernel\ndef my_q(x):\n    return x {word} 1.0\n")
        assert run(script, tmp_path / "cache").stdout.split()[0] == result


TRAINS = """
import bellmax as bx
from bellmax.tabular.kernel import kernel

@kernel
def my_q(q, memory, options, step, behavior, now):
    q[step.obs, step.action] = {}
    return 0.0

class Mine(bx.QLearning):
    def make(self, shape):
        return super().make(shape)._replace(update=my_q)

run = bx.train("corridor", Mine(), steps=500, records=1, final_episodes=0)
print(run.policy().arrays["q"].max())
"""


def test_an_agent_of_ones_own_trains_with_its_present_code(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    for value in ("7.0", "8.0"):
        script.write_text(TRAINS.format(value))
        assert run(script, tmp_path / "cache").stdout.strip() == value
    for file in (tmp_path / "cache").rglob("*.nbc"):
        spoil(file, "truncated")
    done = run(script, tmp_path / "cache")
    assert done.stdout.strip() == value, "a damaged folder stops nothing"
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of compiled code for this test; what a new process would forget is forgotten."""
    monkeypatch.setenv("BELLMAX_CACHE_DIR", str(tmp_path / "cache"))
    for each in (compiling._folder, compiling._say_once):
        each.cache_clear()
    yield tmp_path / "cache"
    compiling._folder.cache_clear()


def use(body: str, **names: object) -> list[object]:
    """The result of a loop over a kernel `my_q`, both made anew, and how the loop was found."""
    code = f"{body}\n{LOOP}".rpartition("print(")[0]
    names |= {"__name__": "__main__", "kernel": kernel}
    exec(code, names)
    loop: Any = names["loop"]
    result = loop(names["my_q"], 5)
    return [result, "loaded" if loop.stats.cache_hits else "compiled"]


PLUS_ONE = "@kernel\ndef my_q(x):\n    return x + 1.0\n"


def test_functions_without_a_source_file_are_compiled_and_found_again(cache: Path) -> None:
    assert [use(PLUS_ONE), use(PLUS_ONE)] == [[15.0, "compiled"], [15.0, "loaded"]]
    names: dict[str, Any] = {"kernel": kernel}  # not even the name of a module
    exec(PLUS_ONE, names)
    assert names["my_q"](3.0) == 4.0


def test_what_cannot_be_identified_is_compiled_in_each_process(cache: Path) -> None:
    body = """
import ctypes, ctypes.util
cosine = ctypes.CDLL(ctypes.util.find_library("m")).cos
cosine.argtypes, cosine.restype = [ctypes.c_double], ctypes.c_double

@kernel
def my_q(x):
    return cosine(x) * 0.0 + 1.0
"""
    assert [use(body), use(body)] == [[5.0, "compiled"]] * 2


GAIN = 2.0


@kernel
def scaled(x: float) -> float:
    return x * GAIN


def test_a_global_that_changes_after_its_kernel_was_compiled_is_not_kept_under_the_new_content(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scaled(1.0)
    identify(scaled)
    monkeypatch.setitem(globals(), "GAIN", 3.0)
    with pytest.raises(UnknownIdentity, match="changed since"):
        identify(scaled)


def spoil(file: Path, damage: str) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    whole = {"garbage": b"\x80nothing", "truncated": bytes(content[:100]), "empty": b""}.get(damage, bytes(content))
    file.unlink()
    if damage == "a folder":
        file.mkdir()
    else:
        file.write_bytes(whole)


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty", "a flipped bit", "a folder"])
def test_a_damaged_file_is_dropped_with_one_line_and_compiled_again(
    cache: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    use(PLUS_ONE)
    files = sorted(cache.rglob("*.nbc"))
    assert len(files) == 2
    for file in files:
        spoil(file, damage)
    assert not capsys.readouterr().err
    assert use(PLUS_ONE) == [15.0, "compiled"]
    (line,) = capsys.readouterr().err.splitlines()
    assert "compiled code in" in line
    assert "compiling again" in line
    if damage != "a folder":
        assert use(PLUS_ONE) == [15.0, "loaded"]


def test_a_folder_that_cannot_be_used_costs_time_and_one_line(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache.write_text("a file where a folder should be")
    assert use(PLUS_ONE) == [15.0, "compiled"]
    (line,) = capsys.readouterr().err.splitlines()
    assert "BELLMAX_CACHE_DIR" in line


def test_arrays_of_the_same_numbers_and_another_type_differ() -> None:
    assert identify_array(np.zeros(2)) != identify_array(np.zeros(2, np.float32))
    assert identify_array(np.zeros((2, 1))) != identify_array(np.zeros(2))


def identify_array(values: np.ndarray) -> str:
    names: dict[str, object] = {"kernel": kernel, "VALUES": values}
    exec("@kernel\ndef first():\n    return VALUES[0]\n", names)
    return identify(names["first"])[0]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_files_of_a_shared_folder_follow_the_umask(mask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        compiling._write(tmp_path / "kernel.nbc", b"code")
    finally:
        os.umask(before)
    assert [(path.name, path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == [("kernel.nbc", mode)]
