"""What cannot fit in memory is refused before it is allocated, whichever limit there is, with a size that fits."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bellmax as bx
from bellmax import dispatch, machine
from bellmax.catalog import make_agent
from bellmax.contracts import BellmaxError, ResourceError
from bellmax.loops import network_checks, network_compiled, table_memory
from bellmax.loops.loop import guarded
from bellmax.machine import Free
from bellmax.mdp.gallery import GALLERY
from bellmax.sources import find_world
from bellmax.tabular.agent import Shape

COUNTS = [
    (name, argument.name)
    for name in GALLERY
    for argument in inspect.signature(GALLERY[name]).parameters.values()
    if argument.annotation == "int" and argument.name != "seed"
]


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_free_memory_is_within_the_limits_of_control_groups(tmp_path: Path) -> None:
    groups = "sys/fs/cgroup"
    write(
        tmp_path,
        {
            "proc/meminfo": "MemTotal: 100 kB\nMemAvailable:   9000000 kB\n",
            "proc/self/cgroup": "4:memory:/docker/abc\n0::/user/x\n",
            f"{groups}/memory/docker/abc/memory.limit_in_bytes": "9223372036854771712",
            f"{groups}/memory/docker/abc/memory.usage_in_bytes": "5000",
            f"{groups}/memory/docker/memory.limit_in_bytes": "3000000",
            f"{groups}/memory/docker/memory.usage_in_bytes": "1000000",
            f"{groups}/memory/docker/memory.stat": "cache 7\ninactive_file 400000\n",
            f"{groups}/user/memory.max": "max",
            f"{groups}/user/memory.current": "7",
            f"{groups}/user/x/memory.max": "8000000",
            f"{groups}/user/x/memory.current": "100",
        },
    )
    group = tmp_path / groups / "memory/docker/memory.limit_in_bytes"
    assert machine.free_memory(tmp_path) == Free(2_400_000, f"limit of {group}")
    write(tmp_path, {f"{groups}/user/memory.max": "900000", f"{groups}/user/memory.current": "300000"})
    assert machine.free_memory(tmp_path) == Free(600_000, f"limit of {tmp_path / groups}/user/memory.max")
    write(tmp_path, {"proc/meminfo": "MemAvailable: 5 kB\n"})
    assert machine.free_memory(tmp_path) == Free(5 * 1024)


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    """The path in /proc is then one of the host, which does not exist inside."""
    write(
        tmp_path,
        {
            "proc/meminfo": "MemAvailable: 9000000 kB\n",
            "proc/self/cgroup": "0::/kubepods/pod1\n",
            "sys/fs/cgroup/memory.max": "1000000000",
            "sys/fs/cgroup/memory.current": "1200000000",
        },
    )
    free = machine.free_memory(tmp_path)
    assert free is not None
    assert free.size == 0


def test_without_files_of_the_system_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sysconf")
    assert machine.free_memory(tmp_path) is None
    monkeypatch.setattr(machine, "free_memory", lambda: None)
    machine.check_fits(10**18, "everything", lambda share: "")


def test_the_limits_of_the_process_are_free_memory() -> None:
    program = """
import resource, numpy as np
import bellmax as bx
from bellmax.machine import free_memory
for kind, name in ((resource.RLIMIT_AS, "ulimit -v"), (resource.RLIMIT_DATA, "ulimit -d")):
    old, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (3 * 10**9, hard))
    free = free_memory()
    assert free.limit == name and 10**9 < free.size < 3 * 10**9, free
    np.ones(10**8)  # 0.8 GB, which are given back
    held = np.ones(5 * 10**7)
    assert 3.9e8 < free.size - free_memory().size < 4.5e8
    del held
    for make in (
        lambda: bx.corridor(4_000_000),
        lambda: bx.random_garnet(4_000_000),
        lambda: bx.FiniteMDP.from_entries(10**8, 4, [0], [0], [1.0], [0.0], [True]),
        lambda: bx.solve_horizon(bx.cliff(), 4_000_000),
    ):
        try:
            make()
        except bx.ResourceError as error:
            print(error)
    resource.setrlimit(kind, (old, hard))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 8
    for line, limit in zip(lines, ["ulimit -v"] * 4 + ["ulimit -d"] * 4, strict=True):
        assert re.search(rf"needs \d+\.\d GB, and [12]\.\d GB are free \({limit}\); .* fit", line), line
    fits = int(re.findall(r"n_states=(\d+) fits", lines[0])[0])
    assert 1_000_000 < fits < 4_000_000


