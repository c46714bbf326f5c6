"""NumPy. Find the forms of an environment: a model, a compiled environment, a Gymnasium environment."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from bellmax.agent_config import AgentConfig, fold, hints
from bellmax.arguments import describe, keywords
from bellmax.catalog import agent_class, agents_with, is_agent
from bellmax.contracts import ConfigError, Discrete, Masked, ModelWarning, Space, unknown
from bellmax.envs.raising import closed_at_the_end, theirs
from bellmax.mdp.gallery import GALLERY
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.successors import with_ends
from bellmax.registry import WORLDS
from bellmax.solving.chain import name_states
from bellmax.spaces import box_bounds, unbounded
from bellmax.values import read_value
from bellmax.words import OPTIONS, WORDS

if TYPE_CHECKING:
    from bellmax.envs.functional import World
    from bellmax.envs.host_steps import Handling
    from bellmax.envs.host_world import HostWorld
    from bellmax.envs.making import Env
    from bellmax.envs.screens import Filming


class Source(NamedTuple):
    """An environment in the forms that it has; a missing form is None.

    Attributes:
        name: what it is called.
        space: of one observation.
        n_actions: A.
        max_episode_steps: its time limit (steps), or None.
        mdp: its transition table.
        compiled: makes its compiled twin.
        open: `open(n)` makes n of it as a host environment, as an evaluation wants them.
        work: `work(n)` makes n to be trained in, where that is another matter: in worker processes, say.
        adapt: the same as `open` of what exists only compiled, for those who need a host environment.
        film: makes one of it as a host environment that takes pictures of itself; of Gymnasium only.
        bounds: (lowest, highest) [k], of all numbers of the Boxes in an observation, in order; None if not known.
        wide_bounds: the same, where integers beyond int32 do not count as open.
        coding: how the environment counts its actions, if not from 0; for `coding.to_native`.
        reward_wrappers: the names of wrappers that change its rewards.
        made_with: the arguments with which `gymnasium.make` made one that was given as an object, as JSON.
        fixed: how many environments an environment given as an object is; None for what can be created many times.
        is_model: whether the environment is its transition table, and not only described by it.
        notes: lines for people on how it was read: why its transition table is not used, which states end.
        without_twin: why the compiled twin of its name is not used, where there is one.
        arguments: with which it was made, where they are a run's.
    """

    name: str
    space: Space
    n_actions: int
    max_episode_steps: int | None
    mdp: FiniteMDP | None = None
    compiled: Callable[[], World[Any]] | None = None
    open: Callable[[int], Any] | None = None
    work: Callable[[int], Any] | None = None
    adapt: Callable[[int], Any] | None = None
    film: Callable[[], Filming] | None = None
    bounds: tuple[Any, Any] | None = None
    wide_bounds: tuple[Any, Any] | None = None
    fixed: int | None = None
    coding: Mapping[str, Any] = {}
    reward_wrappers: tuple[str, ...] = ()
    made_with: str = ""
    is_model: bool = False
    notes: tuple[str, ...] = ()
    without_twin: str = ""
    arguments: Mapping[str, Any] = {}

    def open_worlds(self, n: int, *, training: bool = False) -> Any:
        """`n` of it as a host environment, or as many as it is."""
        make = self.work if training and self.work is not None else self.open or self.adapt
        assert make is not None  # noqa: S101 - each has one of them
        return make(self.fixed or n)

    def compile(self) -> World[Any]:
        """The compiled environment: the twin, or the table as one."""
        if self.compiled is not None:
            return self.compiled()
        assert self.mdp is not None  # noqa: S101 - choose_loop has looked
        from bellmax.envs.tabulated import as_world

        return as_world(self.mdp)


def find_world(world: object, env_kwargs: Mapping[str, Any] | None = None, handling: Handling | None = None) -> Source:
    """The forms of `world`; `handling` is how one of Gymnasium's is run while an agent learns in it.

    It is a name (of the gallery, `probe:` and a probe, `gymnax:` and gymnax's id, Gymnasium's id), a FiniteMDP, a
    compiled World, or an environment of Gymnasium or gymnax; of gymnax also with its parameters, as `gymnax.make`
    returns them.

    Raises:
        ConfigError: nothing has this name, or it cannot be used; the message offers the nearest.
    """
    from bellmax.envs.functional import World

    kwargs = keywords("env_kwargs", env_kwargs)
    if isinstance(world, str) and world.startswith("<"):
        raise ConfigError(f"{world} was an object, not a name; pass the environment again")
    if isinstance(world, str):
        if world in GALLERY:
            return from_mdp(_call(GALLERY[world], world, kwargs), world)
        if world.startswith("probe:"):
            if kwargs:
                raise ConfigError(f"{world} takes no arguments; got {sorted(kwargs)}")
            return _probe(world)
        if world.startswith("gymnax:"):
            from bellmax.envs import gymnax_worlds

            return _from_compiled(world, gymnax_worlds.make_gymnax(world, kwargs))
        if world in WORLDS:
            return _from_gymnasium(WORLDS[world], kwargs, handling)._replace(name=world)
        if is_agent(world):
            raise ConfigError(f"{world!r} is an agent; the environment comes first: train('CartPole-v1', {world!r})")
        return _from_gymnasium(world, kwargs, handling)
    if isinstance(world, AgentConfig):
        name = type(world).__name__
        raise ConfigError(f"a {name} is an agent; the environment comes first: train('CartPole-v1', {name}(...))")
    if type(world).__module__.startswith("bellmax.training.") and isinstance(of := getattr(world, "world", None), str):
        raise ConfigError(f"{describe(world)} is not an environment; give the one it is of, {of!r}")
    made = isinstance(world, FiniteMDP | World)
    if kwargs and (made or (kwargs.keys() != {"wrappers"} and not callable(world))):
        raise ConfigError(f"env_kwargs={kwargs} need an environment's name; build {world!r} with them instead")
    if isinstance(world, FiniteMDP):
        return from_mdp(world, f"<{world.name or 'mdp'}>")
    if isinstance(world, World):
        return _from_compiled(f"<{world.name}>", world, own=True)
    env, *params = world if isinstance(world, tuple) and len(world) == 2 else (world,)
    if any(base.__module__.partition(".")[0] == "gymnax" for base in type(env).__mro__):
        from bellmax.envs import gymnax_worlds

        twin = gymnax_worlds.as_world(env, *params)
        return _from_compiled(f"<{twin.name}>", twin)
    return _from_gymnasium(world, kwargs, handling)


def register_world(name: str, make: Callable[..., Any]) -> None:
    """Let `name` stand for an environment of your own, wherever one is named.

    `make(**env_kwargs)` returns a FiniteMDP, a compiled World or a Gymnasium environment.

    Raises:
        ConfigError: the name is empty, or taken in any spelling; or `make` cannot be called.
    """
    from bellmax.envs.probes import PROBES

    WORLDS.check_name(name, make)
    given: Any = make
    if not callable(given):
        raise ConfigError(f"`make` must be a function that returns an environment; got {describe(make)}")
    taken = {fold(each.removeprefix("probe:")) for each in (*GALLERY, *PROBES)}
    if fold(name) in taken or is_agent(name):
        raise ConfigError(f"{name!r} is a name of bellmax's own; give yours another name")
    if re.search(r"-v\d+$", name):
        raise ConfigError(f"{name!r} ends like Gymnasium's ids; leave {name[name.rindex('-v') :]!r} out, or use "
                          "gymnasium.register")  # fmt: skip
    WORLDS.register(name, make)


def split_arguments(world: object, agent: object, settings: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """The settings that are an agent's; to `problems`, for each argument of the environment, what to write instead."""
    cls = agent_class(agent) if isinstance(agent, str) and (":" in agent or is_agent(agent)) else agent
    own = hints(cls) if isinstance(cls, type) and issubclass(cls, AgentConfig) else {}
    strange = {name for name in settings.keys() - own.keys() if name not in WORDS and name not in OPTIONS}
    if not strange:
        return dict(settings)
    from bellmax.envs.signatures import arguments_of

    def as_given(value: object) -> object:
        try:
            return read_value(value) if isinstance(value, str) else value  # of the command line
        except ValueError:
            return value

    strange &= arguments_of({**GALLERY, **WORLDS}.get(world, world) if isinstance(world, str) else world)
    theirs = [name for name in settings if name in strange and not agents_with(name)]
    problems += [
        f"{name!r} is an argument of the environment: write env_kwargs={{{name!r}: {as_given(settings[name])!r}}}, or "
        f"--env {name}={settings[name]}"
        for name in theirs
    ]
    return {name: value for name, value in settings.items() if name not in theirs}


