"""Plain Python. Choose one of the six loops for an agent and an environment; only the chosen one is imported."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

from bellmax.agent_config import AgentConfig
from bellmax.catalog import is_deep, is_tabular
from bellmax.contracts import ConfigError, Masked
from bellmax.files.dataset import Dataset
from bellmax.loops.loop import Loop
from bellmax.sources import Source
from bellmax.waiting import compiling

LoopKind: TypeAlias = Literal["auto", "compiled", "host"]
LOOPS: tuple[str, ...] = get_args(LoopKind)
TABLE_GROUPS = 8  # groups for the seeds of a table, each for one thread; the same number on every machine


def choose_loop(config: AgentConfig, source: Source, asked: str) -> tuple[str, str]:
    """Return ("compiled" or "host", the reason in a few words).

    Raises:
        ConfigError: there is no loop of the kind `asked` for this pair of agent and environment.
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


def check_resumable(config: AgentConfig, source: Source) -> None:
    """Check that a saved state of an agent can be read again; raises ConfigError if not."""
    if is_tabular(config):
        from bellmax.loops.table_setup import check_declared

        check_declared(config, source.n_actions)


def round_steps(config: AgentConfig, source: Source) -> int:
    """Return the environment steps of one round; a run takes whole rounds."""
    return config.train_freq * config.num_envs if is_deep(config) else source.fixed or 1


@compiling()
def make_loop(
    config: AgentConfig, source: Source, kind: str, steps: int, group: int | None = None, *, n_seeds: int = 1,
    episodes: bool = False, uneven: bool = False,
) -> Loop[Any]:  # fmt: skip
    """Return a loop for `steps` environment steps (with `episodes`: episodes) on each of `n_seeds` seeds.

    With `uneven`, its chunks have many different lengths.

    Raises:
        ConfigError, ResourceError: the agent cannot learn in this environment, or does not fit in memory.
    """
    if source.fixed is not None and is_deep(config) and config.num_envs != source.fixed:
        raise ConfigError(f"{source.name} has {source.fixed} environments side by side; use num_envs={source.fixed}")
    if is_tabular(config):
        if kind == "compiled":
            from bellmax.loops.table_compiled import compiled_table_loop

            group = -(-n_seeds // TABLE_GROUPS)
            return compiled_table_loop(config, source, steps, group, n_seeds, episodes=episodes)
        from bellmax.loops.table_gymnasium import gymnasium_table_loop

        return gymnasium_table_loop(config, source, steps, n_seeds, episodes=episodes)
    assert is_deep(config)  # noqa: S101 - there are two families
    from bellmax.loops.network_checks import check_memory, remark_images

    remark_images(config, source)
    check_memory(config, source, steps, n_seeds)
    if steps >= 2**31:
        raise ConfigError(f"steps={steps} exceeds the 32-bit clock of networks; use less than 2^31")
    if kind == "compiled":
        from bellmax.loops.network_compiled import compiled_network_loop

        return compiled_network_loop(config, source, steps, group, uneven=uneven)
    from bellmax.loops.network_gymnasium import gymnasium_network_loop

    return gymnasium_network_loop(config, source, steps)


def prepare_for_data(config: AgentConfig, source: Source, data: Dataset) -> AgentConfig:
    """Return the config as a loop that learns from data needs it.

    Raises:
        ConfigError: such an agent cannot learn from data, or the data do not fit the environment; one message reports
            everything.
    """
    if is_tabular(config):
        from bellmax.loops.table_data import check_table_and_data

        return check_table_and_data(config, source, data)
    from bellmax.loops.network_data import config_for_data

    return config_for_data(config, source, data)


@compiling()
def make_data_loop(
    config: AgentConfig, source: Source, kind: str, steps: int, data: Dataset, group: int | None = None, *,
    n_seeds: int = 1, uneven: bool = False,
) -> Loop[Any]:  # fmt: skip
    """Return a loop for `steps` updates from data on each of `n_seeds` seeds; `kind` is that of its evaluation.

    `config` is the result of `prepare_for_data`, which has checked `data`; `uneven` as in `make_loop`.

    Raises:
        ConfigError, ResourceError: the run is too long, or does not fit in memory.
    """
    if is_tabular(config):
        from bellmax.loops.table_data import table_data_loop

        return table_data_loop(config, source, kind, steps, data, n_seeds)
    assert is_deep(config)  # noqa: S101 - there are two families
    from bellmax.loops.network_data import network_data_loop

    return network_data_loop(config, source, kind, steps, data, group, uneven=uneven)
