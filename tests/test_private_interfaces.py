"""Without a private interface of Numba or JAX, `bellmax doctor` says what is lost, and training still works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bellmax import dispatch, doctor
from bellmax.tabular import next_actions

ROOT = Path(__file__).parents[1]
SCRIPT = """
import sys
{taken}
import bellmax as bx
from bellmax.doctor import private_interfaces
print([name for name, missing, loss in private_interfaces() if missing])
run = bx.train({world!r}, {agent!r}, steps={steps}, progress=False, final_episodes=1, eval_episodes=0)
print(run.history["rollout/ep_rew_mean"].tolist())
"""


def test_all_are_there_in_the_versions_that_are_tested() -> None:
    found = {name: missing for name, missing, loss in doctor.private_interfaces()}
    assert len(found) == 5
    assert not any(found.values())


def run(world: str, agent: str, steps: int, taken: str, cache: Path) -> list[str]:
    script = SCRIPT.format(taken=taken, world=world, agent=agent, steps=steps)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BELLMAX_CACHE_DIR": str(cache)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "world", "agent", "steps", "taken"),
    [
        ("numba stores kernels", "corridor", "q-learning", 2_000,
         "import numba, numba.core.caching; del numba.core.caching._Cache"),
        ("numba stores kernels", "corridor", "q-learning", 2_000,
         "import numba, numba.extending; del numba.extending._Intrinsic"),
        ("jax fuses keys", "probe:delay", "dqn", 500,
         "import jax.extend.random; del jax.extend.random.define_prng_impl"),
        ("jax calls directly", "probe:delay", "dqn", 500,
         "import jax; jax.devices(); from jaxlib import xla_client; del xla_client.make_cpu_client"),
    ],
)  # fmt: skip
def test_training_gives_the_same_without(
    name: str, world: str, agent: str, steps: int, taken: str, tmp_path: Path
) -> None:
    missing, numbers = run(world, agent, steps, taken, tmp_path)
    assert missing == str([name])
    assert numbers == run(world, agent, steps, "", tmp_path)[1]


def test_doctor_says_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    for check in ("_numba", "_jax", "_gymnasium"):
        monkeypatch.setattr(doctor, check, lambda: "something")
    monkeypatch.setattr(dispatch, "has_client", lambda: False)
    monkeypatch.setattr(next_actions, "MISSING", "cannot import name 'run_frontend'")
    findings, good = doctor.examine()
    assert findings["jax calls directly"].startswith("no: jaxlib.xla_client.make_cpu_client")
    assert findings["jax calls directly"].endswith("takes about 40 µs longer")
    assert findings["jax fuses keys"] == "yes"
    assert findings["numba shows kernels"].startswith("no: cannot import name 'run_frontend'")
    assert good  # slower, and not wrong
