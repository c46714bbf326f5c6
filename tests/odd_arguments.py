"""Every public function with a small valid call, and the odd values that each argument is given in turn."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import signal
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from matplotlib import pyplot

import bellmax as bx
from bellmax import extend
from bellmax.contracts import BellmaxError
from bellmax.mdp.gallery import GALLERY

Call = Callable[..., Any]
SECONDS = 3.0  # a call that still runs then works as asked
LONG = {
    "steps",
    "episodes",
    "records",
    "final_episodes",
    "eval_episodes",
    "seeds",
    "max_iterations",
    "num_envs",
    "workers",
}


class Anything:
    """A class that can be called with anything."""

    def __init__(self, *_: object, **__: object) -> None:
        pass


class StillRuns(BaseException):
    """The call takes its time."""


class Outcome(NamedTuple):
    """What a call with one odd argument came to: "works", "refused" or "raw"; the text of an error."""

    kind: str
    text: str = ""


def odd_values() -> dict[str, Any]:
    """By name; made afresh for each call, as some can be used once."""
    endless: list[Any] = []
    endless.append(endless)
    return {
        "None": None, "True": True, "False": False, "-1": -1, "0": 0, "1": 1, "2": 2, "2**31": 2**31, "2**63": 2**63,
        "-2**63 - 1": -(2**63) - 1, "10**400": 10**400, "10**5000": 10**5000,
        "0.5": 0.5, "-0.0": -0.0, "1e300": 1e300, "-1e300": -1e300,
        "1e-300": 1e-300, "nan": float("nan"), "inf": float("inf"), "-inf": float("-inf"), "''": "", "'abc'": "abc",
        "'1'": "1", "long": "a" * 100_000, "'\\0'": "\0", "b'x'": b"x", "[]": [], "[1]": [1], "['a']": ["a"],
        "ragged": [[1], [1, 2]], "endless": endless, "(1, 2)": (1, 2), "{}": {}, "{'a': 1}": {"a": 1}, "{1: 2}": {1: 2},
        "set()": {1}, "object()": object(), "lambda": lambda *_, **__: 1, "class": Anything, "array([])": np.array([]),
        "array([1., 2.])": np.array([1.0, 2.0]), "array(3)": np.array(3), "float32": np.float32(1.5),
        "int64": np.int64(-1), "uint8": np.uint8(255), "bool_": np.bool_(True), "str_": np.str_("abc"), "1j": 1j,
        "objects": np.array([None, "a"], object), "times": np.array(["2020-01-01"], "datetime64[D]"),
        "generator": (i for i in (1, 2)), "range(3)": range(3), "Fraction": Fraction(1, 3), "Decimal": Decimal("0.5"),
        "Path": Path("nowhere"), "...": ..., "module": inspect, "mdp": bx.corridor(3),
    }  # fmt: skip


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    def stop(_: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code.co_name == "_xla_gc_callback":  # where exceptions are lost
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            raise StillRuns

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def attempt(call: Call, arguments: dict[str, Any], seconds: float = SECONDS) -> Outcome:
    """What the call comes to."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), at_most(seconds):
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", UserWarning)  # of bellmax and of Gymnasium
            call(**arguments)
    except StillRuns:
        return Outcome("works", "still runs")
    except BellmaxError as error:
        return Outcome("refused", str(error))
    except BaseException as error:  # whatever it is, is reported
        return Outcome("raw", f"{type(error).__name__}: {error}")
    return Outcome("works")


def two_states() -> gym.Env[Any, Any]:
    """A small environment without a table or a compiled twin."""
    return bx.TabulatedEnv(bx.corridor(3))


def world() -> bx.World[Any]:
    from bellmax.envs.tabulated import as_world

    return as_world(bx.corridor(3))


ENDS = [[[(1.0, 1, 0.0, True)], [(1.0, 1, 0.0, True)]]] * 2


def outcomes(state: int, action: int) -> list[tuple[float, int, float, bool]]:
    return [(1.0, 1, float(action), True)]


