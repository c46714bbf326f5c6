"""An agent class of the user's own, found again by its name."""

import dataclasses
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numba.core.errors import NumbaError

import bellmax as bx
from bellmax.catalog import agent_class, make_agent
from bellmax.deep.dqn import ActionValues
from bellmax.deep.targets import SAME
from bellmax.extend import (
    MOST,
    Box,
    LearningConfig,
    Method,
    ReplayAlgorithm,
    Shape,
    Sizes,
    TabularAgent,
    change,
    find_behavior,
    kernel,
    largest,
    setting,
    value,
)
from bellmax.tabular import next_actions
from bellmax.tabular.own_kernels import make_table_agent
from bellmax.training import trainer


class Careful(bx.QLearning):
    """Q-learning by another name."""

    name = "careful-q"


def test_a_run_of_ones_own_agent_is_read_back(tmp_path: Path) -> None:
    run = bx.train("corridor", Careful, steps=500, gamma=0.5, final_episodes=2, out=tmp_path / "run")
    run.policy().save(tmp_path / "policy")
    assert type(bx.load(tmp_path / "run").config) is Careful
    assert type(bx.load_policy(tmp_path / "policy").config) is Careful
    assert bx.evaluate(tmp_path / "run", episodes=2).returns.shape == (2,)
    assert agent_class("careful-q") is Careful
    assert make_agent("careful-q", "", {"gamma": 0.5}) == Careful(gamma=0.5)


def test_where_its_module_is_not_imported_that_is_said(tmp_path: Path) -> None:
    bx.train("corridor", Careful, steps=200, final_episodes=0, out=tmp_path / "run")
    script = f"import bellmax as bx\nbx.load({str(tmp_path / 'run')!r})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "UnsafeFile: refusing to import 'test_own_agents'" in done.stderr
    assert "import test_own_agents before you load the file" in done.stderr
    with pytest.raises(bx.ConfigError, match="unknown agent 'careful-p'"):
        agent_class("careful-p")


class Undeclared(NamedTuple):
    """Two arrays of integers, one of numbers; no ranges."""

    last_obs: Any
    count: Any
    trace: Any


class Declared(Undeclared):
    """The same, with ranges."""

    def ranges(self, sizes: Sizes) -> dict[str, tuple[float, float]]:
        """What the integers may be."""
        return {"last_obs": (-1, sizes.obs - 1), "count": (0, MOST)}


@kernel
def follow(q: Any, memory: Any, options: Any, step: Any, behavior: Any, now: Any) -> Any:
    """Q-learning that stores its last observation and counts."""
    memory[0][0] = step.obs
    memory[1][0] += 1
    error = step.reward + step.discount * largest(q, step.next_obs) - value(q, step.obs, step.action)
    change(q, step.obs, step.action, step.step_size * error)
    return error


@dataclass(frozen=True, kw_only=True)
class Following(LearningConfig):
    """An agent with a memory."""

    name: ClassVar[str] = "following"
    kind: Literal["undeclared", "declared", "plain"] = setting("declared", "which memory")

    def make(self, shape: Shape) -> TabularAgent:
        make: Any = {"undeclared": Undeclared, "declared": Declared, "plain": lambda *parts: parts}[self.kind]
        return TabularAgent(
            follow, find_behavior(self), lambda q: make(np.full(1, -1), np.zeros(1, np.int64), np.zeros(3))
        )


@pytest.mark.parametrize("loop", ["compiled", "host"])
def test_a_memory_without_ranges_is_refused_before_the_first_step_where_it_is_saved(loop: str, tmp_path: Path) -> None:
    short: dict[str, Any] = {"steps": 400, "final_episodes": 0, "loop": loop}
    assert bx.train("cliff", Following(kind="undeclared"), **short).history.step[-1] == 400
    with pytest.raises(bx.ConfigError) as error:
        bx.train("cliff", Following(kind="undeclared"), out=tmp_path / "run", **short)
    assert "Undeclared.last_obs is an int64 array" in str(error.value)
    assert "def ranges(self, sizes): return {'last_obs': (lowest, highest)}" in str(error.value)
    assert "Undeclared.count" in str(error.value)
    assert "trace" not in str(error.value)
    with pytest.raises(bx.ConfigError, match="part 0 of `memory` is an int64 array; make `memory` a NamedTuple"):
        bx.train("cliff", Following(kind="plain"), out=tmp_path / "run", **short)
    assert not (tmp_path / "run").exists()


