"""Plain Python. The names of agents, and how one is made for an environment. To add an agent, add its line here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

from bellmax.agent_config import AgentConfig, build, check_dataclass, fold
from bellmax.arguments import describe
from bellmax.contracts import ConfigError, listed, nearest
from bellmax.recipes import Origin, origins, recipe_for
from bellmax.registry import Registry, check_spelling, is_own, or_own, place_of
from bellmax.words import misnamed

if TYPE_CHECKING:
    from bellmax.deep.config import DeepConfig
    from bellmax.tabular.agent import TabularConfig

# modules are imported when asked for, as JAX takes a second
AGENTS: Registry[type[AgentConfig]] = Registry(
    "agent",
    {
        "q-learning": "bellmax.tabular.td:QLearning",
        "sarsa": "bellmax.tabular.td:Sarsa",
        "expected-sarsa": "bellmax.tabular.td:ExpectedSarsa",
        "double-q": "bellmax.tabular.td:DoubleQ",
        "speedy-q": "bellmax.tabular.td:SpeedyQ",
        "n-step-sarsa": "bellmax.tabular.multistep:NStepSarsa",
        "tree-backup": "bellmax.tabular.multistep:TreeBackup",
        "q-sigma": "bellmax.tabular.multistep:QSigma",
        "monte-carlo": "bellmax.tabular.multistep:MonteCarlo",
        "sarsa-lambda": "bellmax.tabular.traces:SarsaLambda",
        "true-online-sarsa": "bellmax.tabular.traces:TrueOnlineSarsa",
        "watkins-q": "bellmax.tabular.traces:WatkinsQ",
        "peng-q": "bellmax.tabular.traces:PengQ",
        "dyna-q": "bellmax.tabular.planning:DynaQ",
        "dyna-q-plus": "bellmax.tabular.planning:DynaQPlus",
        "prioritized-sweeping": "bellmax.tabular.planning:PrioritizedSweeping",
        "r-max": "bellmax.tabular.pac:RMax",
        "delayed-q": "bellmax.tabular.pac:DelayedQ",
        "dqn": "bellmax.deep.dqn:DQN",
        "double-dqn": "bellmax.deep.dqn:DQN",
        "c51": "bellmax.deep.c51:C51",
        "qr-dqn": "bellmax.deep.qr_dqn:QRDQN",
        "iqn": "bellmax.deep.iqn:IQN",
        "munchausen-dqn": "bellmax.deep.variants:MunchausenDQN",
        "rainbow": "bellmax.deep.rainbow:Rainbow",
        "bootstrapped-dqn": "bellmax.deep.bootstrapped:BootstrappedDQN",
        "r2d2": "bellmax.deep.r2d2:R2D2",
        "pqn": "bellmax.deep.pqn:PQN",
        "cql": "bellmax.deep.variants:CQL",
        "bcq": "bellmax.deep.bcq:BCQ",
    },
)
PRESETS: dict[str, dict[str, Any]] = {"double-dqn": {"double": True}}
"""Names of agents that are a class with these settings."""


OTHER_SPELLINGS = {
    "ddqn": "double-dqn", "double q-learning": "double-q", "tabular q-learning": "q-learning", "q": "q-learning",
    "q-table": "q-learning", "deep q-network": "dqn", "deep q-learning": "dqn", "categorical dqn": "c51",
    "quantile dqn": "qr-dqn", "munchausen": "munchausen-dqn", "bootstrapped": "bootstrapped-dqn", "mc": "monte-carlo",
    "n-step": "n-step-sarsa", "td-lambda": "sarsa-lambda", "rainbow dqn": "rainbow", "discrete bcq": "bcq",
    "discrete cql": "cql", "tabular": "q-learning", "tabular q": "q-learning", "dyna": "dyna-q", "speedy": "speedy-q",
    "first-visit mc": "monte-carlo", "mc control": "monte-carlo", "delayed": "delayed-q",
    "prioritized sweeping": "prioritized-sweeping", "implicit quantile network": "iqn",
}  # fmt: skip
_VALUES = "bellmax learns action values, not policies; use "
_SOLVE = "a model is solved, not learned; use bellmax.solve(mdp, gamma), on the command line bellmax solve"
NOT_HERE = {
    **dict.fromkeys(("ppo", "a2c", "a3c", "trpo", "reinforce", "policy gradient", "actor critic", "impala", "cem", "es",
                     "vpg", "ppg", "decision transformer"), f"{_VALUES}dqn"),
    **dict.fromkeys(("sac", "td3", "ddpg", "td-mpc"),
                    f"{_VALUES}dqn, with the actions made discrete by DiscretizeAction"),
    **dict.fromkeys(("value iteration", "vi", "policy iteration", "pi", "dp", "dynamic programming", "lp"), _SOLVE),
    **dict.fromkeys(("muzero", "alphazero", "mcts", "dreamer", "efficientzero"),
                    "bellmax has no planning with a learned network; use rainbow, or dyna-q with a table"),
    **dict.fromkeys(("dueling dqn", "dueling", "dueling q"), "it is a switch; use dqn with dueling=True"),
    **dict.fromkeys(("d3qn", "dueling double dqn", "dueling ddqn"), "use dqn with double=True, dueling=True"),
    **dict.fromkeys(("per", "prioritized dqn", "dqn per", "per dqn", "prioritized replay"),
                    "it is a switch; use dqn with prioritized=True"),
    **dict.fromkeys(("noisynet", "noisy dqn", "noisy net", "noisy"), "it is a switch; use dqn with noisy=True"),
    **dict.fromkeys(("drqn", "recurrent dqn", "lstm dqn"), "use r2d2, or dqn with recurrent='gru'"),
    **dict.fromkeys(("n step dqn", "n step q", "multi step dqn"),
                    "use dqn with n_steps=3; with a table, n-step-sarsa or tree-backup"),
    **dict.fromkeys(("apex", "apex dqn", "ngu", "agent57"), "use r2d2, or dqn with num_envs and prioritized=True"),
    **dict.fromkeys(("q lambda", "q(lambda)"), "use watkins-q or peng-q"),
    **dict.fromkeys(("td", "td0", "td(0)"), "use sarsa or q-learning; evaluate_policy has the values of a policy"),
    **dict.fromkeys(("ucb", "epsilon greedy", "eps greedy", "e greedy", "ε-greedy", "boltzmann", "softmax"),
                    "it is how an agent explores; use q-learning with exploration='ucb', say"),
    **dict.fromkeys(("random", "random agent", "random policy", "uniform"),
                    "a random policy learns nothing; bellmax.evaluate judges any function of observations"),
    **dict.fromkeys(("human", "manual"), "gymnasium.utils.play is for people"),
}  # fmt: skip


def agent_name(name: str) -> str:
    """The agent's name in `AGENTS`, from any case and spelling: "Q-Learning", "q_learning", "QLearning".

    `module:Class` stays as it is, and is not looked at.

    Raises:
        ConfigError: no agent has this name; the message offers the nearest.
    """
    if name in AGENTS or ":" in name:
        return name
    spelled = {fold(AGENTS.place(known).rpartition(":")[2]): known for known in AGENTS if known not in PRESETS}
    spelled |= {fold(other): known for other, known in OTHER_SPELLINGS.items()} | {fold(each): each for each in AGENTS}
    if fold(name) in spelled:  # also where a class of somebody's own has this name
        return spelled[fold(name)]
    if own_class(name) is not None:
        return name
    for other, instead in NOT_HERE.items():
        if fold(name) == fold(other):
            raise ConfigError(f"unknown agent {name!r}: {instead}")
    near = nearest(name, [*AGENTS, *OTHER_SPELLINGS], 0.6)
    remedy = (
        f"known: {listed(sorted(AGENTS))}{or_own('agent')}"
        if near is None
        else f"did you mean {OTHER_SPELLINGS.get(near, near)!r}?"
    )
    raise ConfigError(f"unknown agent {describe(name)}; {remedy}")


def is_tabular(config: AgentConfig) -> TypeGuard[TabularConfig]:
    """Return whether an agent has a table, or tile-coded weights, and learns by Numba."""
    return config.family == "table"


def is_deep(config: AgentConfig) -> TypeGuard[DeepConfig]:
    """Return whether an agent has a network and learns by JAX."""
    return config.family == "network"


def agent_class(name: str) -> type[AgentConfig]:
    """The config class behind an agent's name, in any spelling, or at `module:Class`.

    Raises:
        ConfigError: no agent has this name; the message offers the nearest.
    """
    name = agent_name(name)
    if name not in AGENTS and (own := own_class(name)) is not None:
        return own
    cls = AGENTS.find(name)
    if ":" in name:
        check_class(cls, name)
    return cls


def check_class(cls: object, what: str) -> None:
    """Refuse what is not the class of an agent, has no name, or has settings that nobody would see.

    Raises:
        ConfigError: it is not one.
    """
    if not (isinstance(cls, type) and issubclass(cls, AgentConfig)):
        raise ConfigError(
            f"{what} is {describe(cls)}, not the class of an agent; derive a class from bx.QLearning, bx.DQN or "
            "another agent"
        )
    check_own_name(cls)
    check_dataclass(cls, what)


def register_agent(name: str, cls: type[AgentConfig]) -> None:
    """Let `agent=name` stand for an agent of your own, in Python and, with `--import`, on the command line.

    Raises:
        ConfigError: `cls` is not the class of an agent; or the name is empty, or taken in any spelling.
    """
    check_class(cls, "`cls`")
    if isinstance(name, str) and fold(name) not in map(fold, AGENTS):
        classes = [AGENTS.place(known).rpartition(":")[2] for known in AGENTS.built_in]
        if fold(name) in map(fold, [*OTHER_SPELLINGS, *NOT_HERE, *classes]):
            raise ConfigError(f"{name!r} is another name of an agent that bellmax knows; give yours another name")
    AGENTS.register(name, cls)


def check_own_name(cls: type[AgentConfig]) -> None:
    """Refuse somebody's own class whose name cannot be written. Raises: as `check_spelling`."""
    if is_own(cls):
        check_spelling(cls.name, f"`name` of the class {cls.__name__}")


