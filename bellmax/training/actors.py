"""NumPy. Policies from everything that can act: a policy, a run, a folder, an exact solution, actions, a function."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bellmax import spaces
from bellmax.arguments import describe, path_of
from bellmax.contracts import ConfigError, Discrete, Masked, nearest
from bellmax.files.of_others import refuse_others
from bellmax.files.policy_files import SUFFIXES, beside, stem_of
from bellmax.files.saved_environments import find_saved_world
from bellmax.loops.masking import with_action_masks
from bellmax.solving.average import Average
from bellmax.solving.horizon import HorizonSolution
from bellmax.solving.solve import Solution
from bellmax.sources import Source, find_world
from bellmax.training.function_policy import Actor, FunctionPolicy
from bellmax.training.policy import Policy, load_policy
from bellmax.training.run import WHICH, Run, Which
from bellmax.training.saved_runs import load

WANTED = (
    "a policy, a run, the folder of a run, an exact solution, actions [S] of a finite environment, or a function from "
    "one observation to an action"
)


def find_actors(
    given: object,
    world: object,
    env_kwargs: Mapping[str, Any] | None,
    which: Which = "final",
    call: str = "evaluate",
    say: Callable[[str], None] = lambda text: None,
) -> tuple[list[Actor], Source]:
    """Return the policies that `given` stands for, one for each seed of a run, and the environment for them.

    Args:
        given: a policy, or anything that has one; see `WANTED`.
        world: the environment; by default that of the policy or run.
        env_kwargs: its arguments; they replace those of training one by one.
        which: "final" or "best" policies of a run.
        call: the function that was called, for messages.
        say: called with a line on what differs from training.

    Raises:
        ConfigError: `given` cannot act, or does not fit the environment.
        UnsafeFile: only a file asks for something that imports, writes or opens a window.
    """
    policies = _saved(given, world, which, call)
    if policies:
        first = policies[0]
        trusted = not first.from_file
        source = find_saved_world(world, env_kwargs, first.world, first.env_kwargs, trusted=trusted, say=say)
        if isinstance(first.space, Masked) and (call == "collect" or source.work is None):
            source = with_action_masks(source)
        for policy in policies:
            check_fit(policy, source)
        return list(policies), source
    actions = _actions(given)
    if actions is None and not callable(given):
        raise ConfigError(f"`policy` must be {WANTED}; got {describe(given)}{_remedy(given, call)}")
    if world is None:
        raise ConfigError(f"{describe(given)} needs an environment, such as bx.{call}(..., 'CartPole-v1')")
    source = find_world(world, env_kwargs)
    if actions is not None:
        return [_of_actions(actions, source)], source
    assert callable(given)  # noqa: S101 - checked above
    return [FunctionPolicy(given, source.space, source.n_actions, source.coding)], source


def check_fit(policy: Policy, source: Source) -> None:
    """Check that an environment has the observations and actions that a policy learned with.

    Raises:
        ConfigError: it has others.
    """
    if not spaces.fits(policy.space, source.space) or source.n_actions != policy.n_actions:
        raise ConfigError(
            f"the policy is for {policy.space} with {policy.n_actions} actions; "
            f"{source.name} has {source.space} with {source.n_actions}"
        )


def _saved(given: object, world: object, which: Which, call: str) -> list[Policy]:
    """The policies of a policy, a run or a path; [] for anything else."""
    if not isinstance(which, str) or which not in WHICH:
        raise ConfigError(f"`which` must be 'final' or 'best'; got {describe(which)}")
    if isinstance(world, Policy | Run):
        raise ConfigError(f"the policy comes first: bx.{call}(policy, {describe(given)})")
    if isinstance(given, Policy):
        if which != "final":
            raise ConfigError(f"which={which!r} is for a run; this is one policy")
        return [given]
    if isinstance(given, str | os.PathLike):
        given = _read(given, call, which)
        if isinstance(given, Policy):
            return [given]
    if not isinstance(given, Run):
        return []
    if not given.policies:
        raise ConfigError("the run has no policies yet: it stopped before its first record; resume it or train again")
    return [given.policy(seed, which) for seed in given.seeds]


def _read(given: object, call: str, which: Which) -> Run | Policy:
    """The run or the policy at a path."""
    path = path_of("policy", given)
    if (path / "config.json").is_file():
        return load(path)
    if any(beside(stem_of(path), suffix).is_file() for suffix in SUFFIXES):
        if which != "final":
            raise ConfigError(f"which={which!r} is for a run; {path} is one policy")
        return load_policy(path)
    refuse_others(path)
    raise ConfigError(
        f"{str(path)!r} is neither the folder of a run nor a policy's file{nearest_run(path)}; {call} accepts {WANTED}"
    )


def nearest_run(path: Path) -> str:
    """Return "; did you mean ...?" with the run's folder that was probably meant, or an empty string."""
    try:
        runs = [str(folder.parent) for folder in path.parent.glob("*/config.json")]
    except OSError:
        return ""
    match = nearest(str(path), runs)
    return f"; did you mean {match!r}?" if match else ""


def _actions(given: object) -> np.ndarray | None:
    """The actions [S] of an exact solution or of an array; None for anything else.

    Raises:
        ConfigError: it is a table of something else.
    """
    if isinstance(given, HorizonSolution):
        raise ConfigError("the policy of a horizon depends on the step, not only on the state; see horizon_return")
    if isinstance(given, Solution | Average):
        return np.asarray(given.policy)
    if not isinstance(given, np.ndarray | list | tuple) or hasattr(given, "_fields"):
        return None
    try:
        array = np.asarray(given)
    except ValueError:
        return None
    if array.ndim != 1 or array.dtype.kind not in "iu":
        rows = array.ndim == 2 and array.dtype.kind == "f"
        remedy = "; for values or probabilities [S, A], pass .argmax(axis=1)" if rows else ""
        raise ConfigError(f"actions must be integers [S]; got {array.dtype} {list(array.shape)}{remedy}")
    return array


def _of_actions(actions: np.ndarray, source: Source) -> Policy:
    """A table that prefers these actions [S].

    Raises:
        ConfigError: they are not one allowed action for each state.
    """
    if not isinstance(source.space, Discrete):
        raise ConfigError(
            f"actions [S] are for an environment with Discrete observations; {source.name} has {source.space}: "
            "pass a function of observations"
        )
    if actions.shape != (source.space.n,):
        raise ConfigError(f"got {actions.size} actions for the {source.space.n} states of {source.name}")
    bad = (actions < 0) | (actions >= source.n_actions)
    if source.mdp is not None and not bad.any():
        bad = ~source.mdp.allowed[np.arange(actions.size), actions]
    if (found := np.flatnonzero(bad)).size:
        raise ConfigError(f"state {found[0]} does not have the action {actions[found[0]]} (A = {source.n_actions})")
    from bellmax.tabular.td import QLearning

    q = np.zeros((source.space.n, source.n_actions))
    q[np.arange(actions.size), actions] = 1.0
    return Policy(source.name, QLearning(), source.space, source.n_actions, {"q": q})


def _remedy(given: object, call: str) -> str:
    if hasattr(given, "predict"):
        return f"; for Stable-Baselines3, write bx.{call}(lambda obs: model.predict(obs)[0], env)"
    if hasattr(given, "reset") and hasattr(given, "step"):
        return f"; the environment comes second: bx.{call}(policy, env)"
    return ""
