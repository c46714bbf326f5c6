"""Plain Python and Optax. The settings that deep agents share, and what cannot go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from bellmax.agent_config import AgentConfig, Limits, as_spelled, setting
from bellmax.contracts import ConfigError, Space, unknown
from bellmax.deep.method import Method
from bellmax.deep.optax_names import arguments, optimizers
from bellmax.deep.state import DeepAgent
from bellmax.networks.network import Cell
from bellmax.networks.torsos import find_torso

Explore: TypeAlias = Literal["epsilon-greedy", "ladder", "boltzmann"]


@dataclass(frozen=True, kw_only=True)
class DeepConfig(AgentConfig):
    """What every deep agent has; names and units as in Stable-Baselines3."""

    family: ClassVar[Literal["table", "network", ""]] = "network"
    recurrent_cells: ClassVar[bool] = True  # whether `recurrent` means something to the agent

    network: str = setting(
        "auto",
        "torso: mlp, minatar, nature, efficient, impala, one of yours, or auto by observations",
        group="network",
    )
    net_arch: tuple[int, ...] = setting(
        (64, 64), "widths of the hidden layers; for images only the last counts", low=1, group="network"
    )
    normalization: Literal["none", "layer", "spectral"] = setting(
        "layer", "what keeps hidden layers in bounds", group="network"
    )
    normalize_observations: bool = setting(
        False,
        "standardize numbers by the running mean and variance of what was learned from; part of the policy",
        group="network",
    )
    reward_scale: float = setting(
        1.0, "what rewards are multiplied by before they are learned from", low=1e-12,
        zero="every reward would be 0 and nothing learned",
        group="returns",
    )  # fmt: skip
    reward_clip: float = setting(0.0, "rewards are then clipped to ± this; 0: not at all", low=0.0, group="returns")
    dueling: bool = setting(False, "state value and advantages in two streams", group="network")
    noisy: bool = setting(False, "learned noise in the head's layers, for exploration", group="network")
    recurrent: Cell = setting("none", "memory cell between torso and head", group="network")

    optimizer: str = setting("adam", "any optimizer of Optax, by its name", group="optimizer")
    learning_rate: float = setting(
        2.5e-4, "step size of the optimizer", low=1e-12, zero="nothing would be learned", group="optimizer"
    )
    learning_rate_schedule: Literal["constant", "linear", "cosine"] = setting(
        "linear", "how the step size falls to 0 over the run", group="optimizer"
    )
    adam_epsilon: float = setting(
        1e-5, "the optimizer's ε; larger ones calm it where gradients are small", low=0.0, group="optimizer"
    )
    weight_decay: float = setting(
        0.0,
        "weight of the parameters in their gradient; adamw and its kin take it off apart from that",
        low=0.0,
        group="optimizer",
    )
    max_grad_norm: float = setting(
        10.0, "global norm to which gradients are clipped", low=1e-12,
        zero="every gradient would be 0 and nothing learned; give a large number, such as 1e9, to clip nothing",
        group="optimizer",
    )  # fmt: skip
    weight_averaging: bool = setting(
        True,
        "the policy is an average of the parameters over the later part of learning; acting uses the present ones",
        group="network",
    )

    exploration: Explore = setting(
        "epsilon-greedy",
        "how it explores; ladder: each world has an ε of its own; boltzmann: by the values",
        group="exploration",
    )
    temperature: float = setting(
        0.1,
        "of boltzmann exploration, in units of value",
        low=1e-9,
        needs=("exploration", "boltzmann"),
        group="exploration",
    )
    learning_starts: int = setting(1_000, "environment steps before the first gradient step", low=0, group="pace")
    train_freq: int = setting(1, "steps of each world between rounds of learning", low=1, group="pace")
    gradient_steps: int = setting(1, "gradient steps per round of learning", low=1, group="pace")
    num_envs: int = setting(1, "worlds stepped side by side", low=1, group="pace")

    def __post_init__(self) -> None:
        if isinstance(self.optimizer, str) and not arguments(self.optimizer):
            object.__setattr__(self, "optimizer", as_spelled(self.optimizer, optimizers()))
        super().__post_init__()

    def conflicts(self) -> list[str]:
        """Rules between fields."""
        problems = []
        if self.network != "auto":
            try:
                find_torso(self.network)
            except ConfigError as error:
                problems.append(str(error))
        if "learning_rate" not in arguments(self.optimizer):
            problems.append(unknown("optimizer", self.optimizer, optimizers()))
        if self.exploration == "ladder" and self.num_envs == 1:
            problems.append("exploration='ladder' gives every world an ε of its own: give num_envs above 1")
        if self.noisy and self.normalization == "spectral":
            problems.append("noisy layers have no spectral norm: normalization='layer' or 'none'")
        if self.recurrent != "none" and not self.recurrent_cells:
            problems.append(f"{self.name} has no memory cell: recurrent='none'")
        return problems

    def updates(self, steps: int) -> float:
        """Gradient steps in a run of `steps` environment steps."""
        return (steps - self.learning_starts) * self.gradient_steps / (self.train_freq * self.num_envs)

    def limits(self) -> Limits:
        """Of its values, for alarms."""
        return Limits(self.gamma, bounds=self.method().bounds)

    def method(self) -> Method[Any, Any]:
        """What distinguishes the algorithm; its file states it."""
        raise NotImplementedError

    def make(self, space: Space, n_actions: int, steps: int) -> DeepAgent:
        """The agent for these spaces, on a run of `steps` environment steps."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ReplayConfig(DeepConfig):
    """What agents with a replay memory and a target network have besides."""

    double: bool = setting(False, "choose the target's action by the network, value it by the copy", group="target")
    munchausen: bool = setting(False, "soft targets, and a share of the log-policy in the reward", group="target")
    munchausen_alpha: float = setting(
        0.9,
        "share of the log-policy in the reward",
        low=0.0,
        high=1.0,
        needs=("munchausen",),
        group="target",
    )
    munchausen_temperature: float = setting(
        0.03,
        "τ of the soft policy, in units of value",
        low=1e-9,
        needs=("munchausen",),
        group="target",
    )
    munchausen_clip: float = setting(
        -1.0,
        "lowest log-policy bonus, before its share is taken",
        high=0.0,
        needs=("munchausen",),
        group="target",
    )
    value_rescaling: bool = setting(False, "learn the values on a scale that squeezes large ones", group="returns")
    conservative_weight: float = setting(
        0.0,
        "weight of conservative Q-learning's loss, which lowers the values of actions that are not in the data",
        low=0.0,
        group="target",
    )
    n_steps: int = setting(1, "rewards before the bootstrap", low=1, group="returns")
    target_update_interval: int = setting(
        25, "environment steps between updates of the target network", low=1, group="target"
    )
    tau: float = setting(1.0, "share of the network taken into its target copy at an update", low=1e-12, high=1.0,
                         zero="the target network would never change; 1 copies the network",
                         group="target")  # fmt: skip

    buffer_size: int = setting(100_000, "transitions that the replay memory holds", low=1, group="replay")
    batch_size: int = setting(64, "transitions (or sequences) per gradient step", low=1, group="replay")
    prioritized: bool = setting(False, "learn more often from transitions with large errors", group="replay")
    priority_alpha: float = setting(
        0.5, "exponent of a priority", low=0.0, high=1.0, needs=("prioritized",), group="replay"
    )
    priority_beta: float = setting(
        0.4,
        "exponent of the importance weights at the start",
        low=0.0,
        high=1.0,
        needs=("prioritized",),
        group="replay",
    )
    priority_beta_final: float = setting(
        1.0,
        "the same at the end of the run",
        low=0.0,
        high=1.0,
        needs=("prioritized",),
        group="replay",
    )
    priority_epsilon: float = setting(
        1e-3, "added to the error in a priority", low=0.0, needs=("prioritized",), group="replay"
    )

    sequence_length: int = setting(
        20,
        "steps of a sequence that are learned from, with a memory cell",
        low=1,
        needs=("recurrent",),
        group="memory cell",
    )
    burn_in: int = setting(
        10,
        "steps before them that only bring the memory cell up to date",
        low=0,
        needs=("recurrent",),
        group="memory cell",
    )
    priority_eta: float = setting(
        0.9,
        "share of the largest error in a sequence's priority, the rest the mean",
        low=0.0,
        high=1.0,
        needs=("recurrent",),
        group="memory cell",
    )

    reset_interval: int = setting(0, "gradient steps between resets of the network; 0: never", low=0, group="resets")
    reset_share: float = setting(
        0.5,
        "share of fresh parameters in the torso at a reset; the head is all fresh",
        low=0.0,
        high=1.0,
        needs=("reset_interval",),
        group="resets",
    )
    anneal_interval: int = setting(
        0,
        "gradient steps from the start, and from each reset, over which n and γ move to their values; 0: at once",
        low=0,
        group="returns",
    )
    n_steps_initial: int = setting(
        10, "n where such a movement begins", low=1, needs=("anneal_interval",), group="returns"
    )
    gamma_initial: float = setting(
        0.97,
        "γ where such a movement begins",
        low=0.0,
        high=1.0,
        needs=("anneal_interval",),
        group="returns",
    )

    def conflicts(self) -> list[str]:
        """Rules between fields."""
        problems = super().conflicts()
        window = self.window
        for name in ("batch_size", "num_envs"):
            if getattr(self, name) > self.buffer_size:
                problems.append(f"{name}={getattr(self, name)} is larger than buffer_size={self.buffer_size}")
        if window > self.buffer_size // self.num_envs:
            what = f"n_steps={self.n_steps}" if self.recurrent == "none" else f"a sequence of {window} steps"
            problems.append(
                f"{what} is longer than what buffer_size={self.buffer_size} keeps of each of {self.num_envs} worlds; "
                f"give buffer_size={window * self.num_envs} or more"
            )
        enough = 2 * window * self.num_envs  # in some vector environments up to half of the steps are resets
        if self.recurrent != "none" and self.learning_starts < enough:
            problems.append(
                f"learning_starts={self.learning_starts} may come before a sequence of {window} steps is there in each "
                f"of {self.num_envs} worlds; give {enough} or more"
            )
        if self.recurrent != "none" and self.anneal_interval:
            problems.append(
                "anneal_interval moves n within transitions, and recurrent learns from sequences: set it to 0"
            )
        if self.recurrent != "none" and self.n_steps > self.sequence_length:
            problems.append(f"n_steps={self.n_steps} is longer than sequence_length={self.sequence_length}")
        if self.munchausen and self.double:
            problems.append("munchausen and double cannot be combined; use double=False")
        if self.gamma_initial > self.gamma and self.anneal_interval:
            problems.append(f"gamma_initial={self.gamma_initial} is above gamma={self.gamma}")
        return problems

    @property
    def window(self) -> int:
        """Steps that one sample spans."""
        if self.recurrent != "none":
            return self.burn_in + self.sequence_length
        return max(self.n_steps, self.n_steps_initial) if self.anneal_interval else self.n_steps

    @property
    def target_period(self) -> int:
        """Gradient steps between updates of the target network."""
        return max(1, self.target_update_interval * self.gradient_steps // (self.train_freq * self.num_envs))

    def limits(self) -> Limits:
        """Of its values, for alarms; a log-policy is clipped to at most 1 by default."""
        return Limits(self.gamma**self.n_steps, float(self.munchausen), self.method().bounds)