def solving_calls() -> dict[str, tuple[Call, dict[str, Any]]]:
    mdp = bx.corridor(3)
    model, policy = {"mdp": mdp}, {"mdp": mdp, "policy": [1, 1, 0]}
    q = {"mdp": mdp, "q": np.zeros((3, 2)), "gamma": 0.9, "solution": bx.solve(mdp, 0.9)}
    iterate = {"method": "auto", "tolerance": 1e-6, "max_iterations": 100, "progress": None}
    return {
        "solve": (bx.solve, {**model, "gamma": 0.9, **iterate}),
        "solve_soft": (bx.solve_soft, {**model, "gamma": 0.9, "epsilon": 0.1, **iterate}),
        "solve_horizon": (bx.solve_horizon, {**model, "horizon": 3, "gamma": 0.9, "terminal_reward": [0.0, 0.0, 1.0]}),
        "solve_average": (bx.solve_average, model),
        "soften": (bx.soften, {**policy, "epsilon": 0.1}),
        "evaluate_policy": (bx.evaluate_policy, {**policy, "gamma": 0.9, "method": "direct", "tolerance": 1e-6}),
        "evaluate_average": (bx.evaluate_average, policy),
        "stationary_distribution": (bx.stationary_distribution, policy),
        "occupancy": (bx.occupancy, {**policy, "gamma": 0.9}),
        "horizon_return": (bx.horizon_return, {**policy, "horizon": 3, "gamma": 0.9}),
        "horizon_length": (bx.horizon_length, {**policy, "horizon": 3}),
        "q_values": (bx.q_values, {**model, "v": [0.0, 1.0, 0.0], "gamma": 0.9}),
        "bellman_operator": (bx.bellman_operator, {**policy, "values": [0.0, 1.0, 0.0], "gamma": 0.9}),
        "greedy_policy": (bx.greedy_policy, {"q": [[0.0, 1.0]], "error": 0.0}),
        "policy_gap": (bx.policy_gap, q),
        "regret": (bx.regret, q),
        "Solution.show": (bx.solve(mdp, 0.9).show, {"what": "value", "title": "", "everything": False}),
    }


def model_calls() -> dict[str, tuple[Call, dict[str, Any]]]:
    labels = {"name": "two", "action_names": ("a", "b"), "state_names": ("x", "y"), "max_episode_steps": 5}
    grid = {"rows": 1, "columns": 2, "cell": [0, 1], "kinds": [["start", "end"]], "arrows": (None, (0, 1)),
            "panel": [0, 0], "panels": ("one",), "fences": [[0, 1]]}  # fmt: skip
    columns = {
        "pair": [0, 1, 2, 3], "successor": [1, 1, 1, 1], "probability": [1.0] * 4, "reward": [0.0] * 4,
        "terminated": [True] * 4, "reward_std": [0.0] * 4,
    }  # fmt: skip
    sizes, ends = {"n_states": 2, "n_actions": 2}, np.zeros((2, 2, 2))
    ends[:, :, 1] = 1.0
    direct = {name: values for name, values in columns.items() if name != "pair"}
    return {
        "FiniteMDP": (
            bx.FiniteMDP,
            {
                **sizes, **direct, **labels, "indptr": [0, 1, 2, 3, 4], "start": [1.0, 0.0],
                "allowed": np.ones((2, 2), np.bool_), "grid": bx.Layout(**grid),
            },
        ),
        "FiniteMDP.from_entries": (
            bx.FiniteMDP.from_entries,
            {**sizes, **columns, "n_allowed": [2, 2], "mask": None, "start": 0, **labels},
        ),
        "FiniteMDP.from_arrays": (
            bx.FiniteMDP.from_arrays,
            {
                "P": ends, "R": np.zeros((2, 2)), "layout": "SAS", "s_indices": None, "a_indices": None, "R_std": 0.0,
                "mask": None, "n_allowed": [2, 2], "start": 0, "terminal_states": [1], **labels,
            },
        ),
        "FiniteMDP.from_successors": (
            bx.FiniteMDP.from_successors,
            {"successors": ENDS, "start": 0, "name": "two", "grid": (1, 2)},
        ),
        "Layout": (lambda **parts: bx.FiniteMDP.from_successors(ENDS, grid=bx.Layout(**parts)), grid),
        "FiniteMDP.from_function": (
            bx.FiniteMDP.from_function,
            {"step": outcomes, "starts": 0, "n_actions": 2, "max_states": 10, **labels},
        ),
        "FiniteMDP.from_gymnasium": (bx.FiniteMDP.from_gymnasium, {"env": "FrozenLake-v1", "is_slippery": False}),
        "FiniteMDP.remarks": (bx.corridor(3).remarks, {"gamma": 0.9}),
        "TabulatedEnv": (bx.TabulatedEnv, {"mdp": bx.corridor(3)}),
    }  # fmt: skip


def gallery_calls() -> dict[str, tuple[Call, dict[str, Any]]]:
    found = {}
    for name in GALLERY:
        arguments = inspect.signature(GALLERY[name]).parameters.values()
        found[GALLERY[name].__name__] = GALLERY[name], {argument.name: argument.default for argument in arguments}
    return found


def agent_calls() -> dict[str, tuple[Call, dict[str, Any]]]:
    classes = {name: getattr(bx, name) for name in bx.__all__ if isinstance(getattr(bx, name), type)}
    agents = {name: cls for name, cls in classes.items() if issubclass(cls, extend.AgentConfig)}
    found: dict[str, tuple[Call, dict[str, Any]]] = {}
    seen: set[int] = set()
    for name, cls in {**agents, "RunOptions": bx.RunOptions}.items():
        own = [field for field in dataclasses.fields(cls) if id(field.metadata) not in seen]  # each once
        seen |= {id(field.metadata) for field in own}
        found[name] = cls, {field.name: field.default for field in own}
    return found


