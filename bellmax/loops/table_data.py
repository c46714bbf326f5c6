"""NumPy. The loop of a table that learns from data: each step is one update with a transition drawn from the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bellmax.contracts import ArrayDict, ConfigError, Masked
from bellmax.files import checkpoint
from bellmax.files.dataset import Dataset
from bellmax.loops.experience import as_experience, find_data_problems
from bellmax.loops.logs import SeedLog, empty_log
from bellmax.loops.loop import Loop
from bellmax.loops.table_compiled import PIECE
from bellmax.loops.table_memory import check_room
from bellmax.loops.table_records import mean_error, read_state
from bellmax.loops.table_setup import Setup, set_up, snapshot
from bellmax.sources import Source
from bellmax.spaces import visible
from bellmax.tabular import stepping
from bellmax.tabular.agent import Shape, TabularConfig, build_rates
from bellmax.tabular.own_kernels import FAILURES, explain_failure, make_table_agent
from bellmax.tabular.representation import MaskedTiles, Tiles
from bellmax.tabular.tiles import encode
from bellmax.waiting import compiling_first

ON_POLICY = ("expected-sarsa",)  # besides those that look ahead or follow an episode
CAN = "q-learning, double-q, speedy-q, dyna-q, prioritized-sweeping, r-max or delayed-q"


def check_table_and_data(config: TabularConfig, source: Source, data: Dataset) -> TabularConfig:
    """Check that an agent can learn from a data set, and return its config.

    Raises:
        ConfigError: it learns the values of the policy that acts, or follows whole episodes; or the data do not fit the
            environment; one message reports everything.
    """
    agent, data = make_table_agent(config, Shape(2, source.n_actions)), as_seen(source, data)
    problems = []
    if agent.look_ahead or config.name in ON_POLICY:
        off = config.name in ("tree-backup", "q-sigma", "watkins-q", "peng-q")
        why = "needs the steps after its own actions" if off else "is on-policy"
        problems.append(f"{config.name} {why} and cannot learn from a data set; use {CAN}")
    elif agent.episodic:
        problems.append(f"{config.name} follows whole episodes, and data are drawn step by step; use {CAN}")
    problems += find_data_problems(data, source.space, source.n_actions)
    if not problems and source.mdp is not None:
        lacking = ~source.mdp.allowed[np.asarray(data.obs, np.int64), np.asarray(data.action, np.int64)]
        if lacking.any():
            row = int(np.argmax(lacking))
            problems.append(f"row {row}: action is {data.action[row]}, which state {data.obs[row]} does not have")
    if problems:
        raise ConfigError("; ".join(problems))
    return config


def table_data_loop(
    config: TabularConfig, source: Source, kind: str, steps: int, data: Dataset, n_seeds: int = 1
) -> Loop[stepping.TabularState]:
    """Return the loop of a table for `steps` updates on each seed; `kind` is that of its evaluation.

    `check_table_and_data` has checked `config` and `data`.

    Raises:
        ResourceError: the tables of all seeds do not fit in memory.
    """
    setup = set_up(config, source)
    check_room(config, setup.shape, source.name, n_seeds, setup.masked)
    agent = setup.agent
    learner = agent.learner(build_rates(config, steps))
    data = as_seen(source, data)
    rows, learn = read_rows(setup, source, data), compiling_first(stepping.learn_from_data)

    def start(seeds: Sequence[int]) -> stepping.TabularState:
        (seed,) = seeds
        state = setup.init(config, seed)
        if not isinstance(state.q, Tiles | MaskedTiles):
            return state
        seen = np.concatenate([encode(setup.coder, visible(part)) for part in (data.obs, data.next_obs)])  # type: ignore[arg-type]
        q = state.q._replace(active=seen)
        if isinstance(q, MaskedTiles):
            q = q._replace(allowed=np.concatenate([rows.masks[0], rows.masks[1]]))
        return state._replace(q=q, memory=agent.memory(q))

    def go(
        state: stepping.TabularState, t: int, n: int, pause: Callable[[], bool]
    ) -> tuple[stepping.TabularState, list[SeedLog], int]:
        del t  # the clock is in the state
        done = 0
        while done < n:
            size = min(PIECE, n - done)
            try:
                learn(learner, state, rows, size)
            except FAILURES as error:
                raise explain_failure(learner.update, config, error) from error
            done += size
            if pause():
                break
        return state, [empty_log()], done

    def measure(state: stepping.TabularState, rows: Sequence[ArrayDict], n: int) -> list[dict[str, float]]:
        return [{"train/td_error": mean_error(state)}]

    def forget(state: stepping.TabularState) -> None:
        state.error[:] = 0.0

    def restore(seeds: Sequence[int], arrays: ArrayDict, step: int = 0) -> stepping.TabularState:
        return read_state(start(seeds), arrays)

    return Loop(
        kind, 1, 1, True, start, go, measure, lambda state: [snapshot(state, setup)], checkpoint.to_arrays, restore,
        lambda state: None, forget=forget,
    )  # fmt: skip


def as_seen(source: Source, data: Dataset) -> Dataset:
    """Return the data as the table needs them: without masks if it knows which actions each state of a model has."""
    if isinstance(data.obs, Masked) and not isinstance(source.space, Masked):
        return data._replace(obs=visible(data.obs), next_obs=visible(data.next_obs))
    return data


def read_rows(setup: Setup, source: Source, data: Dataset) -> stepping.Batch:
    """Return the n transitions of the data for the kernel, with masks [2, n, A] of their two observations."""
    whole = as_experience(data, source.space, 1.0)
    step, n = whole.transition, data.steps
    masks = np.zeros((2, 0, 0), np.bool_)
    if isinstance(step.obs, Masked) and isinstance(step.next_obs, Masked):
        masks = np.stack([step.obs.mask, step.next_obs.mask])
        masks[1][~masks[1].any(axis=1)] = True  # terminal states
    obs, next_obs = visible(step.obs), visible(step.next_obs)
    action = np.asarray(step.action, np.int64)
    if setup.order is not None:  # the columns of the table are in an order of their own
        action = np.argsort(setup.order, axis=1)[obs, action]
    if setup.coder is None:
        obs, next_obs = np.asarray(obs, np.int64), np.asarray(next_obs, np.int64)
    elif setup.coder.tilings == 1:
        obs, next_obs = encode(setup.coder, obs)[:, 0], encode(setup.coder, next_obs)[:, 0]
    else:  # slots, in which `start` stores the tiles
        obs, next_obs = np.arange(n), np.arange(n, 2 * n)
    over = np.asarray(whole.over) > 0
    reward, continues = (np.asarray(part, np.float64) for part in (step.reward, step.discount))
    return stepping.Batch(obs, action, reward, continues, over, next_obs, masks)
