"""All pairs of switches train on a small world to its known values, in both loops (most of them slow evidence).

The rows are a covering array: every value of every switch meets every value of every other one at least once.
"""

import itertools
from typing import Any

import gymnasium as gym
import jax
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import bellmax as bx
from bellmax.deep.building import make_experience
from bellmax.envs.probes import PROBES
from bellmax.loops.choosing import make_loop
from bellmax.mdp.model import FiniteMDP
from bellmax.replay.ring import row_codec
from bellmax.sources import find_world

GAMMA = 0.8


def world(masked: bool) -> FiniteMDP:
    """Two choices that pay at once, then two steps in which nothing can be chosen wrongly: n steps are unbiased.

    Where masked, the start has a third action; elsewhere it is missing, and would count as the last that is there.
    """
    first = [[(1.0, 1, 1.0, False)], [(0.5, 1, -1.0, False), (0.5, 2, -1.0, False)]]
    first += [[(1.0, 2, 0.5, False)]] if masked else []
    steps = [first, [[(1.0, 2, 0.0, False)]] * 2, [[(1.0, 3, 1.0, True)]] * 2, [[(1.0, 3, 0.0, True)]] * 2]
    return FiniteMDP.from_successors(steps, start=0)


HEADS = {
    "scalar": (bx.DQN, {}),
    "categorical": (bx.C51, {"v_min": -2.0, "v_max": 3.0, "n_atoms": 51}),
    "quantile": (bx.QRDQN, {"n_quantiles": 8}),
    "implicit": (bx.IQN, {"n_policy_samples": 16}),
    "ensemble": (bx.BootstrappedDQN, {"n_members": 3, "prior_scale": 1.0}),
}
TARGETS = {
    "max": {},
    "double": {"double": True},
    "munchausen": {"munchausen": True},
    "rescaled": {"value_rescaling": True},
}
MEMORIES = {"uniform": {}, "prioritized": {"prioritized": True}}
NETWORKS = {
    "plain": {},
    "dueling": {"dueling": True},
    "noisy": {"noisy": True},
    "spectral": {"normalization": "spectral"},
}
BEHAVIORS = {
    "epsilon-greedy": {"exploration_final_eps": 1.0},
    "boltzmann": {"exploration": "boltzmann", "temperature": 2.0},
    "ladder": {"exploration": "ladder", "num_envs": 4, "gradient_steps": 4, "exploration_final_eps": 1.0},
}
STEPS = {"n=1": {"n_steps": 1}, "n=3": {"n_steps": 3}}
MASKS = {"all allowed": False, "masked": True}
LOOPS = ("compiled", "host")
FACTORS = [
    list(HEADS),
    list(TARGETS),
    list(MEMORIES),
    list(NETWORKS),
    list(BEHAVIORS),
    list(STEPS),
    list(MASKS),
    LOOPS,
]


def possible(row: tuple[str, ...]) -> bool:
    return not ("ensemble" in row and "noisy" in row)


def covering_array() -> list[tuple[str, ...]]:
    """Greedily the row that covers most pairs still missing, until none is."""
    places = list(itertools.combinations(range(len(FACTORS)), 2))
    rows = [row for row in itertools.product(*FACTORS) if possible(row)]
    pairs = [{(i, j, row[i], row[j]) for i, j in places} for row in rows]
    missing, chosen = set.union(*pairs), []
    while missing:
        best = max(range(len(rows)), key=lambda k: len(pairs[k] & missing))
        missing -= pairs[best]
        chosen.append(rows[best])
    return chosen


ROWS = covering_array()


def test_every_pair_of_switches_is_there() -> None:
    for i, j in itertools.combinations(range(len(FACTORS)), 2):
        met = {(row[i], row[j]) for row in ROWS}
        wanted = {pair for pair in itertools.product(FACTORS[i], FACTORS[j]) if possible(pair)}
        assert met == wanted
    assert len(ROWS) < 40


