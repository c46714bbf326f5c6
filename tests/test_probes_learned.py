"""DQN learns every probe world's closed-form values, each of which would expose one fault; also double, also soft."""

import numpy as np
import pytest

import bellmax as bx
from bellmax.envs.probes import PROBES

VARIANTS = {
    "plain": {},
    "double": {"double": True},
    "soft target": {"tau": 0.05, "target_update_interval": 1},
    "huber, not averaged, not normalized": {"loss": "huber", "weight_averaging": False, "normalization": "none"},
    "four worlds": {"num_envs": 4, "train_freq": 2, "gradient_steps": 4},
}


QUICK = [("probe:autoreset", "four worlds"), ("probe:match", "double")]
CASES = [(name, "plain") for name in PROBES if name != "probe:recall"] + [
    pytest.param(name, variant, marks=() if (name, variant) in QUICK else pytest.mark.slow)
    for name in ("probe:delay", "probe:match", "probe:autoreset")
    for variant in VARIANTS
    if variant != "plain"
]


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_learns_the_exact_values(name: str, variant: str) -> None:
    settings = {
        "gamma": 0.8, "learning_rate": 3e-3, "learning_rate_schedule": "linear", "learning_starts": 100,
        "target_update_interval": 50, "exploration_final_eps": 1.0, "net_arch": (32,), **VARIANTS[variant],
    }  # fmt: skip
    run = bx.train(name, bx.DQN(**settings), steps=6_000, records=1, eval_episodes=0, final_episodes=1)
    probe = PROBES[name]()
    learned = run.policy(0).q_values(probe.observations)
    np.testing.assert_allclose(learned, probe.q(0.8), atol=0.05, err_msg=probe.tests)
