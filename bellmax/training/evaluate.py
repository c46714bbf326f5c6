"""NumPy and JAX. `evaluate`: greedy episodes on their own seeds, with the return of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Never

import numpy as np

from bellmax.arguments import check_call, integer
from bellmax.stderr import voices
from bellmax.training.actors import find_actors
from bellmax.training.play import Evaluation, check_results, play
from bellmax.training.progress import compiling_shown
from bellmax.training.run import Which


def evaluate(
    policy: object,
    world: object = None,
    *misplaced: Never,
    episodes: int = 100,
    seed: int = 1,
    which: Which = "final",
    env_kwargs: Mapping[str, Any] | None = None,
    progress: bool | None = None,
    say: Callable[[str], None] | None = None,
    **unknown_names: Never,
) -> Evaluation:
    """Play `episodes` whole episodes greedily: in Gymnasium if the environment is there; in a model by its table.

    Args:
        policy: a Policy; a Run or its folder, of which each seed plays `episodes`, one seed after another; the file of
            a policy; an exact Solution, or actions [S]; or a function from one observation to an action, both as the
            environment has them (a dictionary where parts have names).
        *misplaced: an error, which says what to write.
        **unknown_names: an error, which says what to write.
        world: anything that `train` accepts; None: the policy's own.
        episodes: how many, per policy.
        seed: of the environments; the i-th policy of a run uses `seed` + i.
        which: "final" or "best" policies of a run.
        env_kwargs: of an environment given by name; in the policy's own, they replace those of training one by one.
        progress: say if programs are being compiled for seconds; by default in a terminal and in a notebook.
        say: called with a line on what differs from training, and on wrappers that change rewards; without it, the
            latter is a `RunWarning`.

    Raises:
        UnsafeFile: only a file asks for a wrapper or argument that imports, writes or opens a window.
        ConfigError: `policy` cannot act, or the environment has observations or actions with which it did not learn.
        ResourceError: the results do not fit in memory.
    """
    check_call(evaluate, "episodes", misplaced, unknown_names, {"n_eval_episodes": "episodes", "env": "world"})
    episodes, seed = integer("episodes", episodes), integer("seed", seed, 0)
    say_line, remark = voices(say)
    actors, source = find_actors(policy, world, env_kwargs, which, "evaluate", say_line)
    if source.reward_wrappers:
        remark(f"returns are in the rewards of {', '.join(source.reward_wrappers)}, not in the environment's own")
    check_results("episodes", episodes, len(actors))
    with compiling_shown(progress):
        played = [play(actor, source, episodes, seed + i) for i, actor in enumerate(actors)]
    return Evaluation(*(np.concatenate(column) for column in zip(*played, strict=True)))