def munchausen_values(mdp: FiniteMDP, n: int) -> np.ndarray:
    """The fixed point of the Munchausen operator by plain iteration. Vieillard et al. (2020), equation 1."""
    config = bx.MunchausenDQN()
    alpha, tau, clip = config.munchausen_alpha, config.munchausen_temperature, config.munchausen_clip
    q = np.where(mdp.allowed, 0.0, -np.inf)
    for _ in range(50):
        top = q.max(axis=1, keepdims=True)
        log_pi = q - top - tau * np.log(np.exp((q - top) / tau).sum(axis=1, keepdims=True))  # τ ln π
        pi = np.exp(log_pi / tau)
        gain = np.where(mdp.allowed, q, 0.0) - np.where(mdp.allowed, log_pi, 0.0)
        soft = (pi * gain).sum(axis=1)
        bonus = alpha * np.clip(np.where(mdp.allowed, log_pi, 0.0), clip, 0.0)
        new = np.full_like(q, -np.inf)
        for s, a in zip(*np.nonzero(mdp.allowed), strict=True):
            discount = 1.0
            total, probability = bonus[s, a] + mdp_reward(mdp, s, a), successors(mdp, {s: 1.0}, a)
            for _ in range(n - 1):  # later actions pay and lead alike, so the first stands for all
                discount *= GAMMA
                total += discount * sum(p * mdp_reward(mdp, t, 0) for t, p in probability.items())
                probability = successors(mdp, probability, 0)
            new[s, a] = total + discount * GAMMA * sum(p * soft[t] for t, p in probability.items())
        q = new
    return q


OUTCOMES = {True: world(True), False: world(False)}


def mdp_reward(mdp: FiniteMDP, s: int, a: int) -> float:
    rows = mdp.indptr[s * mdp.n_actions + a], mdp.indptr[s * mdp.n_actions + a + 1]
    return float(np.dot(mdp.probability[slice(*rows)], mdp.reward[slice(*rows)]))


def successors(mdp: FiniteMDP, states: dict[int, float], a: int) -> dict[int, float]:
    """Where an action leads from a distribution over states, without what has ended."""
    found: dict[int, float] = {}
    for s, weight in states.items():
        for k in range(mdp.indptr[s * mdp.n_actions + a], mdp.indptr[s * mdp.n_actions + a + 1]):
            if not mdp.terminated[k]:
                t = int(mdp.successor[k])
                found[t] = found.get(t, 0.0) + weight * float(mdp.probability[k])
    return found


def quick_rows() -> list[tuple[str, ...]]:
    """The first rows, until each value of each switch was met; all pairs of them are slow evidence."""
    met: set[tuple[int, str]] = set()
    for k, row in enumerate(ROWS):
        if met == {(i, value) for i, factor in enumerate(FACTORS) for value in factor}:
            return ROWS[:k]
        met |= set(enumerate(row))
    return ROWS


def kept_quick(cases: list, quick: int) -> list:
    """The cases as parameters, all but the first so many marked as slow."""
    return [pytest.param(*case, marks=[pytest.mark.slow] * (k >= quick)) for k, case in enumerate(cases)]


@pytest.mark.parametrize("row", kept_quick([(row,) for row in ROWS], len(quick_rows())), ids=lambda row: " ".join(row))
def test_every_combination_learns_the_known_values(row: tuple[str, ...]) -> None:
    head, target, memory, network, behavior, n, masks, loop = row
    mdp = OUTCOMES[MASKS[masks]]
    cls, options = HEADS[head]
    settings = {
        "gamma": GAMMA, "learning_rate": 5e-3, "learning_starts": 100, "buffer_size": 2_000, "batch_size": 32,
        "target_update_interval": 40, "net_arch": (32,), **options, **TARGETS[target], **MEMORIES[memory],
        **NETWORKS[network], **BEHAVIORS[behavior], **STEPS[n],
    }  # fmt: skip
    if (head, target) == ("categorical", "rescaled"):
        settings |= {"v_min": -1.0, "v_max": 1.5}
    run = bx.train(
        mdp, cls(**settings), steps=4_000, loop=loop, records=1, eval_episodes=0, final_episodes=0, seeds=[3]
    )
    truth = bx.solve(mdp, GAMMA).q
    if target == "munchausen":
        truth = munchausen_values(mdp, settings["n_steps"])
    learned = np.where(mdp.allowed, run.policy(3).table(), -np.inf)
    np.testing.assert_allclose(learned[:3], truth[:3], atol=0.12)


RECURRENT = [
    (bx.R2D2, {}),
    (bx.DQN, {"recurrent": "gru"}),
    (bx.C51, {"recurrent": "lstm", "v_min": -1.5, "v_max": 1.5, "prioritized": True, "n_steps": 2}),
    (bx.IQN, {"recurrent": "gru", "double": True, "n_policy_samples": 8}),
]


