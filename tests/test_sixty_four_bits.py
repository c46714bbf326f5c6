"""JAX's 64 bits, switched on by the host program, change nothing: every network trains and plays, in the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ALL = """
import hashlib, sys
import jax
import numpy as np
import bellmax as bx
from bellmax.catalog import AGENTS, agent_class
from bellmax.catalog import is_tabular

bx.store_compiled_programs()
if sys.argv[1] == "update":
    jax.config.update("jax_enable_x64", True)
SMALL = dict(learning_starts=64, batch_size=8, net_arch=(8,), buffer_size=256)
R2D2 = dict(learning_starts=64, num_envs=2, buffer_size=512, sequence_length=6, burn_in=2)
data = bx.collect(None, "probe:delay", steps=200)

def mark(run):
    arrays = run.policy().arrays
    q, _ = run.policy().look(run.policy().begin(1), np.zeros((1, *run.policy().space.shape), np.float32))
    content = b"".join(np.ascontiguousarray(arrays[name]).tobytes() for name in sorted(arrays))
    kinds = {str(array.dtype) for array in arrays.values()}
    return hashlib.sha256(content + q.tobytes()).hexdigest()[:12], kinds, str(q.dtype), run.scores

COMPARED = ("dqn", "rainbow", "r2d2", "pqn")  # the others share their parts

for name in AGENTS:
    kind = agent_class(name)
    if is_tabular(kind) or (sys.argv[1] != "update" and name not in COMPARED):
        continue
    fields = kind.__dataclass_fields__
    given = {key: value for key, value in {**SMALL, **(R2D2 if name == "r2d2" else {})}.items() if key in fields}
    steps = kind().num_envs * kind().train_freq if name == "pqn" else 128
    options = dict(steps=steps, records=1, eval_episodes=0, final_episodes=0)
    if name in ("cql", "bcq"):
        given.pop("learning_starts")
        options |= dict(data=data, steps=16)
    if name == "r2d2":
        options |= dict(loop="host")
    marked = mark(bx.train("CartPole-v1" if name == "r2d2" else "probe:delay", name, **options, **given))
    print(*((name, *marked) if name in COMPARED else marked[1:3]))
print(bx.evaluate(bx.train("probe:delay", "dqn", steps=80, records=1, **SMALL).policy(), episodes=2).returns)
"""


def play(how: str) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", ALL, how], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.mark.slow
def test_every_network_trains_and_plays_in_the_same_bits() -> None:
    usual, switched = play("not at all"), play("update")
    assert len(usual) == 5
    assert [line for line in switched if line in usual] == usual
    others = [line for line in switched if line not in usual]
    assert others == ["{'float32'} float32"] * len(others)
    assert len(switched) > 12
