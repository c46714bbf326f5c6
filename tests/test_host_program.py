"""bellmax is a guest: importing it, naming its parts and training change nothing of the program that it is part of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

SNAPSHOT = """
import gc, locale, logging, multiprocessing, os, random, signal, sys, threading, warnings
import numpy as np
import equinox, gymnasium, jax, matplotlib, numba, numba.extending, optax, scipy.sparse
import scipy.special  # what these change is theirs

def of_python():
    root, named = logging.root, logging.getLogger("jax")
    return {
        "environment variables": dict(os.environ),
        "warning filters": list(map(str, warnings.filters)),
        "how warnings are shown": (warnings.formatwarning, warnings.showwarning),
        "signal handlers": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "logging": (root.level, list(root.handlers), root.manager.disable, named.level, list(named.handlers)),
        "NumPy": (np.geterr(), str(np.get_printoptions())),
        "random numbers": (str(np.random.get_state()), random.getstate()),
        "hooks": (sys.excepthook, threading.excepthook, sys.stdout, sys.stderr, sys.gettrace(), sys.getprofile()),
        "interpreter": (sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled(), list(sys.path)),
        "process": (os.getcwd(), locale.setlocale(locale.LC_ALL), multiprocessing.get_start_method(allow_none=True)),
        "JAX": (dict(jax.config.values), str(jax.devices()), jax.numpy.ones(1).device, jax.default_backend()),
        "numba": {name: getattr(numba.config, name) for name in dir(numba.config) if name.isupper()},
        "matplotlib": dict(matplotlib.rcParams),
    }

def compare(what):
    global before
    for name, old in before.items():
        if (new := now[name]) != old:
            raise SystemExit(f"{what} changed {name}: {old} -> {new}")

signal.signal(signal.SIGTERM, lambda number, frame: None)
before = of_python()
"""

USE = """
import bellmax as bx
now = of_python(); compare("import bellmax")
for name in bx.__all__:
    getattr(bx, name)
now = of_python(); compare("naming the public names")
for loop in ("compiled", "host"):
    bx.train("FrozenLake-v1", "q-learning", steps=500, loop=loop, records=2, final_episodes=2)
    now = of_python(); compare(f"training a table, {loop}")
    run = bx.train("CartPole-v1", "dqn", steps=600, loop=loop, records=2, eval_episodes=1, final_episodes=1,
                   learning_starts=100, progress=True, net_arch=(8,), batch_size=8)
    now = of_python(); compare(f"training a network, {loop}")
bx.evaluate(run.policy(), episodes=1)
now = of_python(); compare("evaluating")
"""


def test_nothing_of_the_host_program_changes() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SNAPSHOT + USE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


ASKED = """
import sys
import bellmax as bx
folder = bx.store_compiled_programs()
import jax
assert jax.config.jax_compilation_cache_dir == str(folder)
jax.config.update("jax_compilation_cache_dir", "/elsewhere")
assert str(bx.store_compiled_programs()) == "/elsewhere" == jax.config.jax_compilation_cache_dir
"""


def test_jax_stores_programs_where_that_is_asked_and_the_users_own_folder_stays(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"PYTHONPATH": str(ROOT), "BELLMAX_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", ASKED], env=environment, check=True)


QUICK = """
import time
import jax, numpy as np
import bellmax as bx
from bellmax.loops.network_gymnasium import gymnasium_network_loop
from bellmax.sources import find_world

source = find_world("CartPole-v1", {}, None)
state = gymnasium_network_loop(bx.DQN(), source, 1000).start([0])
mind, actor, _ = state.block.result()
places = {device for leaf in jax.tree.leaves((mind, actor, state.carry, state.key)) for device in leaf.devices()}
assert len(places) == 1 and places.isdisjoint(jax.devices()), places
"""


def test_acting_step_by_step_needs_no_switch_of_the_process() -> None:
    """On a CPU the arrays of the host loop lie where a call runs in its own thread, 16 µs and not 40 or more."""
    subprocess.run([sys.executable, "-c", QUICK], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
