"""Plain Python, no arrays library at import: the words that every floor shares, and the errors it raises."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from bellmax.printing import plain

if TYPE_CHECKING:
    import jax

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Array: TypeAlias = "jax.Array"
ArrayDict: TypeAlias = dict[str, np.ndarray]  # by name, of any type and shape
Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
HostObs: TypeAlias = "npt.NDArray[Any] | tuple[HostObs, ...]"  # observations of a host environment, part by part
Arrays: TypeAlias = "Array | tuple[Arrays, ...]"  # (), where there is nothing

Seen = TypeVar("Seen")
Mask = TypeVar("Mask")


class Masked(NamedTuple, Generic[Seen, Mask]):
    """An observation with the actions that are allowed in it: `mask` [A] bool. Also the space of such observations."""

    obs: Seen
    mask: Mask


Obs: TypeAlias = "Array | Masked[Obs, Array] | tuple[Obs, ...]"  # an observation, as its `Space` says


class Transition(NamedTuple):
    """One step of experience; with a leading axis, a batch of them.

    `discount` is γ (γ^n over n steps), or 0 where the environment *terminated*. A time limit leaves it at γ, so a
    truncated episode bootstraps by construction. `next_obs` is the observation in which the step ended, also
    when the environment then reset itself.
    """

    obs: Obs
    action: Array
    reward: Array
    discount: Array
    next_obs: Obs


class Experience(NamedTuple):
    """A transition as a replay buffer stores it.

    Attributes:
        transition: one step.
        over: the episode ended with it, terminated or truncated; the environment's next row belongs to another one.
        carry: the state of a memory cell before it, else ().
    """

    transition: Transition
    over: Array
    carry: Arrays = ()


Batch: TypeAlias = Transition | Experience  # of transitions [B], or of sequences [B, L]


class Discrete(NamedTuple):
    """The integers 0 to n - 1."""

    n: int


class Box(NamedTuple):
    """Arrays of one shape and dtype: "float32", whose bounds are left to the environment, "bool" or integers.

    Attributes:
        low, high: the bounds, a number for all entries or a tuple of one for each (flat); None for bytes from 0 to 255,
            and for real numbers, whose bounds only a compiled `World` of your own gives here, for tables and tiles.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    low: Any = None
    high: Any = None

    def __repr__(self) -> str:
        bounds = "" if self.low is None and self.high is None else f", low={self.low}, high={self.high}"
        return f"Box(shape={self.shape}, dtype={self.dtype!r}{bounds})"


class MultiDiscrete(NamedTuple):
    """Several integers [k]: number i from 0 to ns[i] - 1."""

    ns: tuple[int, ...]


class Named(NamedTuple):
    """Parts with names, as in a dictionary; one observation is the tuple of its parts, in this order."""

    names: tuple[str, ...]
    parts: tuple[Space, ...]


Leaf: TypeAlias = "Discrete | MultiDiscrete | Box"
Space: TypeAlias = "Leaf | Masked[Space, Space] | Named | tuple[Space, ...]"


S = TypeVar("S")  # the state of an agent
C = TypeVar("C")  # the carry of its acting
M = TypeVar("M")  # the state of its memory
S_contra = TypeVar("S_contra", contravariant=True)
M_contra = TypeVar("M_contra", contravariant=True)


class Add(Protocol[M]):
    """Store one step of every environment."""

    def __call__(self, state: M, experience: Experience, valid: Array | None = None, /) -> M:
        """Return the memory with `experience` [N], except for rows that are not `valid` [N]."""


class Sample(Protocol[M_contra]):
    """Draw a batch."""

    def __call__(self, state: M_contra, key: Array, updates: Array, /) -> tuple[Batch, Array, Array]:
        """Return (batch, weight [B], index [B]) after so many gradient steps."""


class Memory(NamedTuple, Generic[M]):
    """What an agent learns from: pure functions on one state, of type `M`.

    Attributes:
        init: `init() -> state`, empty.
        add: `add(state, experience, valid=None) -> state`, for one step of every environment [N]; rows that are not
            `valid` [N] are left out, and the step before in that environment is over.
        sample: `sample(state, key, updates) -> (batch, weight [B], index [B])`, after so many gradient steps.
        update: `update(state, index, priority [B]) -> state`, after learning.
        close: `close(state) -> state`, the newest step of every environment ends its episode, which was cut off.
    """

    init: Callable[[], M]
    add: Add[M]
    sample: Sample[M]
    update: Callable[[M, Array, Array], M]
    close: Callable[[M], M]


class LearnReport(NamedTuple):
    """What one gradient step reports: new priorities [B], and means over the batch by name."""

    priority: Array
    metrics: dict[str, Array]


class Act(Protocol[S_contra, C]):
    """Choose an action, exploring."""

    def __call__(self, state: S_contra, carry: C, obs: Obs, key: Array, t: Array, /) -> tuple[Array, C]:
        """Return (action, carry) for ONE observation at environment step `t`."""


