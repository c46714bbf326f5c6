"""Each argument of each public function is given odd values: it works as asked, or one of bellmax's errors names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import odd_arguments as odd
import pytest

import bellmax as bx
from bellmax.arguments import HIGHEST, describe, integer, one_of, path_of, real
from bellmax.catalog import AGENTS
from bellmax.networks.torsos import TORSOS
from bellmax.registry import WORLDS

GROUPS = {
    "solving": odd.solving_calls,
    "models": odd.model_calls,
    "gallery": odd.gallery_calls,
    "agents": odd.agent_calls,
    "running": odd.running_calls,
}
FEW = ("-1", "2**63", "10**5000", "nan", "-1e300", "long", "object()", "array([1., 2.])", "ragged")
# results, which only bellmax makes; tuples that `check_world` and `tidy` read; and what has no arguments
MADE_INSIDE = {
    "Average", "Comparison", "Evaluation", "HorizonSolution", "Phase", "PolicyGap", "Policy", "RecordedStep", "Run",
    "Solution", "Record", "ReturnDistribution", "Summary", "Term", "Watched", "Window",
}  # fmt: skip
ELSEWHERE = {"World", "Dataset", "store_compiled_programs"}
# where an error says by another word what is wrong
OTHER_WORDS = {
    "mdp": "FiniteMDP", "text": "map", "successors": "state", "starts": "state", "env": "environment",
    "is_slippery": "FrozenLake", "wrappers": "wrapper", "world": "environment", "R_std": "reward_std",
    "env_kwargs": "corridor", "policy": "action", "n_actions": "actions", "folder": "run", "path": "data file",
    "demand": "probabilities", "n_states": "shape", "R": "state", "obs": "observation", "cls": "class", "runs": "run",
}  # fmt: skip
PHRASES = (
    "is not a valid model", "columns have", "are free", "is taken", "the policy is for", "no run in missing",
    "is the folder of a run", "is not a regular file", "policy of seed 0", "folder that does not exist",
    "unknown column",
)  # fmt: skip
LONGEST = 2_000  # letters of a message


def find_faults(name: str, call: odd.Call, arguments: dict[str, Any], labels: tuple[str, ...]) -> list[str]:
    found = []
    for argument in arguments:
        for label in labels:
            if argument in odd.LONG and label in ("2**31", "2**63", "uint8"):
                continue  # works, and takes its time
            came = odd.attempt(call, {**arguments, argument: odd.odd_values()[label]})
            words = (argument, OTHER_WORDS.get(argument, argument), *PHRASES)
            named = any(word.lower() in came.text.lower() for word in words)
            if came.kind == "raw" or (came.kind == "refused" and not named) or len(came.text) > LONGEST:
                found.append(f"{name}({argument}={label}): {came.text[:300]}")
    return found


def check(group: str, labels: tuple[str, ...]) -> None:
    calls = GROUPS[group]()
    faults = [fault for name, (call, given) in calls.items() for fault in find_faults(name, call, given, labels)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("group", GROUPS)
def test_odd_arguments_are_refused_by_name_or_work(group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for registry in (AGENTS, TORSOS, WORLDS):
        monkeypatch.setattr(registry, "_known", dict(registry._known))
    check(group, tuple(odd.odd_values()))


@pytest.mark.parametrize("group", ["solving", "models", "gallery", "agents"])
def test_a_few_odd_arguments_of_each_are_refused(group: str) -> None:
    check(group, FEW)


def test_every_public_function_is_among_them() -> None:
    covered = {name.partition(".")[0] for make in GROUPS.values() for name in make()}
    public = {name for name in bx.__all__ if callable(getattr(bx, name))}
    kinds = {name: getattr(bx, name) for name in public if isinstance(getattr(bx, name), type)}
    errors = {name for name, kind in kinds.items() if issubclass(kind, Exception)}
    assert public - errors - MADE_INSIDE - ELSEWHERE - covered == set()


def test_what_no_argument_can_be_is_described_in_a_line() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert describe(10**5000) == "an integer of about 5000 digits"
    assert describe(endless) == "[[...]]"
    assert describe([10**5000]) == "a list"
    assert len(describe("a" * 10**6)) == 80
    for name in ("x" * 256, "a/" * 3_000, "a\0b"):
        with pytest.raises(bx.ConfigError, match="`out` is too long for a path, or has a NUL in it"):
            path_of("out", name)
    assert path_of("out", "x" * 255) == Path("x" * 255)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: integer("n", 10**400), rf"`n` must be an integer from 1 to {HIGHEST}; got an integer of about 400"),
        (lambda: integer("n", -1), "`n` must be a positive integer; got -1"),
        (lambda: real("x", 10**400), r"x=an integer of about 400 digits is outside \(-inf, inf\)"),
        (lambda: real("x", float("nan"), 0.0, 1.0), r"x=nan is outside \[0, 1\]"),
        (lambda: one_of("which", "fnal", ("final", "best")), "unknown which 'fnal'; did you mean 'final'"),
        (lambda: one_of("which", [1], ("final", "best")), r"`which` must be one of 'final', 'best'; got \[1\]"),
        (lambda: bx.DQN(reward_clip=1e-300), "reward_clip=1e-300 would be 0 in float32; write 0 if that is meant"),
        (lambda: bx.DQN(learning_starts=2**31), r"learning_starts=2147483648 is outside \[0, 2147483647\]"),
        (lambda: bx.QLearning(initial_q=1e300), r"initial_q=1e\+300 is outside \[-3.40282e\+38, 3.40282e\+38\]"),
        (lambda: bx.DQN(adam_epsilon=0), "adam_epsilon=0 is outside .*: parameters without a gradient would become"),
        (lambda: bx.DQN(munchausen_clip=0), "munchausen_clip=0 is outside .*: the log-policy would always be 0"),
        (lambda: bx.RunOptions(env_timeout=1e300), r"env_timeout=1e\+300 is outside \[0.001, 1e\+06\]"),
        (lambda: bx.solve(bx.corridor(3), 0.9, progress=3), r"`progress` must be a function, called as progress\("),
        (lambda: bx.evaluate_policy(bx.corridor(3), [1, 1, 0], 0.9, tolerance="x"), "`tolerance` must be a number"),
        (lambda: bx.train("corridor", "q-learning", steps=5, progress="no"), "`progress` must be True, False or None"),
        (lambda: bx.train("corridor", "q-learning", steps=5, say="no"), r"`say` must be a function, called as say\("),
    ],
)
def test_what_means_nothing_is_refused_with_what_is_possible(read: odd.Call, message: str) -> None:
    with pytest.raises(bx.ConfigError, match=message):
        read()


def test_an_integer_for_a_number_is_that_number() -> None:
    """As an integer it would overflow in JAX from 2**31 on."""
    config = bx.QLearning(initial_q=2**40)
    assert isinstance(config.initial_q, float)
    run = bx.train("corridor", config, steps=10, final_episodes=1)
    assert run.policy().table().max() == 2.0**40
