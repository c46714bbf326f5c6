"""`os.fork` after JAX has started: what needs JAX is an error in the child, and does not wait for threads it lacks."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no os.fork")
FORKS = """
import json, os, signal, sys, warnings
warnings.simplefilter("ignore")
import jax, numpy as np
import bellmax as bx
from bellmax.contracts import Box
from bellmax.deep.building import spec_of
from bellmax.envs.probes import PROBES
from bellmax.keys import make_key
from bellmax.networks.network import make_network
from bellmax.networks.packing import to_named

started = sys.argv[1] == "started"
short = dict(progress=False, steps=60, records=1, eval_episodes=0, final_episodes=0)
small = dict(learning_starts=10, buffer_size=100, batch_size=4, net_arch=(4,))
config, one = bx.DQN(net_arch=(4,)), np.zeros(4, np.float32)
if started:
    network = to_named(make_network(Box((4,)), 2, spec_of(config, config.method()), make_key(0)))
    arrays = {name: np.asarray(array) for name, array in network.items()}
    fresh, prepared = (bx.Policy("CartPole-v1", config, Box((4,)), 2, arrays) for _ in range(2))
    prepared.act(one)
    doors = {
        "train": lambda: bx.train("CartPole-v1", "dqn", **short, **small),
        "train host": lambda: bx.train("CartPole-v1", "dqn", loop="host", **short, **small),
        "act": lambda: fresh.act(one),
        "act on many": lambda: fresh.act(np.zeros((3, 4))),
        "evaluate": lambda: bx.evaluate(fresh, "CartPole-v1", episodes=1),
        "evaluate a function": lambda: bx.evaluate(lambda obs: 0, "probe:delay", episodes=1),
        "collect": lambda: bx.collect(None, "CartPole-v1", steps=5),
        "check": lambda: bx.check_world(PROBES["probe:delay"]().world),
        "step": lambda: bx.as_gymnasium(PROBES["probe:delay"]().world).reset(seed=0),
        "act prepared": lambda: prepared.act(one),
    }
else:
    doors = {"train": lambda: bx.train("CartPole-v1", "dqn", **short, **small)}
doors["table"] = lambda: bx.train("CliffWalking-v1", "q-learning", **short)
assert jax._src.xla_bridge.backends_are_initialized() == started
if (child := os.fork()) == 0:
    signal.alarm(60)
    for name, door in doors.items():
        try:
            door()
            print(json.dumps([name, "fine"]), flush=True)
        except bx.ConfigError as error:
            print(json.dumps([name, str(error)]), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
if started:
    assert fresh.act(one) == prepared.act(one)  # the parent goes on
"""


@pytest.mark.parametrize("started", [True, False])
def test_a_forked_process(started: bool) -> None:
    words = [sys.executable, "-c", FORKS, "started" if started else "not"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    said = dict(json.loads(line) for line in done.stdout.splitlines())
    fine = {"table"} | ({"act prepared"} if started else {"train"})
    assert {name for name, words in said.items() if words == "fine"} == fine
    refused = {words for name, words in said.items() if name not in fine}
    assert len(refused) == started
    for words in refused:
        assert "this process was forked after JAX had started" in words
        assert "get_context('spawn')" in words