class Learn(Protocol[S]):
    """Take one gradient step."""

    def __call__(self, state: S, batch: tuple[Batch, Array], key: Array, /) -> tuple[S, LearnReport]:
        """Return (state, report) for a batch and its weights [B]."""


class QValues(Protocol[S_contra, C]):
    """Value the actions."""

    def __call__(self, state: S_contra, carry: C, obs: Obs, /) -> tuple[Array, C]:
        """Return (q [A], carry) for ONE observation."""


class Agent(NamedTuple, Generic[S, C, M]):
    """A deep agent: pure functions on one state pytree. `t` counts environment steps and belongs to the loop.

    `S` is the type of its state, `C` of its carry within an episode, and `M` of the state of its memory.

    Attributes:
        init: `init(key) -> state`; `state.updates` counts gradient steps.
        begin: `begin(key, rank) -> carry`, at the start of an episode in the environment of `rank` (0 for the first of
            the environments side by side, 1 for the last).
        act: `act(state, carry, obs, key, t) -> (action, carry)`, exploring, for ONE observation.
        remembered: `remembered(carry)`, the part of a carry that learning needs, or ().
        learn: `learn(state, (batch, weight [B]), key) -> (state, report)`, one gradient step.
        q_values: `q_values(state, carry, obs) -> (q [A], carry)`, for ONE observation.
        actor: `actor(state) -> state`, without what only learning needs.
        parameters: `parameters(state) -> arrays` of NumPy, by name.
        memory: where its experience goes.
        values: `values(output, mask [A] or None) -> q [A]`, where `q_values` are these of the network's output for the
            observation, and nothing else; None where they are more than that.
    """

    init: Callable[[Array], S]
    begin: Callable[[Array, Array], C]
    act: Act[S, C]
    remembered: Callable[[C], Arrays]
    learn: Learn[S]
    q_values: QValues[S, C]
    actor: Callable[[S], S]
    parameters: Callable[[S], dict[str, npt.NDArray[Any]]]
    memory: Memory[M]
    values: Callable[[Any, Array | None], Array] | None = None


LONGEST_MESSAGE = 3_000  # characters; a value in a file may have millions


class BellmaxError(Exception):
    """Base class of all errors that bellmax raises on purpose. `exit_code` is the exit code of the command line."""

    exit_code = 1

    def __str__(self) -> str:
        """The message, harmless for a terminal whatever an environment or a file says in it; not longer than a page."""
        text = super().__str__()
        return plain(text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 600]} ... {text[-500:]}")


class ConfigError(BellmaxError):
    """A name, type, range or combination is invalid. One error reports all of them, before the first step."""

    exit_code = 2


class ModelWarning(UserWarning):
    """A finite MDP is valid, but looks like a mistake: a state that is never entered, an endless reward."""


class RunWarning(UserWarning):
    """An option of a run has no effect, or a different effect than it seems."""


class EnvWarning(UserWarning):
    """The environment does something that bellmax can handle, but that looks like a mistake."""


class EnvContractError(BellmaxError):
    """The environment broke Gymnasium's contract (space, shape, dtype, API)."""


class EnvCrashed(BellmaxError):
    """The environment raised; the message says where and the original is the `__cause__`."""


class EnvTimeout(BellmaxError):
    """The environment did not answer in time."""


class NonFiniteError(BellmaxError):
    """A NaN or an infinity in a reward, an observation, a loss or the parameters."""


class ResourceError(BellmaxError):
    """Memory, disk or permission is not enough."""


class RunLocked(BellmaxError):
    """Another live process is writing to this run."""


class CheckpointError(BellmaxError):
    """A saved file cannot be used."""


class CorruptCheckpoint(CheckpointError):
    """A saved file is damaged or incomplete."""


class IncompatibleCheckpoint(CheckpointError):
    """A saved file is sound, but was made for another version, agent or environment."""


class UnsafeFile(CheckpointError):
    """A file that could run code or escape its folder; it was not opened further."""


MOST_LISTED = 10
LONGEST_WORD = 80  # letters of a name in a message


def nearest(name: object, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """Return the valid name that `name` probably stands for, in any case; None if nothing is near.

    Two letters that changed places make the nearest name.
    """
    spelled = {each.lower(): each for each in sorted(known, reverse=True)}
    word = str(name)[:LONGEST_WORD].lower()
    near = difflib.get_close_matches(word, spelled, n=5, cutoff=cutoff)
    swapped = [each for each in near if sorted(each) == sorted(word)]
    return spelled[(swapped or near)[0]] if near else None


def counted(n: int, thing: str) -> str:
    """A number with its noun in the singular or the plural: "1 seed", "1,000 seeds"."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def listed(names: Iterable[str]) -> str:
    """The names in a line, at most ten of them."""
    names = list(names)
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """One line for an unknown name: what, the value, and the nearest valid name or a list of at most ten."""
    names, word = sorted(known), str(name)
    near = nearest(word, names)
    remedy = f"did you mean {near!r}?" if near else f"known: {listed(names)}"
    return f"unknown {kind} {word[:LONGEST_WORD]!r}{'...' * (len(word) > LONGEST_WORD)}; {remedy}"
