"""What a reader opens to follow one step: python tools/step_files.py.

One round of `examples/one_step.py` runs under a profiler; every file of bellmax in which a function was called between
acting and the sync of the target network is listed with its lines, but for environments and the layers of networks.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

ROOT = Path(__file__).parents[1]
LEFT_OUT = (
    "envs",
    "networks",
    "spaces.py",
    "keys.py",
    "trees.py",
)  # physics, layers, and what stands for NumPy and JAX


def files_of_a_step() -> dict[str, int]:
    """The files of one round of DQN by hand, each with its lines; the example itself first."""
    sys.path.insert(0, str(ROOT / "examples"))
    import one_step

    from bellmax.sources import find_world

    world, config = find_world("CartPole-v1").compile(), one_step.CONFIG
    parts, state, run_key = one_step.begin(world, config, seed=0)
    seen: set[str] = set()

    def note(frame: Any, event: str, arg: Any) -> None:
        if event == "call":
            seen.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        state = one_step.act_and_store(world, config, parts, state, jnp.int32(0), jax.random.fold_in(run_key, 0))
        one_step.learn(config, parts, state, jax.random.fold_in(run_key, 0))
    finally:
        sys.setprofile(None)
    package = ROOT / "bellmax"
    inside = [Path(name).relative_to(package) for name in seen if name.startswith(str(package))]
    kept = sorted(path for path in inside if path.parts[0] not in LEFT_OUT)
    paths = [ROOT / "examples" / "one_step.py", *(package / path for path in kept)]
    return {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}


if __name__ == "__main__":
    files = files_of_a_step()
    for name, lines in files.items():
        print(f"{lines:6,}  {name}")
    print(f"{sum(files.values()):6,}  lines in {len(files)} files")