def running_calls() -> dict[str, tuple[Call, dict[str, Any]]]:
    """Those that play; each call is short."""
    run = bx.train("corridor", "q-learning", steps=200, final_episodes=2, keep_policies=True)
    other = bx.train("corridor", "sarsa", steps=200, final_episodes=2)
    policy = run.policy()
    network = bx.train("CartPole-v1", "dqn", steps=4, net_arch=(4,), eval_episodes=0, final_episodes=0).policy()
    metric = {"policy": network, "obs": np.zeros((2, 4), np.float32)}
    data = bx.collect(None, "corridor", steps=20)
    options: dict[str, Any] = {
        name: field.default
        for name, field in bx.RunOptions.__dataclass_fields__.items()
        if name not in ("data", "episodes")
    }
    options |= {"records": 2, "eval_episodes": 1, "final_episodes": 1, "options": None}
    train = {
        "world": "corridor", "agent": "q-learning", "steps": 20, "episodes": None, "seeds": 1, "out": None,
        "if_exists": "error", "loop": "auto", "env_kwargs": {}, "data": None, "wrappers": (), "progress": False,
        "say": None, "on_record": None, **options,
    }  # fmt: skip
    play = {"seed": 1, "env_kwargs": {}}
    watch = {
        "policy": policy, "world": "corridor", "episodes": 1, "seed": None, "episode_seed": 1, "which": "final",
        "speed": 1.0, "video": "odd.gif", "panel": True, "max_steps": 5, "env_kwargs": {}, "progress": False,
        "say": None,
    }  # fmt: skip
    return {
        "train": (bx.train, train),
        "evaluate": (
            bx.evaluate,
            {"policy": policy, "world": "corridor", "episodes": 2, **play, "which": "final", "say": None},
        ),
        "collect": (
            bx.collect, {"policy": policy, "world": "corridor", "steps": 5, **play, "epsilon": 0.1, "which": "final"},
        ),
        "explain": (bx.explain, {"run": run, "at": 50, "steps": 2, "seed": 0, "progress": None, "say": None}),
        "watch": (bx.watch, watch),
        "load": (bx.load, {"folder": "missing"}),
        "resume": (bx.resume, {"folder": "missing", "step": None, "progress": None, "say": None, "on_record": None}),
        "load_policy": (bx.load_policy, {"path": "missing"}),
        "check_env": (bx.check_env, {"env": two_states, "steps": 20, **play}),
        "check_world": (bx.check_world, {"world": world(), "steps": 5, "seed": 0}),
        "as_gymnasium": (bx.as_gymnasium, {"world": world()}),
        "write_report": (bx.write_report, {"runs": run, "path": "missing/r.html", "explain": 1, "progress": False}),
        "plot": (
            lambda **how: pyplot.close(bx.plot(**how).figure),
            {"runs": run, "column": "return", "kind": "curve", "axes": None, "optimum": None, "confidence": 0.95},
        ),
        "compare": (bx.compare, {"runs": [run, other], "metric": None, "confidence": 0.95}),
        "Run.show": (
            run.show,
            {"what": "error", "seed": 0, "which": "final", "at": 200, "world": "corridor", "env_kwargs": {},
             "everything": False, "progress": None},
        ),
        "Run.policy": (run.policy, {"seed": 0, "which": "final", "at": 200}),
        "Run.policies_over_time": (lambda **given: list(run.policies_over_time(**given)), {"seed": 0}),
        "stop_at": (bx.stop_at, {"score": 1.0, "column": None, "mean": False}),
        "metrics.effective_rank": (bx.metrics.effective_rank, {**metric, "delta": 0.01}),
        "metrics.dormant_neurons": (bx.metrics.dormant_neurons, {**metric, "threshold": 0.025}),
        "metrics.plasticity": (bx.metrics.plasticity, {"observations": None, "size": 10}),
        "Policy.act": (policy.act, {"obs": 1, "mask": None}),
        "Policy.q_values": (policy.q_values, {"obs": 1, "mask": None}),
        "Policy.begin": (policy.begin, {"n": 1}),
        "Policy.save": (policy.save, {"path": "missing/p"}),
        "Dataset.tidy": (lambda **columns: bx.Dataset(**columns).tidy(), data._asdict()),
        "Dataset.returns": (lambda **columns: bx.Dataset(**columns).returns(), data._asdict()),
        "Dataset.save": (data.save, {"path": "missing.safetensors"}),
        "Dataset.load": (bx.Dataset.load, {"path": "missing.safetensors"}),
        "register_network": (extend.register_network, {"name": "odd", "make": two_states}),
        "register_world": (extend.register_world, {"name": "odd", "make": two_states}),
        "register_agent": (extend.register_agent, {"name": "odd", "cls": bx.DQN}),
    }  # fmt: skip
