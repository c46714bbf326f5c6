"""NumPy and JAX. From an agent and a world to a `Loop`; that of a network over a compiled world is here."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bellmax.agent_config import AgentConfig, is_tabular
from bellmax.contracts import ConfigError, EnvWarning, Masked, ResourceError
from bellmax.dispatch import in_32_bits
from bellmax.files import checkpoint
from bellmax.loops.loop import Loop, guarded, mean_metrics
from bellmax.loops.parts import Episodes, Part, join
from bellmax.machine import free_bytes
from bellmax.sources import Source
from bellmax.spaces import visible
from bellmax.stderr import warn

COPIES = 6  # of a network's parameters: their frozen copy, average, gradient and the optimiser's two moments, at most
TABLE_GROUPS = 8  # many seeds of a table go in so many groups, each a thread's work; the same on every machine


def choose_loop(config: AgentConfig, source: Source, asked: str) -> tuple[str, str]:
    """("compiled" or "host", the reason in a few words).

    Raises:
        ConfigError: the loop that was asked for does not exist for this pair of agent and world.
    """
    model = source.mdp is not None
    possible = model or source.compiled is not None
    if is_tabular(config):
        from bellmax.loops import table_gymnasium

        possible = table_gymnasium.is_compiled(source)
    if asked == "host" and source.open is None:
        raise ConfigError(f"{source.name} exists only as a compiled world; use loop='compiled' or 'auto'")
    if asked == "compiled" and not possible:
        raise ConfigError(
            f"loop='compiled' needs a transition table or a compiled twin, which {source.name} has not; "
            "use loop='host' or 'auto'"
        )
    if asked == "host":
        masks = ", with its action masks" if isinstance(source.space, Masked) else ""
        return "host", f"through Gymnasium, as asked: {source.name}{masks}"
    if possible:
        return "compiled", f"{source.name} has " + ("a transition table" if model else "a compiled twin")
    if source.open is None:
        raise ConfigError(f"{config.name} keeps a table, and {source.name} is a world for networks; use dqn")
    if isinstance(source.space, Masked):
        return "host", f"through Gymnasium, with the action masks of {source.name}"
    why = source.without_twin or f"{source.name} has no compiled twin"
    return "host", "; ".join([f"{why}: through Gymnasium", *source.notes])


def stride(config: AgentConfig, source: Source) -> int:
    """Environment steps of one round, in multiples of which a run goes."""
    if is_tabular(config):
        return source.fixed or 1
    return int(config.train_freq * config.num_envs)  # type: ignore[attr-defined]


@in_32_bits
def check_memory(config: Any, source: Source, steps: int, n_seeds: int) -> None:
    """Compare the bytes of the networks and replay memories of all seeds with those that are free, before allocating.

    Raises:
        ResourceError: they do not fit; the message names a buffer_size that does.
    """
    import jax

    from bellmax.deep.building import module_shapes
    from bellmax.networks.packing import to_named

    free, seeds = free_bytes(), f" of each of {n_seeds} seeds" if n_seeds > 1 else ""
    if free is None:
        return
    network = module_shapes(config, source.space, source.n_actions)
    n_parameters = sum(leaf.size for leaf in to_named(network).values())
    needed = n_seeds * n_parameters * COPIES * 4
    if needed > 0.8 * free:
        raise ResourceError(
            f"a network of {n_parameters:,} parameters{seeds}, its copies and its optimiser need {needed / 1e9:.1f} GB "
            f"for observations of {source.space}, {free / 1e9:.1f} GB are free; give a smaller net_arch, or fewer "
            "seeds, or a table of values: agent q-learning"
        )
    if not hasattr(config, "buffer_size"):
        return
    leaves = jax.tree.leaves(jax.eval_shape(config.make(source.space, source.n_actions, steps).memory.init))
    needed = n_seeds * sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    if needed > 0.8 * free:
        raise ResourceError(
            f"buffer_size={config.buffer_size}{seeds} needs {needed / 1e9:.1f} GB for observations of "
            f"{source.space}, {free / 1e9:.1f} GB are free; "
            f"buffer_size={int(0.5 * free * config.buffer_size / needed)} fits"
        )


def remark_images(config: Any, source: Source) -> None:
    """Say what a network makes of observations that could be images, where that may not be what is meant."""
    from bellmax.networks.images import remark_far, remarks

    seen, normalized = visible(source.space), config.normalize_observations
    for text in remarks(seen, normalized) + remark_far(seen, source.wide_bounds or source.bounds, normalized):
        warn(f"{source.name}: {text}", EnvWarning)


def make_loop(
    config: AgentConfig, source: Source, kind: str, steps: int, group: int | None = None, *, n_seeds: int = 1,
    episodes: bool = False,
) -> Loop:  # fmt: skip
    """The loop of one kind for a run of `steps` environment steps, or so many `episodes`, on each of `n_seeds` seeds.

    Raises:
        ConfigError, ResourceError: the agent cannot learn in this world, or would not fit in memory.
    """
    if source.fixed not in (None, getattr(config, "num_envs", source.fixed)):
        raise ConfigError(f"{source.name} is {source.fixed} worlds side by side; give num_envs={source.fixed}")
    if is_tabular(config):
        from bellmax.loops import table_gymnasium

        if kind == "compiled":
            group = -(-n_seeds // TABLE_GROUPS)
            return table_gymnasium.compiled_loop(config, source, steps, group, n_seeds, episodes=episodes)
        return table_gymnasium.host_loop(config, source, steps, n_seeds, episodes=episodes)
    from bellmax.loops import network_gymnasium

    remark_images(config, source)
    check_memory(config, source, steps, n_seeds)
    if steps >= 2**31:
        raise ConfigError(f"steps={steps} is beyond the 32-bit clock of a network's run; stay below 2^31")
    return (
        deep_loop(config, source, steps, group)
        if kind == "compiled"
        else network_gymnasium.deep_loop(config, source, steps)
    )


@in_32_bits
def deep_loop(config: Any, source: Source, steps: int, group: int | None = None) -> Loop:
    """A network over a compiled world, all in one `scan`.

    `group` seeds are stacked by `vmap`; by default one on a CPU, where threads fill the cores and stacking made
    each seed slower (measured: 10,000 steps/s for four stacked seeds, 15,000 for one), and all elsewhere.
    """
    import jax
    import jax.numpy as jnp

    from bellmax.keys import make_key
    from bellmax.loops import network_rounds
    from bellmax.loops.experience import from_memory

    world = source.compile()
    agent = config.make(world.observation_space, world.n_actions, steps)
    stride_ = stride(config, source)
    if group is None:
        group = 1 if jax.default_backend() == "cpu" else sys.maxsize

    begin = jax.jit(functools.partial(network_rounds.start, world, agent, config))

    @functools.cache
    def chunk(rounds: int, stacked: bool) -> Any:
        return network_rounds.make_chunk(world, agent, config, rounds, stacked)

    def start(seeds: Sequence[int]) -> Any:
        states = [begin(make_key(seed)) for seed in seeds]
        stacked = states[0] if len(states) == 1 else jax.tree.map(lambda *x: jnp.stack(x), *states)
        return jax.tree.map(jnp.copy, stacked)  # a buffer in two places could not be overwritten in both

    def unstack(state: Any) -> list[Any]:
        n = state.key.shape[0] if state.key.ndim else 0
        return [jax.tree.map(lambda x, i=i: x[i], state) for i in range(n)] if n else [state]

    most = piece_rounds(config, world.observation_space, world.n_actions, stride_)

    def go(state: Any, t: int, n: int, pause: Callable[[], bool]) -> tuple[Any, list[Part], int]:
        stacked, told, done = state.key.ndim > 0, [], 0
        for rounds in pieces(n // stride_, most):
            state, records = chunk(rounds, stacked)(state, jnp.int32(t + done))
            told.append(jax.device_get(records))
            done += rounds * stride_
            if pause():
                break
        each = [told] if not stacked else [
            [jax.tree.map(lambda x, i=i: x[i], records) for records in told] for i in range(state.key.shape[0])
        ]  # fmt: skip
        return state, [join(*(read_records(*records) for records in one)) for one in each], done

    def snapshot(state: Any) -> list[dict[str, Any]]:
        return [agent.parameters(one.learner) for one in unstack(state)]

    def restore(seeds: Sequence[int], arrays: dict[str, Any], step: int = 0) -> Any:
        del step  # its random numbers follow from the clock
        return checkpoint.from_arrays(start(seeds), arrays, "checkpoint")

    def experience(state: Any) -> list[Any]:
        return [from_memory(config, agent, source.space, one.memory) for one in unstack(state)]

    return guarded(
        Loop(
            "compiled", stride_, group, True, start, go, measure_rows, snapshot, checkpoint.to_arrays, restore,
            lambda state: None, experience,
        )
    )  # fmt: skip


def measure_rows(state: Any, rows: Sequence[dict[str, Any]], steps: int) -> list[dict[str, float]]:
    """The metrics of each seed over the rounds of a chunk."""
    del state, steps
    return [mean_metrics(each) for each in rows]


def piece_rounds(config: Any, space: Any, n_actions: int, stride: int) -> int:
    """Rounds of a compiled network in one call, which nothing can interrupt: about a second, by a rough count of work.

    Measured on 2 cores: a call costs about 0.2 ms, so that pieces of 50 ms and more cost nothing that is noticed.
    """
    from bellmax.deep.building import module_shapes
    from bellmax.networks.images import image_of
    from bellmax.networks.packing import to_named
    from bellmax.spaces import leaves_of

    network = module_shapes(config, space, n_actions)
    weights = sum(leaf.size for leaf in to_named(network).values())
    used = 32 if any(map(image_of, leaves_of(space))) else 1  # a kernel's weights are used at many places
    batch = getattr(config, "batch_size", stride) * config.gradient_steps
    return max(1, min(2_048, 16_384 // stride, int(2e9 / (weights * used * batch))))


def pieces(rounds: int, most: int) -> list[int]:
    """`rounds` in pieces of at most `most`, equal if they can be: each length is one program to compile."""
    if rounds <= most:
        return [rounds] if rounds > 0 else []
    size = next((size for size in range(most, max(1, most // 2) - 1, -1) if rounds % size == 0), most)
    return [size] * (rounds // size) + [rounds % size] * (rounds % size > 0)


def read_records(record: Any, metrics: dict[str, Any]) -> Part:
    """The part of one seed from the arrays that its `scan` put out."""
    ended = record.ended.ravel()
    episodes = Episodes(
        record.episode_return.ravel()[ended].astype(np.float64),
        record.episode_length.ravel()[ended].astype(np.int64),
    )
    return Part(episodes, {name: np.asarray(row) for name, row in metrics.items()})
