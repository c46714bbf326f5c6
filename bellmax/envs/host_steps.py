"""NumPy. What both kinds of host environments share: spaces, checks, positions and masks; the result of a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from bellmax.contracts import BoolArray, HostObs, Masked
from bellmax.envs.action_masks import misnamed_mask
from bellmax.envs.episode_log import EpisodeLog
from bellmax.envs.native_spaces import Spaces
from bellmax.envs.observing import Observations, each
from bellmax.envs.positions import Positions
from bellmax.envs.step_contract import Contract


class HostStep(NamedTuple):
    """One step of N environments. The arrays never change afterwards; `obs` is `next_obs` where no episode ended.

    Attributes:
        obs: `[N, ...]`, the observation to act on next: a new episode's first one where an episode ended. A tuple of
            arrays where the space has parts; a `Masked` with the allowed actions [N, A], if masks are used.
        next_obs: `[N, ...]`, the true observation after this step, final where an episode ended.
        reward: `[N]` float32.
        terminated: `[N]` bool, the environment ended: no value follows.
        truncated: `[N]` bool, the time was up: the value of `next_obs` follows.
        valid: `[N]` bool, False where there is no experience, reward 0, and both flags False: the environment ignored
            the action and reset itself (a vector environment in NEXT_STEP mode, one step after an end), or it was
            recreated, or the step was left out. The sequence before it in that environment ends there.
        ended: `[N]` bool, where the score of an episode is complete: not where only a life was lost.
        begins: `[N]` bool, where `obs` is the first of an episode, though perhaps the one before was cut short.
    """

    obs: HostObs
    next_obs: HostObs
    reward: npt.NDArray[np.float32]
    terminated: BoolArray
    truncated: BoolArray
    valid: BoolArray
    ended: BoolArray
    begins: BoolArray


NonFinite: TypeAlias = Literal["raise", "truncate_episode", "skip"]


class Handling(NamedTuple):
    """How a host environment is run, and what it does about an environment that fails.

    Attributes:
        workers: worker processes for plain environments; 0 steps them in this process.
        env_timeout: seconds after which a worker that does not answer is stopped.
        env_restarts: how many environments in all may be recreated after they raised, died or hung.
        on_nonfinite: a NaN or an infinity is an error ("raise"), ends the episode without that step
            ("truncate_episode"), or is left out ("skip").
        strict: an observation outside its Box is an error, and not only remarked.
        training: an agent learns in it; an evaluation plays whole games.
    """

    workers: int = 0
    env_timeout: float = 60.0
    env_restarts: int = 0
    on_nonfinite: NonFinite = "raise"
    strict: bool = False
    training: bool = False


class Checks:
    """Of n environments of one name: what is checked, where they are, and what was left out."""

    def __init__(self, name: str, n: int, spaces: Spaces, handling: Handling) -> None:
        self.name, self.n, self.spaces, self.handling = name, n, spaces, handling
        self.positions = Positions(name, n)
        self.see = Observations(spaces, self.positions.place, handling.strict)
        self.contract = Contract(self.positions.place)
        self.log = EpisodeLog(n)
        self.masks: BoolArray | None = None  # the allowed actions [N, A] of the present observations, if used
        self.gives_masks, self.may_mask = False, False  # whether resets do; whether masks are used if they do
        self.misnamed: str | None = None  # what in the info of a reset is a mask by another name
        self.dropped = 0  # steps that were left out, and partial episodes that were cut
        self.all, self.none = np.ones(n, np.bool_), np.zeros(n, np.bool_)
        self.all.setflags(write=False)  # both are given away at every step
        self.none.setflags(write=False)

    def masked(self, obs: HostObs) -> HostObs:
        """The observations, with the masks if they are used."""
        return obs if self.masks is None else Masked(obs, self.masks.copy())

    def begin_masks(self, info: Mapping[str, Any]) -> None:
        """Look in the info of a reset whether masks are given, and use them if that is wanted."""
        self.gives_masks = "action_mask" in info
        self.misnamed = misnamed_mask(info, self.spaces.n_actions)
        if self.may_mask and self.gives_masks and self.masks is None:
            self.masks = np.ones((self.n, self.spaces.n_actions), np.bool_)

    def note_mask(self, info: Mapping[str, Any], i: int, ended: bool) -> None:
        """Take the mask of environment i."""
        if self.masks is not None:
            self.masks[i] = self.contract.mask(info, self.spaces.n_actions, i, ended)

    def copy(self, obs: HostObs) -> HostObs:
        """A copy of observations."""
        return each(np.copy, obs)