@pytest.mark.parametrize(("name", "argument"), COUNTS)
@pytest.mark.parametrize("value", [10**9, 2**62 - 1])
def test_a_model_of_the_gallery_that_cannot_fit_is_refused_at_once(name: str, argument: str, value: int) -> None:
    """Odd, as random walks need it."""
    begin = time.process_time()
    with pytest.raises(BellmaxError, match=rf"needs .* GB, and .* GB are free|{argument}=\d+ is outside") as error:
        GALLERY[name](**{argument: value + (name == "random-walk") * (1 - value % 2)})
    assert isinstance(error.value, ResourceError) or argument == "branching"
    assert time.process_time() - begin < 1.0


def test_the_size_that_the_message_names_fits() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "free_memory", lambda: Free(20 * 10**6))
        for name, argument in COUNTS:
            if argument in ("branching", "n_actions", "max_moves"):
                continue
            with pytest.raises(ResourceError, match=rf"{argument}=\d+ fits") as error:
                GALLERY[name](**{argument: 10**6 + 1})
            fits = int(re.findall(rf"{argument}=(\d+) fits", str(error.value))[0])
            assert fits > 5
            assert GALLERY[name](**{argument: fits - (name == "random-walk") * (1 - fits % 2)}).n_states > 1


def test_rows_as_long_as_the_longest_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pair of 1,000 outcomes makes a table of 2,000 rows that are all so long."""
    n = 1_000
    pair = np.concatenate([np.zeros(n, np.int64), np.arange(1, 2 * n)])
    probability = np.concatenate([np.full(n, 1 / n), np.ones(2 * n - 1)])
    successor = np.concatenate([np.arange(n), np.zeros(2 * n - 1, np.int64)])
    mdp = bx.FiniteMDP.from_entries(n, 2, pair, successor, probability, successor * 0.0, successor < 0)
    monkeypatch.setattr(machine, "free_memory", lambda: Free(10**8))
    with pytest.raises(ResourceError, match=r"2,000 rows, each as long as the longest, 1,000 outcomes, needs 0\.1 GB"):
        bx.train(mdp, "q-learning", steps=10)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("episodes", lambda n: bx.evaluate(lambda obs: 0, "cliff", episodes=n)),
        ("steps", lambda n: bx.collect(None, "cliff", steps=n)),
        ("final_episodes", lambda n: bx.train("cliff", "q-learning", steps=10, final_episodes=n)),
        ("eval_episodes", lambda n: bx.train("cliff", "q-learning", steps=10, eval_episodes=n)),
        ("records", lambda n: bx.train("cliff", "q-learning", steps=n, records=n)),
        ("horizon", lambda n: bx.solve_horizon(bx.cliff(), n)),
    ],
)
def test_results_that_cannot_fit_are_refused_before_the_first(name: str, call: object) -> None:
    assert callable(call)
    with pytest.raises(ResourceError, match=rf"^{name}={10**12}.* needs .* GB, and .*; {name}=\d+ fits$") as error:
        call(10**12)
    assert int(re.findall(rf"{name}=(\d+) fits", str(error.value))[0]) > 1_000


@pytest.mark.parametrize("agent", ["dyna-q", "prioritized-sweeping", "r-max"])
def test_the_model_of_a_planning_learner_is_counted(agent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: Free(10**9))
    shape = Shape(100_000, 4)
    table_memory.check_room(make_agent(agent, "", {"outcomes": 16}), shape, "big", 1)
    with pytest.raises(ResourceError, match=rf"what {agent} stores, needs 1\d\d\.\d GB.* about \d,?\d\d\d? rows fit"):
        table_memory.check_room(make_agent(agent, "", {"outcomes": 10_000}), shape, "big", 1)
    begin = time.process_time()
    with pytest.raises(ResourceError):
        table_memory.check_room(make_agent(agent, "", {"outcomes": 1_000_000}), Shape(10**6, 4), "big", 1)
    assert time.process_time() - begin < 1.0


def test_the_longest_episode_of_monte_carlo_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: Free(10**8))
    table_memory.check_room(bx.MonteCarlo(longest_episode=10**6), Shape(48, 4), "cliff", 1)
    expected = r"what monte-carlo stores of each of 2 seeds for one state needs 96.0 MB, .*; lower longest_episode=1"
    with pytest.raises(ResourceError, match=expected):
        table_memory.check_room(bx.MonteCarlo(longest_episode=10**6), Shape(48, 4), "cliff", 2)


def test_a_batch_or_a_network_beside_a_buffer_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    source, big = find_world("CartPole-v1"), bx.DQN(buffer_size=10**7, batch_size=10**7)
    monkeypatch.setattr(machine, "free_memory", lambda: Free(10**9))
    with pytest.raises(ResourceError, match=r"batch_size=10000000 .* needs .* GB, .* are free; batch_size=\d+ fits"):
        network_checks.check_memory(big, source, 100, 1)
    monkeypatch.setattr(machine, "free_memory", lambda: Free(3 * 10**6))
    network_checks.check_memory(bx.DQN(buffer_size=40_000), source, 100, 1)
    with pytest.raises(ResourceError, match=r"buffer_size=40000 .* with the network, needs .*; buffer_size=\d+ fits"):
        network_checks.check_memory(bx.DQN(buffer_size=40_000, net_arch=(256, 256)), source, 100, 1)


@pytest.mark.parametrize("agent", [bx.QRDQN(n_quantiles=20_000), bx.IQN(n_samples=10_000, n_target_samples=10_000)])
def test_pairs_of_quantiles_are_counted(agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source, few = find_world("CartPole-v1"), dataclasses.replace(agent, batch_size=1, buffer_size=1_000, net_arch=(8,))
    monkeypatch.setattr(machine, "free_memory", lambda: Free(8 * 10**9))
    network_checks.check_memory(few, source, 100, 1)
    pairs = r"batch_size=32 .* with \d00,000,000 pairs of quantiles of each transition, needs .*; use fewer quantiles"
    with pytest.raises(ResourceError, match=pairs):
        network_checks.check_memory(dataclasses.replace(few, batch_size=32), source, 100, 1)


def test_the_memory_of_a_device_is_asked_for() -> None:
    assert dispatch.left_of(None, "cpu") is None
    assert dispatch.left_of({}, "cpu") is None
    told = {"bytes_limit": 30 * 10**9, "bytes_in_use": 10 * 10**9, "peak_bytes_in_use": 11}
    assert dispatch.left_of(told, "H100") == Free(20 * 10**9, "memory of H100")
    with pytest.raises(ResourceError, match=r"it needs 17\.0 GB, and 20\.0 GB are free \(memory of H100\); less"):
        machine.check_fits(17 * 10**9, "it", lambda share: "less", dispatch.left_of(told, "H100"))
    assert dispatch.free_on_device() is None or dispatch.free_on_device().size > 0  # type: ignore[union-attr]


def test_running_out_of_memory_nevertheless_is_one_kind_of_error() -> None:
    import jax.numpy as jnp

    raised = r"^it does not fit in memory \({}.*\); less$"
    with pytest.raises(ResourceError, match=raised.format("Unable to allocate")), machine.out_of_memory("it", "less"):
        np.empty(10**15)
    with pytest.raises(ResourceError, match=raised.format("RESOURCE_EXHAUSTED")), machine.out_of_memory("it", "less"):
        jnp.zeros((10**7, 10**7))
    with pytest.raises(ValueError, match="other"), machine.out_of_memory("it", "less"):
        raise ValueError("other")


def test_a_loop_of_networks_that_runs_out_of_memory_raises_what_saves_the_run() -> None:
    loop = network_compiled.compiled_network_loop(bx.DQN(), find_world("CartPole-v1"), 1_000)

    def go(*given: object) -> object:
        raise MemoryError("no more")

    with pytest.raises(ResourceError, match=r"training does not fit in memory \(no more\); use a smaller batch_size"):
        guarded(loop._replace(go=go)).go(None, 0, 10, lambda: False)  # type: ignore[arg-type]
