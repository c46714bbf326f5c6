"""NumPy. The metrics of the loops of tables, and how they read the state in a checkpoint."""

from __future__ import annotations

from bellmax.contracts import ArrayDict, EnvContractError
from bellmax.files import checkpoint
from bellmax.tabular import stepping
from bellmax.tabular.agent import TabularConfig
from bellmax.tabular.representation import sizes_of
from bellmax.tabular.soundness import check_state

LONGEST_EPISODE = 10**7  # environment steps; in a run of so many episodes, a longer one is an error


def read_state(fresh: stepping.TabularState, arrays: ArrayDict) -> stepping.TabularState:
    """Return the state in a checkpoint's arrays, for a run whose state before its first step is `fresh`.

    Raises:
        IncompatibleCheckpoint: it is of another agent or environment.
        CorruptCheckpoint: it is not a valid state: kernels would read and write outside of their arrays.
    """
    state = checkpoint.from_arrays(fresh, arrays, "checkpoint")
    check_state(state, fresh, sizes_of(fresh.q), "checkpoint")
    return state


def explored(config: TabularConfig, state: stepping.TabularState, steps: int, episodes: bool) -> dict[str, float]:
    """Return the metrics of a seed's own clock: ε if it falls per episode, steps if the run counts episodes."""
    own = {}
    if config.exploration_schedule == "per-episode":
        own["rollout/exploration_rate"] = float(config.epsilon(int(state.clock.ended[0]), steps))
    if episodes:
        own["time/total_timesteps"] = float(state.clock.time[0])
    return own


def mean_error(state: stepping.TabularState) -> float:
    """Return the mean absolute TD error of the environment steps since the last record."""
    return float(state.error[0]) / max(int(state.error[1]), 1)


def check_end(name: str, state: stepping.TabularState, length: int) -> None:
    """Check that an episode ends.

    Raises:
        EnvContractError: it has lasted `LONGEST_EPISODE` steps.
    """
    if length >= LONGEST_EPISODE:
        raise EnvContractError(
            f"{name}: episode {state.clock.ended[0] + 1:,} has lasted {length:,} steps and has not ended; give "
            "it a time limit, such as env_kwargs={'max_episode_steps': 1000}, or steps in place of episodes"
        )
