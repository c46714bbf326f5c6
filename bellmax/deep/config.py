"""Plain Python and Optax. The settings that deep agents share, and the rules between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from bellmax.agent_config import AgentConfig, Limits, as_spelled, setting
from bellmax.contracts import ConfigError, Space, counted, unknown
from bellmax.deep.method import Method
from bellmax.deep.optax_names import arguments, optimizers
from bellmax.deep.state import DeepAgent
from bellmax.networks.network import Cell
from bellmax.networks.torsos import find_torso

Explore: TypeAlias = Literal["epsilon-greedy", "ladder", "boltzmann"]


@dataclass(frozen=True, kw_only=True)
class DeepConfig(AgentConfig):
    """The settings of every deep agent; names and units are those of Stable-Baselines3."""

    family: ClassVar[Literal["table", "network", ""]] = "network"
    recurrent_cells: ClassVar[bool] = True  # whether the agent can have a memory cell

    network: str = setting(
        "auto",
        "torso: mlp, minatar, nature, efficient, impala, combined, your own, or auto (chosen by the observations)",
        group="network",
    )
    net_arch: tuple[int, ...] = setting(
        (64, 64),
        "widths of the hidden layers; image networks only use the last",
        low=1,
        high=1_000_000,
        group="network",
    )
    normalization: Literal["none", "layer", "spectral"] = setting(
        "layer", "normalization of the hidden layers", group="network"
    )
    normalize_observations: bool = setting(
        False,
        "standardize numbers by their running mean and variance, which are part of the policy",
        group="network",
    )
    reward_scale: float = setting(
        1.0, "factor of the rewards that are learned from", low=1e-12,
        zero="all rewards would be 0",
        group="returns",
    )  # fmt: skip
    reward_clip: float = setting(0.0, "clip the scaled rewards to ± this; 0: no clipping", low=0.0, group="returns")
    dueling: bool = setting(False, "separate streams for the state value and the advantages", group="network")
    noisy: bool = setting(False, "explore by learned noise in the layers of the head", group="network")
    recurrent: Cell = setting("none", "memory cell between torso and head, for partial observations", group="network")

    optimizer: str = setting("adam", "any optimizer of Optax, by name", group="optimizer")
    learning_rate: float = setting(
        2.5e-4, "step size of the optimizer", low=1e-12, zero="nothing would be learned", group="optimizer"
    )
    learning_rate_schedule: Literal["constant", "linear", "cosine"] = setting(
        "linear", "how the learning rate falls to 0 over the run", group="optimizer"
    )
    adam_epsilon: float = setting(
        1e-5,
        "ε of the optimizer; larger values shorten steps where gradients are small",
        low=1e-30,
        zero="parameters without a gradient would become NaN",
        group="optimizer",
    )
    weight_decay: float = setting(
        0.0,
        "weight decay, added to the gradient; decoupled from it in adamw and its relatives",
        low=0.0,
        group="optimizer",
    )
    max_grad_norm: float = setting(
        10.0, "clip gradients to this global norm", low=1e-12,
        zero="all gradients would be 0; use a large number, such as 1e9, for no clipping",
        group="optimizer",
    )  # fmt: skip
    weight_averaging: bool = setting(
        True,
        "the policy uses an average of the parameters; exploration uses the current ones",
        group="network",
    )

    exploration: Explore = setting(
        "epsilon-greedy",
        "how it explores; ladder: an ε for each environment; boltzmann: by the action values",
        group="exploration",
    )
    temperature: float = setting(
        0.1,
        "temperature of boltzmann exploration, in units of value",
        low=1e-9,
        needs=("exploration", "boltzmann"),
        group="exploration",
    )
    learning_starts: int = setting(1_000, "environment steps before the first gradient step", low=0, group="pace")
    train_freq: int = setting(1, "steps of each environment between rounds of learning", low=1, group="pace")
    gradient_steps: int = setting(1, "gradient steps per round of learning", low=1, group="pace")
    num_envs: int = setting(1, "environments stepped side by side", low=1, high=1_000_000, group="pace")

    def __post_init__(self) -> None:
        if isinstance(self.optimizer, str) and not arguments(self.optimizer):
            object.__setattr__(self, "optimizer", as_spelled(self.optimizer, optimizers()))
        super().__post_init__()

    def conflicts(self) -> list[str]:
        """Return what is wrong between settings, one line each."""
        problems = []
        if self.network != "auto":
            try:
                find_torso(self.network)
            except ConfigError as error:
                if error.__cause__ is not None:  # in a module of somebody's own
                    raise
                problems.append(str(error))
        if "learning_rate" not in arguments(self.optimizer):
            problems.append(unknown("optimizer", self.optimizer, optimizers()))
        if self.exploration == "ladder" and self.num_envs == 1:
            problems.append("exploration='ladder' gives each environment an ε of its own; set num_envs above 1")
        if self.noisy and self.normalization == "spectral":
            problems.append("noisy layers have no spectral normalization; set normalization='layer' or 'none'")
        if self.recurrent != "none" and not self.recurrent_cells:
            problems.append(f"{self.name} cannot have a memory cell; set recurrent='none'")
        return problems

    def updates(self, steps: int) -> float:
        """Return the number of gradient steps in a run of `steps` environment steps."""
        return (steps - self.learning_starts) * self.gradient_steps / (self.train_freq * self.num_envs)

    def limits(self) -> Limits:
        """Return what its values cannot exceed, for alarms."""
        return Limits(self.gamma, bounds=self.method().bounds)

    def method(self) -> Method[Any, Any]:
        """Return what distinguishes the algorithm; its file states it."""
        raise ConfigError(
            f"{type(self).__name__} does not define `method`; write in it: def method(self): return Method(...)"
        )

    def make(self, space: Space, n_actions: int, steps: int) -> DeepAgent:
        """Return the agent for these spaces, in a run of `steps` environment steps."""
        raise ConfigError(
            f"{type(self).__name__} does not define `make`; derive it from bellmax.extend.ReplayAlgorithm, which does"
        )


@dataclass(frozen=True, kw_only=True)
class ReplayConfig(DeepConfig):
    """The settings of agents with a replay buffer and a target network."""

    double: bool = setting(
        False, "choose the next action by the network, value it by the target network", group="target"
    )
    munchausen: bool = setting(False, "soft targets, and a share of the log-policy added to the reward", group="target")
    munchausen_alpha: float = setting(
        0.9,
        "share of the log-policy added to the reward",
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
        "lower bound of the log-policy, before munchausen_alpha scales it",
        high=-1e-9,
        zero="the log-policy would always be 0; set munchausen=False",
        needs=("munchausen",),
        group="target",
    )
    value_rescaling: bool = setting(False, "learn values on a scale that compresses large ones", group="returns")
    conservative_weight: float = setting(
        0.0,
        "weight of the conservative loss, which lowers the values of actions that are not in the data",
        low=0.0,
        group="target",
    )
    n_steps: int = setting(1, "rewards before the bootstrap", low=1, group="returns")
    target_update_interval: int = setting(
        25, "environment steps between updates of the target network", low=1, group="target"
    )
    tau: float = setting(1.0, "share of the network in an update of the target network", low=1e-12, high=1.0,
                         zero="the target network would never change; 1 copies the network",
                         group="target")  # fmt: skip

    buffer_size: int = setting(100_000, "capacity of the replay buffer, in transitions", low=1, group="replay")
    batch_size: int = setting(64, "transitions (or sequences) per gradient step", low=1, group="replay")
    prioritized: bool = setting(
        False, "prioritized replay: learn more often from transitions with large errors", group="replay"
    )
    priority_alpha: float = setting(
        0.5, "exponent of the priorities", low=0.0, high=1.0, needs=("prioritized",), group="replay"
    )
    priority_beta: float = setting(
        0.4,
        "exponent of the importance weights at the start of the run",
        low=0.0,
        high=1.0,
        needs=("prioritized",),
        group="replay",
    )
    priority_beta_final: float = setting(
        1.0,
        "exponent of the importance weights at the end of the run",
        low=0.0,
        high=1.0,
        needs=("prioritized",),
        group="replay",
    )
    priority_epsilon: float = setting(
        1e-3,
        "added to the error in each priority",
        low=1e-12,
        zero="a transition without an error would never be drawn again",
        needs=("prioritized",),
        group="replay",
    )

    sequence_length: int = setting(
        20,
        "steps of a sequence that are learned from",
        low=1,
        needs=("recurrent",),
        group="memory cell",
    )
    burn_in: int = setting(
        10,
        "steps before them that only update the memory cell",
        low=0,
        needs=("recurrent",),
        group="memory cell",
    )
    priority_eta: float = setting(
        0.9,
        "share of the largest error in the priority of a sequence; the rest is the mean error",
        low=0.0,
        high=1.0,
        needs=("recurrent",),
        group="memory cell",
    )

    reset_interval: int = setting(0, "gradient steps between resets of the network; 0: never", low=0, group="resets")
    reset_share: float = setting(
        0.5,
        "share of fresh parameters in the torso at a reset; the head is entirely fresh",
        low=0.0,
        high=1.0,
        needs=("reset_interval",),
        group="resets",
    )
    anneal_interval: int = setting(
        0,
        "gradient steps over which n and γ move to their values, at the start and after each reset; 0: at once",
        low=0,
        group="returns",
    )
    n_steps_initial: int = setting(
        10, "n at the start of such a period", low=1, needs=("anneal_interval",), group="returns"
    )
    gamma_initial: float = setting(
        0.97,
        "γ at the start of such a period",
        low=0.0,
        high=1.0,
        needs=("anneal_interval",),
        group="returns",
    )

    def conflicts(self) -> list[str]:
        """Return what is wrong between settings, one line each."""
        problems = super().conflicts()
        window = self.window
        for name in ("batch_size", "num_envs"):
            if getattr(self, name) > self.buffer_size:
                problems.append(f"{name}={getattr(self, name)} is larger than buffer_size={self.buffer_size}")
        if window > self.buffer_size // self.num_envs:
            what = f"n_steps={self.n_steps}" if self.recurrent == "none" else f"a sequence of {window} steps"
            problems.append(
                f"{what} does not fit into buffer_size={self.buffer_size} divided among "
                f"{counted(self.num_envs, 'environment')}; set buffer_size={window * self.num_envs} or more"
            )
        enough = 2 * window * self.num_envs  # in some vector environments, up to half of the steps are resets
        if self.recurrent != "none" and self.learning_starts < enough:
            problems.append(
                f"learning_starts={self.learning_starts} can come before each environment has stored a sequence of "
                f"{counted(window, 'step')}; set it to {enough} or more"
            )
        if self.recurrent != "none" and self.anneal_interval:
            problems.append(
                "anneal_interval changes n within transitions, but recurrent agents learn from sequences; set it to 0"
            )
        if self.recurrent != "none" and self.n_steps > self.sequence_length:
            problems.append(f"n_steps={self.n_steps} is longer than sequence_length={self.sequence_length}")
        if self.munchausen and self.double:
            problems.append("munchausen and double cannot be combined; set double=False")
        if self.gamma_initial > self.gamma and self.anneal_interval:
            problems.append(f"gamma_initial={self.gamma_initial} is above gamma={self.gamma}")
        return problems

    @property
    def window(self) -> int:
        """The number of steps that one sample spans."""
        if self.recurrent != "none":
            return self.burn_in + self.sequence_length
        return max(self.n_steps, self.n_steps_initial) if self.anneal_interval else self.n_steps

    @property
    def target_period(self) -> int:
        """The number of gradient steps between updates of the target network."""
        return max(1, self.target_update_interval * self.gradient_steps // (self.train_freq * self.num_envs))

    def limits(self) -> Limits:
        """Return what its values cannot exceed, for alarms; by default, the log-policy bonus is at most 1 in size."""
        return Limits(self.gamma**self.n_steps, float(self.munchausen), self.method().bounds, self.n_steps)
