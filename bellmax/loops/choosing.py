"""Plain Python. From an agent and a world to one of the six loops, which are imported when they are chosen."""

from __future__ import annotations

from typing import Any

from bellmax.agent_config import AgentConfig
from bellmax.catalog import is_tabular
from bellmax.contracts import ConfigError, Masked
from bellmax.files.dataset import Dataset
from bellmax.loops.loop import Loop
from bellmax.sources import Source

TABLE_GROUPS = 8  # many seeds of a table go in so many groups, each a thread's work; the same on every machine


def choose_loop(config: AgentConfig, source: Source, asked: str) -> tuple[str, str]:
    """("compiled" or "host", the reason in a few words).

    Raises:
        ConfigError: the loop that was asked for does not exist for this pair of agent and world.
    """
    model = source.mdp is not None
    possible = model or source.compiled is not None
    if is_tabular(config):
        from bellmax.loops.table_setup import is_compiled

        possible = is_compiled(source)
    if asked == "compiled" and not possible:
        raise ConfigError(
            f"loop='compiled' needs a transition table or a compiled twin, and {source.name} has none; "
            "use loop='host' or 'auto'"
        )
    if asked == "host":
        masks = ", with its action masks" if isinstance(source.space, Masked) else ""
        return "host", f"through Gymnasium, as asked: {source.name}{masks}"
    if possible:
        return "compiled", f"{source.name} has " + ("a transition table" if model else "a compiled twin")
    if source.open is None:
        return "host", f"a table steps {source.name} through Gymnasium"
    if isinstance(source.space, Masked):
        return "host", f"through Gymnasium, with the action masks of {source.name}"
    why = source.without_twin or f"{source.name} has no compiled twin"
    return "host", "; ".join([f"{why}: through Gymnasium", *source.notes])


def round_steps(config: AgentConfig, source: Source) -> int:
    """Environment steps of one round, in multiples of which a run goes."""
    if is_tabular(config):
        return source.fixed or 1
    return int(config.train_freq * config.num_envs)  # type: ignore[attr-defined]


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
        if kind == "compiled":
            from bellmax.loops.table_compiled import compiled_table_loop

            group = -(-n_seeds // TABLE_GROUPS)
            return compiled_table_loop(config, source, steps, group, n_seeds, episodes=episodes)
        from bellmax.loops.table_gymnasium import gymnasium_table_loop

        return gymnasium_table_loop(config, source, steps, n_seeds, episodes=episodes)
    from bellmax.loops.network_checks import check_memory, remark_images

    remark_images(config, source)
    check_memory(config, source, steps, n_seeds)
    if steps >= 2**31:
        raise ConfigError(f"steps={steps} is beyond the 32-bit clock of a network's run; stay below 2^31")
    if kind == "compiled":
        from bellmax.loops.network_compiled import compiled_network_loop

        return compiled_network_loop(config, source, steps, group)
    from bellmax.loops.network_gymnasium import gymnasium_network_loop

    return gymnasium_network_loop(config, source, steps)


def prepare_for_data(config: AgentConfig, source: Source, data: Dataset) -> Any:
    """The config as a loop that learns from data needs it.

    Raises:
        ConfigError: such an agent cannot learn from data, or they do not fit the environment; all of it in one message.
    """
    if is_tabular(config):
        from bellmax.loops.table_data import check_table_and_data

        return check_table_and_data(config, source, data)
    from bellmax.loops.network_data import config_for_data

    return config_for_data(config, source, data)


def make_data_loop(
    config: Any, source: Source, kind: str, steps: int, data: Dataset, group: int | None = None, *, n_seeds: int = 1
) -> Loop:
    """The loop for a run of `steps` updates from data on each of `n_seeds` seeds; `kind` is that of its evaluation.

    `config` and `data` are those that `prepare_for_data` has passed.

    Raises:
        ConfigError, ResourceError: it is too long, or would not fit in memory.
    """
    if is_tabular(config):
        from bellmax.loops.table_data import table_data_loop

        return table_data_loop(config, source, kind, steps, data, n_seeds)
    from bellmax.loops.network_data import network_data_loop

    return network_data_loop(config, source, kind, steps, data, group)
