"""Same seed, same machine, same bits: whatever stands beside a seed, and wherever its run was recorded or cut."""

import functools
import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bellmax as bx
from bellmax.loops import stopping
from bellmax.solving import many
from bellmax.training import saved_runs, trainer

SMALL = {"learning_starts": 50, "buffer_size": 300, "batch_size": 8, "net_arch": (8,)}
QUICK: dict[str, Any] = {"steps": 600, "records": 6, "eval_episodes": 2, "final_episodes": 2, "progress": False}
FAMILIES: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "table, compiled": ("FrozenLake8x8-v1", "q-learning", {"loop": "compiled"}),
    "table, host": ("FrozenLake-v1", "double-q", {"loop": "host"}),
    "planner": ("CliffWalking-v1", "prioritized-sweeping", {"loop": "compiled"}),
    "tiles, compiled": ("MountainCar-v0", "sarsa-lambda", {"loop": "compiled", "tilings": 4}),
    "tiles, host": ("CartPole-v1", "expected-sarsa", {"loop": "host", "tilings": 4}),
    "table from data": ("CliffWalking-v1", "q-learning", {"data": None}),
    "dqn, compiled": ("FrozenLake-v1", "dqn", {"loop": "compiled", **SMALL}),
    "dqn, host": ("CartPole-v1", "dqn", {"loop": "host", "num_envs": 2, **SMALL}),
    "rainbow": ("CartPole-v1", "rainbow", {"loop": "compiled", **SMALL}),
    "pqn": ("CartPole-v1", "pqn", {"loop": "compiled", "net_arch": (8,), "num_envs": 4, "train_freq": 5}),
    "r2d2": ("CartPole-v1", "r2d2", {"loop": "host", **SMALL, "num_envs": 2, "learning_starts": 200}),
    "bootstrapped": ("CartPole-v1", "bootstrapped-dqn", {"loop": "compiled", **SMALL}),
    "dqn from data": ("FrozenLake-v1", "cql", {"data": None, "batch_size": 8, "net_arch": (8,)}),
}


def data() -> bx.Dataset:
    """Random steps in an environment with 16 or more states and 4 actions."""
    draw = np.random.default_rng(0)
    states, n = draw.integers(0, 16, 401), 400
    return bx.Dataset(
        states[:-1], draw.integers(0, 4, n), draw.normal(size=n).astype(np.float32), np.zeros(n, bool),
        np.arange(n) % 20 == 19, states[1:],
    )  # fmt: skip


def train(family: str, seeds: list[int], **options: Any) -> bx.Run:
    world, agent, settings = FAMILIES[family]
    if "data" in settings:
        settings = settings | {"data": data()}
    return bx.train(world, agent, seeds=seeds, **{**QUICK, **settings, **options})


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.asarray(array).tobytes() for array in arrays)).hexdigest()[:12]


def bits(run: bx.Run, seed: int, steps: tuple[int, ...] | None = None) -> dict[str, str]:
    """Hashes of everything that a seed has; `steps`: only what does not depend on the length of chunks, at these."""
    i, policies = run.seeds.index(seed), {which: run.policy(seed, which) for which in ("final", "best")}
    at = [run.history.step.index(step) for step in steps or run.history.step]
    found = {
        "final": digest(*(array for _, array in sorted(policies["final"].arrays.items()))),
        "episodes": digest(*run.episodes[i]) if run.episodes else "",
        "score": repr(run.scores[i]),
        "returns": digest(run.evaluations[i].returns),
    }
    for name in run.history.columns:
        if not name.startswith(("time/", "system/")) and (steps is None or name.startswith(("exact/", "eval/"))):
            found[name] = digest(run.history[name][i, at])
    if steps is None:
        found["best"] = digest(*(array for _, array in sorted(policies["best"].arrays.items())))
        found["visits"] = "" if run.visits is None else digest(run.visits[:, i])
    return found


@functools.cache
def usual_bits(family: str) -> dict[str, str]:
    """Those of seed 3 beside one other seed."""
    return bits(train(family, [0, 3]), 3)