def shared_name(cls: type[AgentConfig]) -> str:
    """Return a remark if somebody's own class has the name of an agent of bellmax, in any spelling; else ""."""
    same = next((name for name in AGENTS.built_in if fold(name) == fold(cls.name)), None)
    if same is None or not is_own(cls):
        return ""
    return f"the agent {place_of(cls)} has the name of another one, {same!r}; give the class another `name`"


def own_class(name: str) -> type[AgentConfig] | None:
    """The class of somebody's own agent with this name, if its module has been imported; the last one defined."""
    found, classes = None, [AgentConfig]
    while classes:
        cls = classes.pop()
        classes += cls.__subclasses__()
        if cls.__dict__.get("name") == name and is_own(cls):
            found = found or cls
    return found


def is_agent(name: str) -> bool:
    """Whether an agent has this name, in any spelling; `module:Class` is not looked at, and may be anything."""
    if ":" in name:
        return False
    try:
        agent_name(name)
    except ConfigError:
        return False
    return True


def agents_with(setting: str) -> list[str]:
    """The agents that have a hyper-parameter of this name."""
    return [name for name in AGENTS if setting in {field.name for field in dataclasses.fields(agent_class(name))}]


def make_agent(
    agent: str | type[AgentConfig] | AgentConfig, world: str, values: Mapping[str, Any], from_data: bool = False
) -> AgentConfig:
    """The config of an agent for an environment: class defaults, then the environment's, then `values`.

    A class is what its name is; a config is used as it stands. `from_data` leaves out the environment's `n_steps`:
    n rewards of another policy's actions are values of that policy, and data may be in any order.

    Raises:
        ConfigError: an unknown agent or hyper-parameter, or values that do not fit; all in one message.
    """
    if isinstance(agent, AgentConfig):
        check_own_name(type(agent))
        own = [field.name for field in dataclasses.fields(agent)]
        if foreign := [misnamed(key, value, own) for key, value in values.items() if key not in own]:
            raise ConfigError("; ".join(foreign))
        if values:
            raise ConfigError(f"give {listed(values)} to {type(agent).__name__}(...), or name the agent by a string")
        return agent
    cls, named = class_and_settings(agent)
    recipe = {name: value for name, (value, _) in recipe_for(world, own_name(cls)).items()}
    if from_data:
        recipe.pop("n_steps", None)
    return build(cls, {**recipe, **named, **values}, others=agents_with)