def from_mdp(mdp: FiniteMDP, name: str) -> Source:
    """A model of the user's own or of the gallery; an episode ends where a model can do nothing more, for nothing."""
    mdp, ends = with_ends(mdp)
    notes = (f"{name}: entering {name_states(mdp, ends)} ends the episode, because no action leaves or pays there",)

    def open_(n: int) -> HostWorld:
        from bellmax.envs.host_world import open_world
        from bellmax.envs.tabulated import TabulatedEnv

        return open_world(lambda: TabulatedEnv(mdp), n=n)

    return Source(
        name, Discrete(mdp.n_states), mdp.n_actions, mdp.max_episode_steps, mdp=mdp, open=open_, is_model=True,
        notes=notes if ends.size else (),
    )  # fmt: skip


def _from_compiled(name: str, world: World[Any], *, own: bool = False) -> Source:
    """A compiled environment; one of the user's `own` is checked first."""
    if own:
        from bellmax.envs.world_contract import check_contract

        check_contract(world)

    def adapt(n: int) -> HostWorld:
        from bellmax.envs.compiled_gymnasium import CompiledEnv
        from bellmax.envs.host_world import open_world

        opened = open_world(lambda: CompiledEnv(world), n=n)
        if isinstance(world.observation_space, Masked):
            opened.use_masks()
        return opened

    seen = world._replace(observation_space=unbounded(world.observation_space))
    return Source(
        name, seen.observation_space, world.n_actions, world.max_episode_steps, compiled=lambda: seen, adapt=adapt,
        bounds=box_bounds(world.observation_space),
    )  # fmt: skip


