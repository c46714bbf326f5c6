"""NumPy. Random models without structure: Garnets."""

from __future__ import annotations

import numpy as np

from bellmax.contracts import ConfigError, IntArray
from bellmax.mdp.gallery.assembling import IN_ARRAYS, check_outcomes, world
from bellmax.mdp.model import FiniteMDP


@world
def random_garnet(
    n_states: int = 30, n_actions: int = 4, branching: int = 2, seed: int = 0, termination: float = 0.0
) -> FiniteMDP:
    """A Garnet, "generic average reward non-stationary environment testbed" (Archibald et al., 1995).

    ::

        s --a--> .-- P(s1 | s, a) --> s1     `branching` different successors of each pair, drawn uniformly
                 '-- P(s2 | s, a) --> s2     reward of the pair from N(0, 1)

    Each pair has `branching` different successors, drawn uniformly; their probabilities are the gaps between
    `branching - 1` uniform cuts of [0, 1]; its reward is drawn from N(0, 1). Each step ends the episode with
    probability `termination`, wherever it leads. The start is uniform over the states.

    Source: Archibald, McKinnon and Thomas (1995), On the generation of Markov decision processes, JORS 46.
    Raises ConfigError unless 1 <= branching <= n_states, n_actions >= 1 and 0 <= termination <= 1.
    """
    if n_states < 1 or n_actions < 1:
        raise ConfigError(f"n_states={n_states} and n_actions={n_actions} must be at least 1")
    if not 1 <= branching <= n_states:
        raise ConfigError(f"branching={branching} is outside 1 to n_states={n_states}")
    if not 0 <= termination <= 1:
        raise ConfigError(f"termination={termination} is not a probability")
    check_outcomes("n_states", n_states, n_states * n_actions * branching, each=IN_ARRAYS)
    rng = np.random.default_rng(seed)
    n_pairs = n_states * n_actions
    successor = _different_states(rng, n_pairs, n_states, branching)
    cuts = np.sort(rng.random((n_pairs, branching - 1)), axis=1)
    probability = np.diff(cuts, axis=1, prepend=0.0, append=1.0)
    ends = [end for end, share in ((False, 1 - termination), (True, termination)) if share > 0]
    mass = np.stack([probability * (termination if end else 1 - termination) for end in ends], axis=-1)
    width = branching * len(ends)
    return FiniteMDP.from_entries(
        n_states,
        n_actions,
        pair=np.repeat(np.arange(n_pairs), width),
        successor=np.repeat(successor.ravel(), len(ends)),
        probability=mass.ravel(),
        reward=np.repeat(rng.standard_normal(n_pairs), width),
        terminated=np.tile(ends, n_pairs * branching),
        start=np.full(n_states, 1 / n_states),
        name="garnet",
    )


def _different_states(rng: np.random.Generator, n_rows: int, n_states: int, n: int) -> IntArray:
    """[n_rows, n]: each row a uniform n-subset of the states. Floyd's algorithm, all rows at a time."""
    chosen = np.full((n_rows, n), -1, np.int64)
    for i, largest in enumerate(range(n_states - n, n_states)):
        draw = rng.integers(0, largest + 1, n_rows)
        taken = (chosen == draw[:, None]).any(axis=1)
        chosen[:, i] = np.where(taken, largest, draw)
    return np.sort(chosen, axis=1)