def own_name(cls: type[AgentConfig]) -> str:
    """The name that recipes know a class by; nothing for one that has only inherited it."""
    return str(vars(cls).get("name", ""))


def class_and_settings(agent: object) -> tuple[type[AgentConfig], dict[str, Any]]:
    """The class of an agent given by its name or class, and the settings that the name stands for.

    Raises:
        ConfigError: `agent` is neither a name nor a class, or the name is unknown.
    """
    if isinstance(agent, str):
        name = agent_name(agent)
        return agent_class(name), PRESETS.get(name, {})
    if isinstance(agent, type) and issubclass(agent, AgentConfig) and (agent.name or is_own(agent)):
        check_class(agent, agent.__name__)
        return agent, {}
    raise ConfigError(
        f"agent={describe(agent)} is not an agent; give a name such as 'dqn' or 'q-learning', or a config such as "
        "bx.QLearning(gamma=0.9), or your own as 'module:Class'"
    )


def show_settings(
    agent: str | type[AgentConfig] | AgentConfig, world: str, values: Mapping[str, Any], from_data: bool = False
) -> list[Origin]:
    """Every setting that an agent would use in an environment, and where its value comes from.

    Raises:
        ConfigError: as `make_agent`.
    """
    config = make_agent(agent, world, values, from_data)
    cls, named = class_and_settings(agent)
    return origins(config, world, own_name(cls), named, values)