def test_a_memory_with_ranges_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(trainer.Trainer, "save_end", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        bx.train("cliff", Following(), steps=400, final_episodes=0, out=tmp_path / "run")
    monkeypatch.undo()
    run = bx.resume(tmp_path / "run")
    whole = bx.train("cliff", Following(), steps=400, final_episodes=0)
    assert np.array_equal(run.policy().arrays["q"], whole.policy().arrays["q"])


def _interrupt(self: object) -> None:
    raise KeyboardInterrupt


def bare(q: Any, memory: Any, options: Any, step: Any, behavior: Any, now: Any) -> Any:
    """Not a kernel."""
    return 1.0


@kernel
def silent(q: Any, memory: Any, options: Any, step: Any, behavior: Any, now: Any) -> Any:
    """Without a TD error."""
    change(q, step.obs, step.action, 0.1)


@kernel
def partly(q: Any, memory: Any, options: Any, step: Any, behavior: Any, now: Any) -> Any:
    """With a TD error in some states only."""
    if step.obs == 2:
        return None
    return 1.0


@kernel
def short_of(q: Any, step: Any) -> Any:
    """Without the other arguments."""
    return 1.0


@kernel
def misspelled(q: Any, memory: Any, options: Any, step: Any, behavior: Any, now: Any) -> Any:
    """Numba finds this one."""
    return step.rewrad


@kernel
def early(q: Any, memory: Any, options: Any, step: Any, behavior: Any, now: Any) -> Any:
    """Sarsa of an action that is not chosen yet."""
    error = step.reward + step.discount * value(q, step.next_obs, step.next_action) - value(q, step.obs, step.action)
    change(q, step.obs, step.action, step.step_size * error)
    return error


@kernel
def follows(q: Any, moment: Any) -> Any:
    """The value that `early` uses."""
    return value(q, moment.next_obs, moment.next_action)


@kernel
def through_another(q: Any, memory: Any, options: Any, step: Any, behavior: Any, now: Any) -> Any:
    """It uses the next action in a kernel that it calls."""
    return follows(q, moment=step)


@kernel
def is_chosen(step: Any) -> Any:
    """Whether there is a next action."""
    return step.next_action >= 0


@kernel
def knows_of_it(q: Any, memory: Any, options: Any, step: Any, behavior: Any, now: Any) -> Any:
    """It knows that the next action may be missing."""
    following = step.next_action
    if following < 0:
        following = behavior.best(q, step.next_obs, now)
    return value(q, step.next_obs, following)


@kernel
def asks_another(q: Any, memory: Any, options: Any, step: Any, behavior: Any, now: Any) -> Any:
    """It uses a field of this name in its memory, and another kernel knows of the next action."""
    return 1.0 if is_chosen(step) else memory.next_action


@kernel
def calls_itself(q: Any, memory: Any, options: Any, step: Any, behavior: Any, now: Any) -> Any:
    """It calls itself, so following its calls must end."""
    return 0.0 if step.reward > 0.0 else calls_itself(q, memory, options, step, behavior, now)


WRONG = {
    "bare": (bare, r"^`bare`, the update of Wrong, must be decorated with @kernel"),
    "silent": (silent, r"^`silent`, the update of Wrong, must return the TD error, a number; it returns nothing$"),
    "partly": (
        partly,
        r"^`partly`, the update of Wrong, must return the TD error, a number; it does not on every path$",
    ),
    "short_of": (short_of, r"must have the parameters q, memory, options, step, behavior, now; it has q, step$"),
    "misspelled": (misspelled, r"^`misspelled`, .* cannot be compiled by Numba: Unknown attribute 'rewrad' of type"),
    "early": (early, r"^`early`, the update of Wrong, uses step\.next_action, which is -1 .* look_ahead=True\)$"),
    "nothing": (None, r"^`make` of Wrong must return a TabularAgent; got None"),
}


@dataclass(frozen=True, kw_only=True)
class Wrong(LearningConfig):
    """An agent with one of these updates."""

    name: ClassVar[str] = "wrong"
    what: str = setting("bare", "which update")

    def make(self, shape: Shape) -> TabularAgent:
        update: Any = WRONG[self.what][0]
        made: Any = update and TabularAgent(update, find_behavior(self))
        return made


@pytest.mark.parametrize("way", ["compiled", "host", "data"])
@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_a_kernel_is_said_in_one_line(what: str, way: str) -> None:
    data: Any = {"data": bx.collect(lambda obs: 1, "corridor", steps=50)} if way == "data" else {"loop": way}
    with pytest.raises(bx.ConfigError, match=WRONG[what][1]) as error:
        bx.train("corridor", Wrong(what=what), steps=200, final_episodes=0, **data)
    assert "\n" not in str(error.value)
    if what in ("silent", "misspelled"):
        assert isinstance(error.value.__cause__, NumbaError)


@pytest.mark.parametrize("look_ahead", [False, True])
@pytest.mark.parametrize(("update", "uses"), [
    (through_another, True), (early, True), (knows_of_it, False), (asks_another, False), (follow, False),
    (calls_itself, False),
])  # fmt: skip
def test_an_action_that_is_not_chosen_yet_cannot_be_used(update: Any, uses: bool, look_ahead: bool) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Looking(LearningConfig):
        def make(self, shape: Shape) -> TabularAgent:
            return TabularAgent(update, find_behavior(self), look_ahead=look_ahead)

    if uses and not look_ahead:
        with pytest.raises(bx.ConfigError, match=r"uses step\.next_action"):
            make_table_agent(Looking(), Shape(4, 2))
    else:
        assert make_table_agent(Looking(), Shape(4, 2)).update is update


def test_without_what_numba_shows_no_kernel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_actions, "MISSING", "cannot import name 'run_frontend'")
    assert make_table_agent(Wrong(what="early"), Shape(4, 2)).update is early