def _probe(name: str) -> Source:
    from bellmax.envs.probes import PROBES

    if name not in PROBES:
        raise ConfigError(unknown("probe environment", name, PROBES))
    return _from_compiled(name, PROBES[name]().world)


def _from_gymnasium(env: Any, kwargs: dict[str, Any], handling: Handling | None) -> Source:
    """A Gymnasium id, factory or environment; its table and its twin where they exist."""
    import gymnasium as gym

    from bellmax.envs.classic import CLASSIC
    from bellmax.envs.host_world import Handling, open_world
    from bellmax.envs.making import Ready, made_with, make
    from bellmax.envs.stateful import refuse_carrying

    def open_(n: int) -> HostWorld:
        here = None if handling is None else handling._replace(workers=0)
        return open_world(env, n=n, env_kwargs=kwargs, handling=here)

    def work(n: int) -> HostWorld:
        return open_world(env, n=n, env_kwargs=kwargs, handling=(handling or Handling())._replace(training=True))

    def film() -> Filming:
        from bellmax.envs.screens import open_filmed

        return open_filmed(env, kwargs)

    try:
        first = open_(1)
    except Ready as ready:  # a function that makes a model or a compiled world
        made = ready.made
        title = env if isinstance(env, str) else f"<{made.name or 'mdp'}>"
        return from_mdp(made, title) if isinstance(made, FiniteMDP) else _from_compiled(title, made, own=True)
    fixed = first.n if isinstance(env, gym.Env | gym.vector.VectorEnv) or first.n > 1 else None
    with closed_at_the_end(first):
        given = isinstance(env, gym.Env | gym.vector.VectorEnv)
        refuse_carrying(first.name, first.native, None if given else lambda: make(env, 1, kwargs).world)
        name, space = first.name, first.observation_space
        mdp: FiniteMDP | None = None
        notes: tuple[str, ...] = ()
        innermost = first.innermost
        if isinstance(space, Discrete) and innermost is not None and hasattr(innermost, "P"):
            plain = isinstance(env, str) and env.rpartition(":")[2] in gym.registry and "wrappers" not in kwargs
            mdp, notes = _read_table(env, kwargs) if plain else _look_at_table(innermost)
        twin = CLASSIC.get(env) if isinstance(env, str) and not kwargs else None
        asked = "wrappers" if "wrappers" in kwargs else "env_kwargs"
        without = f"{asked} need the host loop" if isinstance(env, str) and env in CLASSIC and kwargs else ""
        name = env if isinstance(env, str) else f"<{name}>"  # a name can be used again, an object cannot
        return Source(
            name, space, first.n_actions, first.max_episode_steps, mdp=mdp, compiled=twin, open=open_, work=work,
            film=film, bounds=first.bounds, wide_bounds=first.wide_bounds, fixed=fixed, coding=first.coding,
            reward_wrappers=tuple(first.reward_wrappers), made_with="" if env == name else made_with(first.native),
            notes=notes, without_twin=without,
        )  # fmt: skip


def _read_table(
    env: str | Env | Callable[..., Env], kwargs: dict[str, Any]
) -> tuple[FiniteMDP | None, tuple[str, ...]]:
    """The transition table of a registered environment, or why it cannot be used."""
    try:
        return FiniteMDP.from_gymnasium(env, **kwargs), ()
    except Warning:
        raise
    except BaseException as error:  # P may be anything
        reason = " ".join(str(theirs(error)).split())
        return None, (f"its transition table `P` is not used, and there are no exact answers: {reason}",)


def _look_at_table(env: Env) -> tuple[None, tuple[str, ...]]:
    """Why the table of an environment that was given by more than a registered id is not used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)
        _, notes = _read_table(env, {})
    ask = "give a registered id without wrappers, or bellmax.FiniteMDP.from_gymnasium(env)"
    return None, notes or (f"its transition table `P` is not used, because it may not be complete; {ask}",)


def _call(function: Callable[..., FiniteMDP], name: str, kwargs: dict[str, Any]) -> FiniteMDP:
    try:
        return function(**kwargs)
    except TypeError as error:
        raise ConfigError(f"{name} cannot be made with {kwargs}: {error}") from error
