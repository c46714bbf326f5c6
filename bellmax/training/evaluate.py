"""NumPy and JAX. Evaluation: greedy, on seeds of its own, every return reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bellmax.arguments import check_call, integer
from bellmax.stderr import voices
from bellmax.training.actors import find_actors
from bellmax.training.play import Evaluation, play


def evaluate(
    policy: Any,
    world: Any = None,
    *misplaced: Any,
    episodes: int = 100,
    seed: int = 1,
    which: str = "final",
    env_kwargs: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
    **unknown: Any,
) -> Evaluation:
    """Play `episodes` whole episodes greedily, in Gymnasium where the environment is there; a model by its table.

    Args:
        policy: a Policy; a Run or the folder of one, of which each seed plays `episodes`, one seed after another; the
            file of a policy; an exact Solution, or actions [S]; or a function from one observation (integers from 0,
            dictionaries where parts have names) to an action from 0.
        *misplaced: refused, with what to write.
        **unknown: refused, with what to write.
        world: whatever `train` uses; None: the policy's own.
        episodes: how many, per policy.
        seed: of the environments; of a run's seed i, `seed` + i.
        which: "final" or "best" policies of a run.
        env_kwargs: of an environment given by name; in the policy's own, they replace those of training one by one.
        say: called with what differs from training, and with wrappers that change rewards; without it, those are a
            `RunWarning`.

    Raises:
        UnsafeFile: a file alone asks for a wrapper or argument that imports, writes or opens a window.
        ConfigError: `policy` is none of these, or the environment has other observations or actions than it knows.
    """
    check_call("evaluate", "episodes", misplaced, unknown, {"n_eval_episodes": "episodes", "env": "world"})
    episodes, seed = integer("episodes", episodes), integer("seed", seed, 0)
    say_line, remark = voices(say)
    actors, source = find_actors(policy, world, env_kwargs, which, "evaluate", say_line)
    if source.reward_wrappers:
        remark(f"returns are in the rewards of {', '.join(source.reward_wrappers)}, not in the environment's own")
    played = [play(actor, source, episodes, seed + i) for i, actor in enumerate(actors)]
    return Evaluation(*(np.concatenate(column) for column in zip(*played, strict=True)))
