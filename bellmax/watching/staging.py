"""NumPy. Play episodes of a policy as an evaluation does, and take a picture and the values before each action."""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from bellmax.contracts import ConfigError, HostObs
from bellmax.envs.raising import closed_at_the_end
from bellmax.envs.screens import screen_image
from bellmax.mdp.model import FiniteMDP
from bellmax.sources import Source
from bellmax.training.function_policy import Actor
from bellmax.training.play import STEP_CAP, plays_by_table, table_steps
from bellmax.training.policy import Policy
from bellmax.training.policy_distribution import ReturnDistribution
from bellmax.watching.drawing import text_image
from bellmax.watching.state_drawing import state_drawer

if TYPE_CHECKING:
    from bellmax.envs.host_world import HostWorld

MODEL_SPEED = 4.0  # pictures per second of a model, where each step is a move


class StagedMoment(NamedTuple):
    """An environment and a policy before an action, or after the last step of an episode.

    Attributes:
        image: [H, W, 3] uint8; None where the environment draws in a window of its own.
        q: the values of the actions [A], -inf where one is not allowed; None at the end, or of a policy without values.
        spread: the distributions of their returns, of a policy that learned them.
        action: the one that is chosen; None at the end.
        step: environment steps of this episode so far.
        total: the return so far.
        end: how the episode ended: "terminated", "truncated", "stopped" (here), "cut short"; "" before the end.
    """

    image: np.ndarray | None
    q: np.ndarray | None
    spread: ReturnDistribution | None
    action: int | None
    step: int
    total: float
    end: str = ""


class Stage(NamedTuple):
    """An environment that is ready to be watched.

    Attributes:
        name: of the environment.
        speed: pictures per second, as it is meant to be seen.
        action_names: of each action [A].
        play: `play(seed, cap)` yields the moments of one episode, of at most `cap` steps.
        limit: after so many steps an evaluation ends an episode.
        own_window: whether the environment draws in a window of its own.
    """

    name: str
    speed: float
    action_names: tuple[str, ...]
    play: Callable[[int, int], Iterator[StagedMoment]]
    limit: int
    own_window: bool = False


Spreads: TypeAlias = Callable[[object, HostObs], ReturnDistribution | None]
Look: TypeAlias = Callable[[HostObs], np.ndarray | None]


@contextlib.contextmanager
def opened_stage(actor: Actor, source: Source, *, valued: bool = True) -> Iterator[Stage]:
    """Open the environment of a policy, and close it at the end.

    Args:
        actor: the policy.
        source: its environment.
        valued: whether the policy has action values; a list of actions has none.

    Raises:
        ConfigError: the environment cannot be seen.
    """
    valued = valued and isinstance(actor, Policy)
    spreads, limit = spreads_of(actor), source.max_episode_steps or STEP_CAP
    if source.is_model and source.mdp is not None:
        names = tuple(map(str, source.mdp.action_names)) or tuple(map(str, range(source.n_actions)))
        if isinstance(actor, Policy) and plays_by_table(actor, source):
            play = functools.partial(table_episode, source.mdp, actor.table(), spreads, valued)
            yield Stage(source.name, MODEL_SPEED, names, play, limit)
            return
        world = source.open_worlds(1)
        look: Look = functools.partial(_of_state, state_drawer(source.mdp))
        speed, mode = MODEL_SPEED, ""
    elif source.film is not None:
        world, taken, mode, speed, names = source.film()
        look = functools.partial(_of_taken, source.name, taken, mode)
    else:
        raise ConfigError(
            f"{source.name} cannot be watched: it exists only compiled, and a compiled environment has no picture; "
            "give a Gymnasium environment with the same observations and actions that renders, as world= (--world)"
        )
    world.use_masks(if_given=True)  # as an evaluation does
    with closed_at_the_end(world):
        play = functools.partial(host_episode, actor, world, look, spreads, valued)
        yield Stage(source.name, speed, names, play, limit, own_window=mode == "human")


def host_episode(
    actor: Actor,
    world: HostWorld,
    look: Look,
    spreads: Spreads,
    valued: bool,
    seed: int,
    cap: int,
) -> Iterator[StagedMoment]:
    """Yield the moments of one greedy episode in a host environment; `look(obs)` is the picture of the moment."""
    obs, carry, total = world.reset(seed), actor.begin(1), 0.0
    for t in range(cap):
        q, after = actor.look_from_zero(carry, obs)
        action, shown = int(np.argmax(q[0])), q[0] if valued else None
        yield StagedMoment(look(obs), shown, spreads(carry, obs), action, t, total)
        step = world.step([action])
        total += float(step.reward[0])
        end = "terminated" if step.terminated[0] else "truncated" if step.ended[0] else "cut short"
        if step.begins[0] or t + 1 == cap:
            last = end if step.begins[0] else "stopped"
            yield StagedMoment(look(step.next_obs), None, None, None, t + 1, total, last)
            return
        obs, carry = step.obs, after


def table_episode(
    mdp: FiniteMDP, table: npt.NDArray[np.generic], spreads: Spreads, valued: bool, seed: int, cap: int
) -> Iterator[StagedMoment]:
    """Yield the moments of one greedy episode in a model by a table [S, A], with the numbers of `play_table`."""
    q, total = np.where(mdp.allowed, table, -np.inf), 0.0
    draw = state_drawer(mdp, q.max(axis=1) if valued else None)
    for t, step in enumerate(table_steps(mdp, table, 1, seed)):
        state = int(step.state[0])
        spread = spreads(None, np.array([state]))
        yield StagedMoment(draw(state), q[state] if valued else None, spread, int(step.action[0]), t, total)
        total += float(step.reward[0])
        over = bool(step.over[0])
        if over or t + 1 == cap:
            end = "terminated" if over else "truncated" if t + 1 == (mdp.max_episode_steps or STEP_CAP) else "stopped"
            yield StagedMoment(draw(int(step.next_state[0])), None, None, None, t + 1, total, end)
            return


def spreads_of(actor: Actor) -> Spreads:
    """Return a function from a carry and one observation to the distributions of the returns, None where unknown."""
    if not isinstance(actor, Policy):
        return lambda carry, obs: None
    policy, knows = actor, [True]

    def spread(carry: object, obs: HostObs) -> ReturnDistribution | None:
        if not knows[0]:
            return None
        try:
            values, probabilities = policy.distribution_from_zero(carry, obs)
        except ConfigError:  # it learned expected returns only
            knows[0] = False
            return None
        return ReturnDistribution(values[0], probabilities[0])

    return spread


def _of_taken(name: str, taken: deque[object], mode: str, obs: HostObs) -> np.ndarray | None:
    """What an environment rendered in its last reset or step, as an image; the end of an episode before its reset."""
    del obs
    picture = taken[0]
    taken.clear()
    return None if mode == "human" else screen_image(name, picture, text_image)


def _of_state(draw: Callable[[int], np.ndarray], obs: HostObs) -> np.ndarray:
    return draw(int(np.ravel(obs[0])[0]))  # of a Masked also the observation