@dataclass(frozen=True, kw_only=True)
class Unmade(LearningConfig):
    """Without `make`."""

    name: ClassVar[str] = "unmade"


@dataclass(frozen=True, kw_only=True)
class Unstated(ReplayAlgorithm):
    """Without `method`."""

    name: ClassVar[str] = "unstated"


def loss_of(answer: Any) -> Any:
    """A loss of one transition that returns what `answer` makes of the error."""

    def loss(net: Any, target_net: Any, transition: Any, weight: Any, draws: Any) -> Any:
        return answer(net(transition.obs).numbers[transition.action] - transition.reward)

    return loss


METHODS: dict[str, tuple[Any, Any, int, str]] = {
    "good": (lambda x: x, lambda e: (e**2, abs(e), {"q": e}), 0, ""),
    "two": (lambda x: x, lambda e: (e, e), 0, r"^`loss` of the method of Own must return \(loss, priority, metrics\)"),
    "vector": (lambda x: x, lambda e: (e[None], e, {}), 0, r"`loss` .*; got \(float32 \[1\], float32 \[\], {}\)$"),
    "metric": (lambda x: x, lambda e: (e, e, {"x": e[None]}), 0, r"`loss` .*; got .*{'x': float32 \[1\]}\)$"),
    "integer": (lambda x: x, lambda e: (e.astype(int), e, {}), 0, r"`loss` .*; got \(int32 \[\], "),
    "raises": (lambda x: x, lambda e: (e, e.gone, {}), 0, rf"^`loss` of .*AttributeError: .*, at {__file__}:\d+$"),
    "one": (lambda x: x[:1], None, 0, r"^`output` of the method of Own.*, float32 \[2\]; got float32 \[1\]$"),
    "outputs": (lambda x: x, None, 5, r"^`output` of .*whose network returns \[2, 5\].*; got float32 \[2, 5\]$"),
    "reader": (lambda x: x @ jnp.ones(3), None, 5, r"^`output` of .*TypeError: "),
}


@dataclass(frozen=True, kw_only=True)
class Own(bx.DQN):
    """An agent with one of these methods."""

    name: ClassVar[str] = "own"
    what: str = setting("good", "which method")

    def method(self) -> Any:
        read, answer, n_outputs, _ = METHODS[self.what]
        return Method(lambda numbers: ActionValues(read(numbers), SAME), loss_of(answer), n_outputs=n_outputs)


@pytest.mark.parametrize("recurrent", ["none", "gru"])
def test_a_method_of_ones_own_is_accepted(recurrent: Any) -> None:
    assert Own(recurrent=recurrent).make(Box((3,)), 2, 100)


