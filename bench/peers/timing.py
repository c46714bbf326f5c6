"""How the scripts of Rejax are timed: the first run compiles, the second counts."""

import json
import time
from typing import Any

import jax


def time_second(name: str, algorithm: Any, steps: int) -> Any:
    """Train twice, print the line of the second, return its state.

    Rejax evaluates 128 worlds after the last step; only the training loop is to be timed.
    """
    train = jax.jit(algorithm.replace(eval_callback=lambda algorithm, state, key: ()).train)
    seconds = []
    for seed in (0, 1):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(train(jax.random.key(seed)))
        seconds.append(time.perf_counter() - start)
    first, second = seconds
    line = {
        "name": name,
        "steps": steps,
        "seconds": second,
        "steps_per_second": steps / second,
        "compile_seconds": first - second,
    }
    print(json.dumps(line))
    return state