@contextmanager
def noise() -> Iterator[None]:
    """Another run, and draws from the random states of the process, beside."""
    over = threading.Event()

    def draw() -> None:
        seed = 0
        while not over.is_set():
            random.seed(seed)
            np.random.seed(seed)
            bx.train("corridor", "sarsa", steps=500, seeds=[seed, 10**5], records=2, progress=False)
            seed += 1

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class CutError(Exception):
    """Stands for the power that goes out."""


def resumed(family: str, folder: Path, patch: pytest.MonkeyPatch) -> bx.Run:
    """A run that was saved at every pause, even in the middle of chunks, and lost its process after some saves."""
    saves, save = 0, saved_runs.save_run

    def save_and_stop(*parts: Any, **how: Any) -> None:
        nonlocal saves
        saves += 1
        if saves <= 4:
            save(*parts, **how)
        if saves >= 4:  # what is saved after the fourth is lost
            raise CutError

    with patch.context() as cut:
        cut.setattr(trainer, "SAVE_SECONDS", -1.0)
        cut.setattr(stopping, "SLICE", -1.0)
        cut.setattr("bellmax.loops.table_compiled.PIECE", 37)
        cut.setattr("bellmax.loops.network_compiled.piece_rounds", lambda *parts: 37)
        cut.setattr(saved_runs, "save_run", save_and_stop)
        with pytest.raises(CutError):
            train(family, [0, 3], out=folder)
    return bx.resume(folder, data=data() if "data" in FAMILIES[family][2] else None, progress=False)


def alone(family: str, folder: Path, patch: pytest.MonkeyPatch) -> bx.Run:
    return train(family, [3])


def among_ten(family: str, folder: Path, patch: pytest.MonkeyPatch) -> bx.Run:
    return train(family, [7, 3, 9, 1, 2, 0, 4, 5, 6, 8])


def beside_others(family: str, folder: Path, patch: pytest.MonkeyPatch) -> bx.Run:
    with noise():
        return train(family, [0, 3], out=folder)


WAYS: dict[str, Callable[[str, Path, pytest.MonkeyPatch], bx.Run]] = {
    "alone": alone,
    "among ten": among_ten,
    "beside others": beside_others,
    "resumed": resumed,
}


TABLES = [family for family, (_, _, settings) in FAMILIES.items() if "net_arch" not in settings]
PAIRS = [(family, way) for family in FAMILIES for way in WAYS if family in TABLES or way in ("alone", "resumed")]


@pytest.mark.parametrize(("family", "way"), [*PAIRS, ("dqn, compiled", "beside others"), ("dqn, host", "among ten")])
def test_a_seed_has_the_same_bits(family: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bits(WAYS[way](family, tmp_path / "run", monkeypatch), 3) == usual_bits(family)


@pytest.mark.parametrize("family", FAMILIES)
def test_records_and_evaluations_change_nothing_else(family: str) -> None:
    """Chunks of other lengths, in which nothing is evaluated, lead to the same policies."""
    often = train(family, [3])
    seldom = train(family, [3], records=2, eval_episodes=0)
    common = tuple(step for step in often.history.step if step in seldom.history.step)
    assert len(common) == 2
    expected = {name: value for name, value in bits(often, 3, common).items() if not name.startswith("eval/")}
    assert bits(seldom, 3, common) == expected


MODELS = {
    "dense": bx.FiniteMDP.from_gymnasium("FrozenLake-v1"),
    "sparse": bx.random_garnet(100, 3, 3, seed=1),
    "swept": bx.random_garnet(600, 3, 3, seed=1),
    "endless": bx.FiniteMDP.from_gymnasium("CliffWalking-v1"),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("sweeps", [10_000, 9])
def test_a_policy_is_valued_in_the_same_arithmetic(name: str, sweeps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever policies stand beside it: also such as need more sweeps, or end in no time."""
    monkeypatch.setattr(many, "MOST_SWEEPS", sweeps)
    model, gamma = many.occurring(MODELS[name]), 1.0 if name == "endless" else 0.99
    draw = np.random.default_rng(0)
    policies = draw.integers(0, MODELS[name].n_actions, (30, model.states.size))
    together = many.start_values(model, policies, gamma)
    alone = [many.start_values(model, policy[None], gamma)[0] for policy in policies]
    np.testing.assert_array_equal(together, alone)
    limited = many.start_returns(model, policies, 40)
    np.testing.assert_array_equal(limited, [many.start_returns(model, policy[None], 40)[0] for policy in policies])