@pytest.mark.parametrize("what", [what for what in METHODS if what != "good"])
def test_what_is_wrong_with_a_method_is_said_when_the_agent_is_made(what: str) -> None:
    with pytest.raises(bx.ConfigError, match=METHODS[what][3]):
        Own(what=what).make(Box((3,)), 2, 100)


class Bare(bx.QLearning):
    """Not a dataclass."""

    gap: float = setting(0.5, "a sentence")


def test_what_is_wrong_with_a_config_class_is_said() -> None:
    with pytest.raises(bx.ConfigError, match=r"^Unmade does not define `make`; write in it: def make\(self, shape\): "):
        bx.train("corridor", Unmade(), steps=200)
    with pytest.raises(bx.ConfigError, match=r"^Unstated does not define `method`; write in it: def method\(self\): "):
        bx.train("CartPole-v1", Unstated(), steps=200)
    for make in (Bare, lambda: Bare(gap=0.2), lambda: bx.train("corridor", Bare, steps=200)):
        with pytest.raises(bx.ConfigError, match=r"gap would not be settings, .* write @dataclass\("):
            make()


def named(name: object) -> type[bx.QLearning]:
    """Somebody's own class with this name."""
    return dataclasses.dataclass(frozen=True, kw_only=True)(type("Mine", (bx.QLearning,), {"name": name}))


@pytest.mark.parametrize("name", ["", " ", 5, "a\nb", "a:b", "-q"])
def test_a_name_that_cannot_be_written_is_refused(name: object) -> None:
    cls = named(name)
    for agent in (cls, cls()):
        with pytest.raises(bx.ConfigError, match=r"^`name` of the class Mine must "):
            bx.train("cliff", agent, steps=100)


@pytest.mark.parametrize(("name", "same"), [("q-learning", "q-learning"), ("QLearning", "q-learning"), ("DQN", "dqn")])
def test_a_name_of_another_agent_is_told(name: str, same: str) -> None:
    said: list[str] = []
    run = bx.train("cliff", named(name)(), steps=100, records=1, final_episodes=1, say=said.append)
    assert any(f"has the name of another one, {same!r}; give the class another `name`" in line for line in said)
    assert repr(run).startswith(f"Run({name} on cliff")


def test_a_name_of_its_own_is_not_told() -> None:
    said: list[str] = []
    for agent in (named("Bad Name")(), bx.QLearning(), "q-learning"):
        bx.train("cliff", agent, steps=100, records=1, final_episodes=1, say=said.append)
    assert said[0].startswith("Bad Name on cliff: 100 steps")
    assert not any("has the name of another one" in line for line in said)


class Halves(eqx.Module):
    """A layer with weights of 16 bits."""

    weight: jax.Array
    bias: jax.Array

    def __call__(self, obs: Any) -> Any:
        return jnp.tanh(self.weight.astype(jnp.float32) @ obs + self.bias)


def halves(space: Any, widths: Any, normalization: Any, key: Any) -> Halves:
    """A network with an array of bfloat16."""
    return Halves(jax.random.normal(key, (8, 4)).astype(jnp.bfloat16), jnp.zeros(8))


def test_parameters_of_bfloat16_are_saved_loaded_and_resumed_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how: dict[str, Any] = {"network": f"{__name__}:halves", "steps": 400, "learning_starts": 100, "eval_episodes": 0}
    whole = bx.train("CartPole-v1", "dqn", out=tmp_path / "whole", final_episodes=1, **how)
    monkeypatch.setattr(trainer, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(trainer.Trainer, "save_end", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        bx.train("CartPole-v1", "dqn", out=tmp_path / "run", final_episodes=1, **how)
    monkeypatch.undo()
    wanted = whole.policy().arrays
    assert wanted["torso.weight"].dtype == jnp.bfloat16
    whole.policy().save(tmp_path / "policy")
    for policy in (
        bx.load(tmp_path / "whole").policy(),
        bx.resume(tmp_path / "run").policy(),
        bx.load_policy(tmp_path / "policy"),
    ):
        assert {name: (array.dtype, array.tobytes()) for name, array in policy.arrays.items()} == {
            name: (array.dtype, array.tobytes()) for name, array in wanted.items()
        }
