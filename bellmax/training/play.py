"""NumPy and JAX. Play whole greedy episodes of a policy: in a model, in Gymnasium, or compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from bellmax.agent_config import AgentConfig
from bellmax.contracts import ArrayDict, BoolArray, EnvWarning, FloatArray, HostObs, IntArray, Masked, Space
from bellmax.dispatch import in_32_bits
from bellmax.envs.raising import closed_at_the_end
from bellmax.machine import check_fits
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.successors import successor_table
from bellmax.pictures.curve_svg import histogram_svg
from bellmax.pictures.html_card import html_card
from bellmax.sources import Source
from bellmax.stderr import warn
from bellmax.training.compiled_as_host import as_host
from bellmax.training.function_policy import Actor
from bellmax.training.policy import Policy
from bellmax.training.policy_values import network_function
from bellmax.waiting import compiling_first

if TYPE_CHECKING:
    from bellmax.contracts import Array
    from bellmax.envs.functional import World

EPISODE_BYTES = 100  # of an episode's result, and of its place in a model while it is played
STEP_CAP = 2_000  # for environments without a time limit: a greedy policy may go in circles forever
MOST_STATES = 4_096  # up to so many, a network values all states in one call
SEED_OFFSET = 1_000_000  # training seeds are below, so that evaluation never uses one


class Playable(Protocol):
    """Anything that values the actions of n environments, step by step."""

    def begin(self, n: int) -> object:
        """Return the carry of n environments in which an episode begins."""

    def look_from_zero(self, carry: object, obs: HostObs, /) -> tuple[np.ndarray, object]:
        """Return (values [n, A], carry) for observations whose integers count from 0."""


class Evaluation(NamedTuple):
    """Undiscounted returns and lengths (environment steps) of all episodes [E], seed after seed."""

    returns: FloatArray
    lengths: IntArray

    @property
    def mean_return(self) -> float:
        """The mean return; NaN without episodes."""
        return float(self.returns.mean()) if self.returns.size else float("nan")

    @property
    def mean_length(self) -> float:
        """The mean length; NaN without episodes."""
        return float(self.lengths.mean()) if self.lengths.size else float("nan")

    def __repr__(self) -> str:
        if not self.returns.size:
            return "Evaluation(no episodes)"
        low, high, spread = self.returns.min(), self.returns.max(), self.returns.std()
        return (
            f"Evaluation({self.returns.size} episodes: return {self.mean_return:.6g}, standard deviation {spread:.4g}, "
            f"{low:.6g} to {high:.6g}; length {self.mean_length:.6g})"
        )

    def _repr_html_(self) -> str:
        """Return the evaluation for a notebook: its numbers, and how often each return occurred."""
        if not self.returns.size:
            return html_card("Evaluation", [("episodes", 0)])
        low, high, spread = self.returns.min(), self.returns.max(), self.returns.std()
        rows = (
            ("episodes", f"{self.returns.size:,}"),
            ("mean return", f"{self.mean_return:.6g}"),
            ("standard deviation", f"{spread:.4g}"),
            ("range", f"{low:.6g} to {high:.6g}"),
            ("mean length", f"{self.mean_length:.6g} steps"),
        )
        return html_card("Evaluation", rows, histogram_svg(self.returns, x_label="return of an episode"))


def play(actor: Actor, source: Source, episodes: int, seed: int, stop: Callable[[], None] = lambda: None) -> Evaluation:
    """Play in the environment itself: in a model by its table, else in Gymnasium if it is there, else compiled.

    A function plays a compiled environment step by step. `stop()`, which may raise, is called between steps.
    """
    stop()
    if not isinstance(actor, Policy):
        return play_host(actor, as_host(source), episodes, seed, stop)
    if source.mdp is not None and plays_by_table(actor, source):
        return play_table(source.mdp, actor.table(), episodes, seed)
    by_hand = actor.config_is_tabular and ("low" in actor.arrays or isinstance(actor.space, Masked))
    if source.open is None and not by_hand:
        return play_compiled(actor, source, episodes, seed)
    return play_host(actor, source, episodes, seed, stop)


def check_results(name: str, asked: int, n_seeds: int, each: int = EPISODE_BYTES) -> None:
    """Check that results fit in memory, as many as `asked` by the argument `name` on each seed; by default of episodes.

    Raises:
        ResourceError: they do not; the message says how many do.
    """
    seeds = f" of each of {n_seeds} seeds" if n_seeds > 1 else ""
    check_fits(each * asked * n_seeds, f"{name}={asked}{seeds}", lambda share: f"{name}={int(share * asked)} fits")


def plays_by_table(actor: Actor, source: Source) -> bool:
    """Whether `play` uses the table of a model: for a policy without a memory cell whose states can be listed."""
    if not isinstance(actor, Policy) or not source.is_model or source.mdp is None:
        return False
    return getattr(actor.config, "recurrent", "none") == "none" and _is_listed(actor, source.mdp)


def _is_listed(actor: Policy, mdp: FiniteMDP) -> bool:
    """Whether there is a table of values, or few enough states to compute one."""
    return actor.config_is_tabular or mdp.n_states <= MOST_STATES


class TableStep(NamedTuple):
    """One step of the episodes in a model that are not over: their numbers, and for each what happened [n].

    `over` is where the episode terminated; the time limit is the last step.
    """

    playing: IntArray
    state: IntArray
    action: IntArray
    reward: FloatArray
    next_state: IntArray
    over: BoolArray


def play_table(mdp: FiniteMDP, q: npt.ArrayLike, episodes: int, seed: int) -> Evaluation:
    """Play greedily by `q [S, A]` in a model, all episodes side by side: as in `TabulatedEnv`, but much faster."""
    returns, lengths = np.zeros(episodes), np.full(episodes, mdp.max_episode_steps or STEP_CAP)
    for t, step in enumerate(table_steps(mdp, q, episodes, seed), 1):
        returns[step.playing] += step.reward
        lengths[step.playing[step.over]] = t
    return Evaluation(returns, lengths)


def table_steps(mdp: FiniteMDP, q: npt.ArrayLike, episodes: int, seed: int) -> Iterator[TableStep]:
    """Yield the steps of `play_table`."""
    table, generator = successor_table(mdp), np.random.default_rng(seed)
    action = np.argmax(np.where(mdp.allowed, q, -np.inf), axis=1)
    pair = np.arange(mdp.n_states) * mdp.n_actions + action
    playing, state = np.arange(episodes), generator.choice(mdp.n_states, episodes, p=mdp.start)
    for _ in range(mdp.max_episode_steps or STEP_CAP):
        row = pair[state]
        k = np.sum(generator.random(state.size)[:, None] >= table.cumulative[row], axis=1)
        reward, noise = table.reward[row, k], table.reward_std[row, k]
        if noise.any():
            reward = reward + noise * generator.standard_normal(state.size)
        over, next_state = table.continues[row, k] == 0.0, table.successor[row, k]
        yield TableStep(playing, state, action[state], reward, next_state, over)
        playing, state = playing[~over], next_state[~over]
        if not playing.size:
            return


def play_host(
    policy: Playable, source: Source, episodes: int, seed: int, stop: Callable[[], None] = lambda: None
) -> Evaluation:
    """Play in up to 32 host environments side by side, in rounds of one episode each.

    Each round ends with its last episode: using the first episodes that end would favor short ones. `stop()`, which may
    raise, is called before each step.
    """
    worlds = source.open_worlds(min(episodes, 32))
    worlds.use_masks(if_given=True)  # a policy that learned without masks also chooses only allowed actions
    n, cap = worlds.n, source.max_episode_steps or STEP_CAP
    returns: list[float] = []
    lengths: list[int] = []
    with closed_at_the_end(worlds):
        for first in range(0, episodes, n):
            total, length = np.zeros(n), np.zeros(n, np.int64)
            playing = np.arange(first, first + n) < episodes
            counted = playing.copy()
            obs, carry = worlds.reset(seed + first), policy.begin(n)
            while playing.any():
                stop()
                q, carry = policy.look_from_zero(carry, obs)  # what follows an episode is not counted
                step = worlds.step(np.argmax(q, axis=1))
                total += step.reward * playing
                length += playing
                cut = playing & step.begins & ~step.ended  # by a failure that is allowed
                counted &= ~cut
                playing &= ~(step.ended | cut | (length >= cap))
                obs = step.obs
            returns += total[counted].tolist()
            lengths += length[counted].tolist()
    if len(returns) < episodes:
        what = f"{episodes - len(returns)} of {episodes} evaluation episodes were cut short by a failure"
        warn(f"{source.name}: {what} and do not count", EnvWarning, stacklevel=2)
    return Evaluation(np.array(returns), np.array(lengths, np.int64))


@in_32_bits
def play_compiled(policy: Policy, source: Source, episodes: int, seed: int) -> Evaluation:
    """Play in the compiled environment, all episodes side by side."""
    import jax

    from bellmax.keys import make_key

    play = compiled_player(source.compile, policy.config, policy.space, policy.n_actions, episodes)
    returns, lengths = jax.device_get(play(policy.arrays, make_key(seed)))
    return Evaluation(np.asarray(returns, np.float64), np.asarray(lengths, np.int64))


@functools.lru_cache(maxsize=16)
def compiled_player(
    compile_: Callable[[], World[Any]], config: AgentConfig, space: Space, n_actions: int, episodes: int
) -> Callable[[ArrayDict, Array], tuple[Array, Array]]:
    """Return `play(arrays, key) -> (returns [E], lengths [E])`, compiled once per environment and kind of policy."""
    import jax
    import jax.numpy as jnp

    world = compile_()
    cap = world.max_episode_steps or STEP_CAP
    begin, look = network_function(config, space, n_actions)

    def play(arrays: ArrayDict, key: Array) -> tuple[Array, Array]:
        def step(carry: tuple[Any, ...]) -> tuple[Any, ...]:
            states, obs, returns, lengths, alive, key, memory = carry
            key, step_key = jax.random.split(key)
            q, memory = look(arrays, memory, obs)
            actions = jnp.argmax(q, axis=1).astype(jnp.int32)
            keys = jax.random.split(step_key, episodes)
            states, obs, reward, terminated, truncated = jax.vmap(world.step)(states, actions, keys)
            returns, lengths = returns + reward * alive, lengths + alive
            return states, obs, returns, lengths, alive & ~terminated & ~truncated & (lengths < cap), key, memory

        reset_key, key = jax.random.split(key)
        states, obs = jax.vmap(world.reset)(jax.random.split(reset_key, episodes))
        zeros = jnp.zeros(episodes)
        carry = (states, obs, zeros, zeros.astype(jnp.int32), jnp.ones(episodes, bool), key, begin(episodes))
        _, _, returns, lengths, *_ = jax.lax.while_loop(lambda c: c[4].any(), step, carry)
        return returns, lengths

    return compiling_first(jax.jit(play))
