"""How the scripts of Rejax are timed: the first run compiles, the second counts."""

import json
import time
from typing import Any

import jax


def time_second(name: str, algorithm: Any, steps: int, seeds: int = 1) -> Any:
    """Train twice, print the line of the second, return its state; `steps` for each of the seeds, stacked by vmap.

    Rejax evaluates 128 worlds after the last step; only the training loop is to be timed.
    """
    train = algorithm.replace(eval_callback=lambda algorithm, state, key: ()).train
    train = jax.jit(train if seeds == 1 else jax.vmap(train))
    seconds = []
    for seed in (0, 1):
        key = jax.random.key(seed)
        start = time.perf_counter()
        state, _ = jax.block_until_ready(train(key if seeds == 1 else jax.random.split(key, seeds)))
        seconds.append(time.perf_counter() - start)
    first, second = seconds
    line = {
        "name": name,
        "steps": steps,
        "seconds": second,
        "steps_per_second": seeds * steps / second,
        "compile_seconds": first - second,
    }
    print(json.dumps(line))
    return state