@pytest.mark.parametrize(("cls", "options"), kept_quick(RECURRENT, 1), ids=lambda x: getattr(x, "name", ""))
def test_a_memory_cell_remembers_the_cue(cls: type, options: dict[str, object]) -> None:
    settings = {
        "gamma": 0.9, "learning_rate": 3e-3, "learning_starts": 200, "buffer_size": 4_000, "batch_size": 16,
        "sequence_length": 6, "burn_in": 2, "num_envs": 4, "net_arch": (32,), "target_update_interval": 40,
        "exploration_final_eps": 0.3, **options,
    }  # fmt: skip
    run = bx.train("probe:recall", cls(**settings), steps=12_000, records=1, eval_episodes=0, final_episodes=200)
    assert run.scores == [1.0]


def test_without_a_memory_cell_the_cue_is_lost() -> None:
    run = bx.train("probe:recall", "dqn", steps=3_000, records=1, eval_episodes=0, final_episodes=400)
    assert abs(run.scores[0]) < 0.2


@pytest.mark.parametrize("head", [*HEADS][:1] + [pytest.param(head, marks=pytest.mark.slow) for head in [*HEADS][1:]])
def test_what_is_not_allowed_is_neither_taken_nor_valued(head: str) -> None:
    cls, options = HEADS[head]
    settings = {"gamma": 0.8, "learning_rate": 3e-3, "learning_starts": 100, "net_arch": (32,), **options}
    run = bx.train("probe:mask", cls(**settings), steps=5_000, records=1, eval_episodes=0, final_episodes=50)
    probe = PROBES["probe:mask"]()
    learned = run.policy(0).q_values(probe.observations)
    np.testing.assert_allclose(np.nanmax(learned, axis=1), probe.q(0.8).max(axis=1), atol=0.15)
    assert (np.isneginf(learned) == np.isneginf(probe.q(0.8))).all()
    assert run.scores == [1.0]


@pytest.mark.parametrize(
    "name",
    ["probe:mask", *(pytest.param(f"probe:{name}", marks=pytest.mark.slow)
                     for name in ("delay", "match", "termination", "autoreset"))],
)  # fmt: skip
def test_pqn_learns_the_values_of_the_probes(name: str) -> None:
    settings = {"gamma": 0.8, "learning_rate": 5e-3, "num_envs": 8, "train_freq": 8, "lambda_": 0.7}
    run = bx.train(
        name, bx.PQN(**settings, net_arch=(32,), exploration_final_eps=1.0), steps=24_000, records=1,
        eval_episodes=0, final_episodes=1,
    )  # fmt: skip
    probe = PROBES[name]()
    learned, truth = run.policy(0).q_values(probe.observations), probe.q(0.8)
    known = np.isfinite(truth)
    assert (np.isfinite(learned) == known).all()
    np.testing.assert_allclose(learned[known], truth[known], atol=0.12, err_msg=name)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP"])
def test_a_memory_cell_begins_anew_with_each_episode_of_a_vector_environment(mode: str, cell: str) -> None:
    def envs() -> SyncVectorEnv:
        return SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2, autoreset_mode=AutoresetMode[mode])

    source, config = (
        find_world(envs),
        bx.R2D2(recurrent=cell, num_envs=2, net_arch=(8,), learning_starts=5_000, buffer_size=800),
    )
    loop = make_loop(config, source, "host", 400)
    state = loop.start([0])
    state, _ = loop.advance(state, 0, 400)
    (_, kept), _, _ = state.block.result()
    loop.close(state)
    assert_cells_begin_anew(config, source, kept.ring)


def test_a_memory_cell_begins_anew_with_each_episode_of_a_compiled_world() -> None:
    source = find_world("CartPole-v1")
    config = bx.R2D2(recurrent="gru", num_envs=2, net_arch=(8,), learning_starts=5_000, buffer_size=800)
    loop = make_loop(config, source, "compiled", 400)
    state, _ = loop.advance(loop.start([0]), 0, 400)
    assert_cells_begin_anew(config, source, state.memory.ring)


def assert_cells_begin_anew(config: bx.R2D2, source: Any, ring: Any) -> None:
    """What the cell held before each step in the memory is blank where an episode began, and nowhere else."""
    _, unpack, _ = row_codec(make_experience(config, source.space))
    rows = jax.vmap(unpack)(ring.rows)
    for world in range(2):
        n = int(ring.size[world])
        over = np.asarray(rows.over)[world::2][:n]
        first = np.concatenate([[True], over[:-1] == 1])
        carry = np.concatenate([np.asarray(part)[world::2][:n] for part in jax.tree.leaves(rows.carry)], axis=1)
        assert over.sum() >= 3
        assert (carry[first] == 0).all()
        assert (carry[~first] != 0).any(axis=1).all()
