"""Recorded steps of networks end in the bits of the loops, and their numbers are those that the loops learn from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recordings import recorded, same_bits

import bellmax as bx
from bellmax.catalog import is_deep, make_agent
from bellmax.deep.config import DeepConfig
from bellmax.files import checkpoint
from bellmax.files.storage import finite
from bellmax.loops.choosing import make_data_loop, make_loop, prepare_for_data
from bellmax.recording.network_recorders import CompiledNetworkRecorder, DataNetworkRecorder, HostNetworkRecorder
from bellmax.recording.window import Phase, RecordedStep, Term
from bellmax.sources import find_world

STEPS = 400
SMALL = {
    "net_arch": (8,), "learning_starts": 20, "batch_size": 8, "buffer_size": 60, "target_update_interval": 10,
    "gamma": 0.9, "exploration_initial_eps": 0.3, "exploration_final_eps": 0.1,
}  # fmt: skip
LSTM = {"num_envs": 2, "burn_in": 2, "sequence_length": 4, "n_steps": 2, "learning_starts": 40}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "dqn": ("dqn", {}),
    "double": ("dqn", {"double": True, "dueling": True}),
    "prioritized": ("dqn", {"prioritized": True}),
    "n-step": ("dqn", {"n_steps": 3, "loss": "huber", "normalize_observations": True}),
    "rescaled": ("dqn", {"value_rescaling": True, "reward_scale": 0.5}),
    "noisy": ("dqn", {"noisy": True}),
    "envs": ("dqn", {"num_envs": 3, "train_freq": 2, "gradient_steps": 2, "exploration": "ladder"}),
    "boltzmann": ("dqn", {"exploration": "boltzmann"}),
    "polyak": ("dqn", {"tau": 0.1, "target_update_interval": 1, "weight_averaging": False}),
    "resets": ("dqn", {"reset_interval": 12}),
    "c51": ("c51", {"n_atoms": 7, "v_max": 10.0}),
    "qr-dqn": ("qr-dqn", {"n_quantiles": 5}),
    "iqn": ("iqn", {"n_samples": 3, "n_target_samples": 4, "n_policy_samples": 4, "n_cosines": 6}),
    "munchausen-dqn": ("munchausen-dqn", {}),
    "rainbow": ("rainbow", {"n_atoms": 7, "v_max": 10.0}),
    "bootstrapped-dqn": ("bootstrapped-dqn", {"n_members": 3}),
    "cql": ("cql", {}),
    "bcq": ("bcq", {}),
    "r2d2": ("r2d2", LSTM),
    "gru": ("dqn", {"recurrent": "gru", **LSTM}),
    "pqn": ("pqn", {"num_envs": 4, "train_freq": 5, "epochs": 2, "minibatches": 2}),
}


def config_of(case: str) -> DeepConfig:
    agent, settings = CASES[case]
    small = {name: value for name, value in SMALL.items() if agent != "pqn" or name in ("net_arch", "gamma")}
    if case in ("noisy", "rainbow", "bootstrapped-dqn"):
        small = {name: value for name, value in small.items() if not name.startswith("exploration")}
    config = make_agent(agent, "", {**small, **settings})
    assert is_deep(config)
    return config


def phases(steps: list[RecordedStep], name: str) -> list[Phase]:
    return [each for step in steps for each in step.phases if each.name == name]


def terms(phase: Phase) -> dict[str, Any]:
    return {part.symbol: part.value for part in phase.equation if isinstance(part, Term)}


def window(case: str, at: int = 40, count: int = 24) -> list[RecordedStep]:
    """A window of the compiled loop, which ends in the bits of the loop, as do its parts."""
    config, source = config_of(case), find_world("CartPole-v1")
    recorder = CompiledNetworkRecorder(config, source, STEPS)
    steps = recorded(recorder, at, count)
    loop = make_loop(config, source, "compiled", STEPS)
    state, _, _ = loop.go(loop.start([0]), 0, recorder.clock(), lambda: False)
    same_bits(recorder.dump(), loop.dump(state))
    assert recorder.by_parts is not None
    same_bits(recorder.dump(), checkpoint.to_arrays(recorder.by_parts))
    return steps


def close(one: object, other: object, rtol: float = 2e-6) -> None:
    np.testing.assert_allclose(np.asarray(one, float), np.asarray(other, float), rtol=rtol, atol=1e-6)


def check_round(case: str, steps: list[RecordedStep]) -> None:
    """What every agent with a replay buffer says of a gradient step."""
    config = config_of(case)
    samples, updates, syncs = (phases(steps, name) for name in ("sample", "update", "sync"))
    assert len(samples) == len(updates) == len(syncs) > 0
    for sample, loss, update, sync in zip(samples, phases(steps, "loss"), updates, syncs, strict=True):
        values: dict[str, Any] = sample.values
        assert len(values["index"]) == 8
        assert all(0 <= age < values["filled"] for age in values["age"])
        losses, weights = loss.values["losses"], loss.values["weights"]
        if not hasattr(config, "recurrent") or config.recurrent == "none":
            close(np.mean(np.array(losses) * np.array(weights)), loss.values["loss"], 1e-5)
        assert float(update.values["parameter_change"]) > 0.0  # type: ignore[arg-type]
        moved: Any = sync.values["target_change"]
        assert moved > 0.0 or not sync.values["synced"]
        assert case == "resets" or sync.values["synced"] == (moved > 0.0)
    json.dumps([finite(each.values) for step in steps for each in step.phases], allow_nan=False)


@pytest.mark.parametrize("case", [case for case in CASES if case != "pqn"])
def test_a_window_of_a_network_ends_in_the_bits_of_the_compiled_loop(case: str) -> None:
    steps = window(case)
    check_round(case, steps)
    for step in steps:
        (choose,) = phases([step], "choose")
        values: dict[str, Any] = choose.values
        assert values["action"] == phases([step], "step")[0].values["action"]
        if "coin" in values:
            assert values["explored"] == (values["coin"] < values["epsilon"])
            if not values["explored"]:
                assert values["action"] == int(np.argmax(values["q"]))


def test_the_target_of_dqn_term_by_term() -> None:
    for target in phases(window("dqn"), "target"):
        values: dict[str, Any] = target.values
        for reward, discount, q, y, now, error in zip(
            *(values[name] for name in ("reward", "discount", "next_q", "target", "prediction", "td_error")),
            strict=True,
        ):
            close(y, reward + discount * max(q))
            close(error, y - now)
        symbols = terms(target)
        close(symbols["y"], symbols["r"] + symbols["γ"] * symbols["max Q⁻(s′, a)"])


def test_the_gradient_is_clipped_and_the_parameters_change() -> None:
    for gradient in phases(window("dqn"), "gradient"):
        values: dict[str, Any] = gradient.values
        assert values["gradient_norm"] > 0.0
        close(values["clip_factor"], min(1.0, values["max_grad_norm"] / values["gradient_norm"]))


def test_double_targets_choose_by_the_network() -> None:
    for target in phases(window("double"), "target"):
        values: dict[str, Any] = target.values
        for i, q in enumerate(values["next_q"]):
            best = int(np.argmax(values["next_q_online"][i]))
            assert values["next_action"][i] == best
            close(values["target"][i], values["reward"][i] + values["discount"][i] * q[best])


def test_prioritized_samples_have_their_probabilities_and_get_new_priorities() -> None:
    steps = window("prioritized")
    for sample, new in zip(phases(steps, "sample"), phases(steps, "priorities"), strict=True):
        values: dict[str, Any] = sample.values
        close(values["probability"], np.array(values["priority"]) / values["priority_total"])
        weights = (values["filled"] * np.array(values["probability"])) ** -values["beta"]
        close(values["weight"], weights / weights.max(), 1e-5)
        after: dict[str, Any] = new.values
        for slot, error, leaf in zip(after["index"], after["error"], after["priority"], strict=True):
            if after["index"].count(slot) == 1:
                close(leaf, (error + 1e-3) ** 0.5, 1e-5)


def test_targets_of_munchausen_are_soft() -> None:
    for target in phases(window("munchausen-dqn"), "target"):
        values: dict[str, Any] = target.values
        for i, q in enumerate(np.array(values["next_q"])):
            policy = np.exp((q - q.max()) / 0.03) / np.exp((q - q.max()) / 0.03).sum()
            close(values["policy"][i], policy, 1e-4)
            entropy = -0.03 * np.sum(policy * np.log(policy, where=policy > 0, out=np.zeros(2)))
            close(values["entropy"][i], entropy, 1e-3)
            assert -0.9 <= values["log_policy_bonus"][i] <= 0.0
            soft = values["bootstrap"][i] + values["entropy"][i]
            close(
                values["target"][i], values["reward"][i] + values["log_policy_bonus"][i] + values["discount"][i] * soft
            )


def test_c51_projects_the_shifted_atoms() -> None:
    for target in phases(window("c51"), "target"):
        values: dict[str, Any] = target.values
        atoms, moved = np.array(values["first_atoms"]), np.array(values["first_moved_atoms"])
        close(moved, values["reward"][0] + values["discount"][0] * atoms)
        projected = np.zeros(7)
        for z, p in zip(np.clip(moved, atoms[0], atoms[-1]), values["first_next_probabilities"], strict=True):
            place = (z - atoms[0]) / (atoms[1] - atoms[0])
            below = min(int(place), 5)
            projected[below] += p * (1 - (place - below))
            projected[below + 1] += p * (place - below)
        close(values["first_target_probabilities"], projected, 1e-4)
        assert sum(values["first_probabilities"]) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("case", ["qr-dqn", "iqn"])
def test_quantile_targets(case: str) -> None:
    for target in phases(window(case), "target"):
        values: dict[str, Any] = target.values
        next_ = np.array(values["first_next_quantiles"])
        close(values["first_quantile_targets"], values["reward"][0] + values["discount"][0] * next_)
        error = np.mean(values["first_quantile_targets"]) - np.mean(values["first_quantiles"])
        close(values["td_error"][0], error, 1e-5)


def test_each_member_of_an_ensemble_has_its_target() -> None:
    for target in phases(window("bootstrapped-dqn"), "target"):
        values: dict[str, Any] = target.values
        for i, member in enumerate(values["member_targets"]):
            own = values["reward"][i] + values["discount"][i] * np.array(values["member_bootstraps"][i])
            close(member, own)


def test_rewards_of_several_steps_are_summed() -> None:
    for sample in phases(window("n-step"), "sample"):
        values: dict[str, Any] = sample.values
        for reward, discount in zip(values["reward"], values["discount"], strict=True):
            n = {1.0: 1, 1.9: 2, 2.71: 3}[round(reward, 4)]  # CartPole pays 1 a step
            assert discount == 0.0 or discount == pytest.approx(0.9**n, rel=1e-5)


def test_sequences_have_a_burn_in() -> None:
    steps = window("r2d2")
    for sample, target in zip(phases(steps, "sample"), phases(steps, "target"), strict=True):
        assert sample.values["burn_in"] == 2
        assert len(target.values["target"]) == 4  # type: ignore[arg-type]
        assert terms(target)["y"] == target.values["target"][0]  # type: ignore[index]


def test_pqn_learns_from_lambda_returns_in_minibatches() -> None:
    config, source = config_of("pqn"), find_world("CartPole-v1")
    recorder = CompiledNetworkRecorder(config, source, STEPS)
    steps = recorded(recorder, 40, 40)
    loop = make_loop(config, source, "compiled", STEPS)
    same_bits(recorder.dump(), loop.dump(loop.go(loop.start([0]), 0, 80, lambda: False)[0]))
    assert [step.t for step in steps] == list(range(40, 80, 4))
    for target, loss in zip(phases(steps, "target"), phases(steps, "loss"), strict=True):
        values: dict[str, Any] = target.values
        following, lambda_ = 0.0, values["lambda"]
        for i in range(4, -1, -1):
            v = values["value"][i]
            mixed = v if values["over"][i] or i == 4 else (1 - lambda_) * v + lambda_ * following
            following = values["reward"][i] + values["discount"][i] * mixed
            close(values["lambda_return"][i], following, 1e-5)
        assert len(loss.values["losses"]) == 4  # type: ignore[arg-type]
        close(np.mean(loss.values["losses"]), loss.values["loss"], 1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", ["dqn", "r2d2", "pqn", "envs"])
def test_a_window_in_gymnasium_ends_in_the_bits_of_the_loop(case: str) -> None:
    config, source = config_of(case), find_world("CartPole-v1")
    recorder = HostNetworkRecorder(config, source, STEPS)
    block = recorder.block
    steps = recorded(recorder, 2 * block, block)
    loop = make_loop(config, source, "host", STEPS)
    state, _, _ = loop.go(loop.start([0]), 0, 3 * block, lambda: False)
    same_bits({k: v for k, v in recorder.dump().items() if "seconds" not in k}, loop.dump(state))
    recorder.close()
    loop.close(state)
    assert phases(steps, "update")
    assert len(phases(steps, "store")) == len(steps)
    for step in steps:
        values: dict[str, Any] = phases([step], "choose")[0].values
        if values.get("explored") is False:
            assert values["action"] == int(np.argmax(values["q"]))


@pytest.mark.parametrize("case", ["cql", "prioritized"])
def test_a_window_of_learning_from_data(case: str) -> None:
    source = find_world("CartPole-v1")
    data = bx.collect(None, "CartPole-v1", steps=200, seed=3)
    config: Any = prepare_for_data(config_of(case), source, data)
    recorder = DataNetworkRecorder(config, source, STEPS, data)
    steps = recorded(recorder, 30, 12)
    loop: Any = make_data_loop(config, source, "compiled", STEPS, data)
    same_bits(recorder.dump(), loop.dump(loop.go(loop.start([0]), 0, 42, lambda: False)[0]))
    assert [step.t for step in steps] == list(range(30, 42))
    assert len(phases(steps, "update")) == 12
    for sample in phases(steps, "sample"):
        assert sample.values["filled"] == 200


def test_each_line_of_code_is_in_the_files() -> None:
    root = Path(__file__).parents[1]
    files = [*(root / "examples").glob("*.py"), *(root / "bellmax").rglob("*.py")]
    text = "".join(
        "".join(path.read_text(encoding="utf-8").split()) for path in files if path.parent.name != "recording"
    )
    for case in ("prioritized", "c51"):
        for step in window(case):
            for each in step.phases:
                assert "".join(each.code.split()) in text, each.code
