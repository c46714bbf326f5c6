"""Settings whose extreme would learn nothing are refused; what was asked for and has no effect is told."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import bellmax as bx
from bellmax.agent_config import choices
from bellmax.catalog import AGENTS, agent_class
from bellmax.extend import Follower, Method, mean_of_copies

NOTHING = ("learning_rate", "max_grad_norm", "reward_scale", "tau")
CLASSES = {name: agent_class(name) for name in AGENTS}


@pytest.mark.parametrize("name", AGENTS)
def test_zero_is_refused_where_it_would_learn_nothing(name: str) -> None:
    fields = {field.name for field in dataclasses.fields(CLASSES[name])}
    for field in fields & set(NOTHING):
        with pytest.raises(
            bx.ConfigError, match=rf"^{field}=0 is outside .*: (nothing|all rewards|all gradients|the target)"
        ):
            CLASSES[name](**{field: 0})


def test_a_gradient_of_length_zero_is_refused_before_training() -> None:
    with pytest.raises(bx.ConfigError, match=r"max_grad_norm=0 .*use a large number, such as 1e9, for no clipping"):
        bx.train("CartPole-v1", "dqn", steps=8_000, max_grad_norm=0)


IDLE: dict[str, tuple[str, dict[str, Any], str]] = {
    "temperature": ("dqn", {"temperature": 0.5}, "exploration='boltzmann'"),
    "munchausen": ("dqn", {"munchausen_alpha": 0.5, "munchausen_clip": -2.0}, "munchausen=True"),
    "priorities": ("dqn", {"priority_alpha": 0.7}, "prioritized=True"),
    "sequences": ("dqn", {"burn_in": 3}, "recurrent='none'; use recurrent=another value"),
    "resets": ("dqn", {"reset_share": 0.3}, "reset_interval=0"),
    "annealing": ("dqn", {"gamma_initial": 0.9}, "anneal_interval=0"),
    "a table's scale": ("q-learning", {"exploration_scale": 2.0}, "exploration='boltzmann' or 'ucb'"),
    "a table's power": ("q-learning", {"learning_rate_power": 0.7}, "learning_rate_decay=0.0"),
}


@pytest.mark.parametrize("case", IDLE)
def test_what_has_no_effect_is_told(case: str) -> None:
    name, settings, message = IDLE[case]
    world = "cliff" if name == "q-learning" else "CartPole-v1"
    for given in ((name, settings), (CLASSES[name](**settings), {})):
        said: list[str] = []
        bx.train(world, given[0], steps=64, records=1, eval_episodes=0, final_episodes=0, say=said.append, **given[1])
        remarks = [line for line in said if "has no effect" in line]
        assert len(remarks) == len(settings)
        assert all(message in line for line in remarks)


ACTIVE = [
    ("dqn", {"temperature": 0.5, "exploration": "boltzmann"}),
    ("dqn", {"munchausen_alpha": 0.5, "munchausen": True}),
    ("dqn", {"priority_alpha": 0.7, "prioritized": True}),
    ("q-learning", {"exploration_scale": 2.0, "exploration": "ucb"}),
    ("q-learning", {"learning_rate_power": 0.7, "learning_rate_decay": 0.1}),
    *((name, {}) for name in AGENTS),
]


@pytest.mark.parametrize(("name", "settings"), ACTIVE)
def test_what_has_an_effect_and_defaults_are_not(name: str, settings: dict[str, Any]) -> None:
    config = CLASSES[name](**settings)
    assert config.idle(settings) == config.idle() == []


@pytest.mark.parametrize("name", AGENTS)
def test_every_switch_that_a_setting_needs_exists(name: str) -> None:
    names = {field.name for field in dataclasses.fields(CLASSES[name])}
    for field in dataclasses.fields(CLASSES[name]):
        switch, *values = field.metadata["needs"] or ("",)
        assert not switch or switch in names
        assert set(values) <= set(choices(CLASSES[name]).get(switch, ()))
        ends = field.metadata["low"], field.metadata["high"]
        assert np.isfinite(ends).any() or field.metadata["zero"] == ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnLoss(bx.DQN):
    """A loss that does not use the scale of the settings."""

    def method(self) -> Method[Any, Any]:
        return super().method()._replace(uses_scale=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnTarget(bx.DQN):
    """A target network that does not use `tau`."""

    def target(self) -> Follower[Any]:
        return mean_of_copies(3, self.target_period)


@pytest.mark.parametrize(
    ("cls", "settings", "found"),
    [
        (OwnLoss, {"value_rescaling": True}, "value_rescaling has no effect: the loss of OwnLoss"),
        (OwnTarget, {"tau": 0.1}, "tau=0.1 has no effect: the target network of OwnTarget"),
    ],
)
def test_settings_that_an_own_part_does_not_use_are_told(
    cls: type[bx.DQN], settings: dict[str, Any], found: str
) -> None:
    for given in (None, settings):
        (line,) = cls(**settings).idle(given)
        assert line.startswith(found)
    assert cls().idle() == cls().idle(settings) == bx.DQN(**settings).idle() == bx.DQN(**settings).idle(settings) == []


@pytest.mark.parametrize("name", [name for name in AGENTS if "value_rescaling" in CLASSES[name].__dataclass_fields__])
def test_every_agent_uses_the_scale_and_tau(name: str) -> None:
    settings = {"value_rescaling": True, "tau": 0.1}
    assert CLASSES[name](**settings).idle(settings) == []


def test_without_say_a_setting_without_effect_is_a_warning() -> None:
    with pytest.warns(bx.RunWarning, match="exploration_scale has no effect"):
        bx.train("cliff", "q-learning", steps=500, exploration_scale=2.0)
