"""NumPy. `Policy`: the arrays that were learned, and how to act by them."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bellmax import spaces
from bellmax.agent_config import AgentConfig
from bellmax.arguments import integer
from bellmax.catalog import is_deep, is_tabular
from bellmax.coding import from_native, from_zero, to_native
from bellmax.contracts import ArrayDict, ConfigError, HostObs, Masked, NonFiniteError, RunWarning, Space, counted
from bellmax.files import storage
from bellmax.files.policy_files import PolicyParts, read_policy, save_policy
from bellmax.files.saved_parts import agent_of, check_found
from bellmax.names import POLICY, meant
from bellmax.observations import named, read_batch, read_flags
from bellmax.pictures.html_card import html_card
from bellmax.printing import plain
from bellmax.stderr import warn
from bellmax.training.policy_distribution import ReturnDistribution, Spread, make_spread
from bellmax.training.policy_values import Batch, Look, blank_carry, make_look


@dataclass(frozen=True)
class Policy:
    """The greedy policy of one seed.

    Attributes:
        world: the name of the environment in which it learned.
        config: the agent's hyperparameters.
        space: of one observation.
        n_actions: A.
        arrays: a table's `q` [S, A] and how often its pairs were updated, `visits` [S, A]; with S tiles, also the range
            `low`, `high` [k] of the observations; or a network's parameters by name.
        env_kwargs: arguments of the environment.
        coding: how the environment counts its actions and observations, if not from 0.
        from_file: whether it was read from a file, which may come from anybody.
    """

    world: str
    config: AgentConfig
    space: Space
    n_actions: int
    arrays: ArrayDict
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    coding: dict[str, Any] = field(default_factory=dict)
    from_file: bool = field(default=False, compare=False)

    @classmethod
    def from_parts(cls, parts: PolicyParts) -> Policy:
        """Return the policy that two files hold."""
        return cls(*parts, from_file=True)

    def q_values(self, obs: object, mask: object = None) -> np.ndarray:
        """Return the action values of one observation [A], or of a batch [B, A]; -inf where an action is not allowed.

        Observations are as the environment returns them. Value i belongs to the environment's i-th action, counted from
        0 for any `start`; actions of several parts are in the order of `numpy.ndindex`.
        `mask` [A] or [B, A] marks the allowed actions, like info["action_mask"]; None: all. A `Masked` observation has
        its own mask.

        Raises:
            ConfigError: `obs` has neither the shape of one observation nor that of a batch, or is not a state; `mask`
                does not have one flag for each action, or allows none; or the policy has a memory cell, so that its
                values depend on earlier observations.
            NonFiniteError: there is a NaN or an infinity in `obs`.
        """
        if getattr(self.config, "recurrent", "none") != "none":
            raise ConfigError(f"{self.config.name} has a memory cell: use q, carry = policy.look(carry, obs)")
        return self.look(None, obs, mask)[0]

    def distribution(self, obs: object) -> ReturnDistribution:
        """Return the distribution of the return that each action promises, for one observation or for a batch.

        Only the networks of C51, QR-DQN, IQN and agents built on them, such as Rainbow, learn distributions; their
        means are `q_values`. `obs` as in `q_values`; all actions have a distribution, also those that a mask excludes.

        Raises:
            ConfigError: as `q_values`, or the policy learned expected returns only.
            NonFiniteError: there is a NaN or an infinity in `obs`.
        """
        if getattr(self.config, "recurrent", "none") != "none":
            raise ConfigError(f"{self.config.name} has a memory cell: its values depend on earlier observations")
        obs = obs.obs if isinstance(obs, Masked) else obs
        if "observation_starts" in self.coding:
            with contextlib.suppress(TypeError, ValueError, LookupError, ConfigError):  # an error is reported below
                obs = from_native(spaces.visible(self.space), obs, self.coding)
        return self.distribution_from_zero(None, obs)

    def distribution_from_zero(self, carry: object, obs: object) -> ReturnDistribution:
        """Do the same for observations whose integers count from 0, after the `carry` of `look`."""
        batch: HostObs
        batch, single = read_batch(spaces.visible(self.space), obs.obs if isinstance(obs, Masked) else obs)
        values, probabilities = self._spread(carry, batch)
        return ReturnDistribution(values[0], probabilities[0]) if single else ReturnDistribution(values, probabilities)

    def act(self, obs: object, mask: object = None) -> Any:
        """Return the greedy action of one observation, or actions [B] of a batch; the lowest index among equals.

        Observations are as the environment returns them, actions as its `step` accepts them, with its `start` and
        dtype: an int if they are Discrete from 0. The first call prepares the network, which may take seconds; after
        that, one observation takes tens of microseconds.
        `mask` as in `q_values`; a policy that learned with masks warns once if there is none. Raises: as `q_values`,
        and NonFiniteError if the largest value is not a number.
        """
        if mask is None and isinstance(self.space, Masked) and not isinstance(obs, Masked):
            self._remark_mask()
        q = self.q_values(obs, mask)
        index: Any = q.argmax(axis=-1)
        if q.ndim == 1:
            largest, index = q[index], int(index)
        else:
            largest = q.max(initial=0.0)
        if not -math.inf < largest < math.inf:
            self._refuse_values(q)
        return to_native(index, self.coding) if self.coding else index

    def _refuse_values(self, q: np.ndarray) -> None:
        """Raise for values [A] or [B, A] whose largest is not finite: NumPy would choose the first NaN."""
        largest = np.atleast_2d(q).max(axis=1)
        bad = np.flatnonzero(~np.isfinite(largest))
        if bad.size:
            row = f" {bad[0]} of the batch" if q.ndim > 1 else ""
            raise NonFiniteError(
                f"the values of observation{row} are {np.atleast_2d(q)[bad[0]].tolist()}: no action is the greedy one; "
                "the observation, or an array of the policy, is too large or not finite"
            )

    def _remark_mask(self) -> None:
        if not self.__dict__.setdefault("_remarked", False):
            self.__dict__["_remarked"] = True
            what = "this policy learned with masks, and without one it may choose an action that is not allowed"
            warn(f"{self.world}: {what}; write act(obs, mask=info['action_mask'])", RunWarning, stacklevel=3)

    def begin(self, n: int) -> object:
        """Return the carry for `look` of n environments in which an episode begins; () without a memory cell.

        Raises:
            ConfigError: `n` is not a positive integer.
        """
        n = integer("n", n)
        return blank_carry(self.config, self.space, self.n_actions, n) if is_deep(self.config) else ()

    def look(self, carry: object, obs: object, mask: object = None) -> tuple[np.ndarray, object]:
        """Return (action values, carry) for the next observations of n environments.

        Without a memory cell, `carry` has no effect and may be None. `obs` and `mask` as in `q_values`. Raises: as
        `q_values`.
        """
        if isinstance(obs, Masked):
            mask = obs.mask if mask is None else mask
            obs = obs.obs
        if "observation_starts" not in self.coding:
            return self.look_from_zero(carry, obs, mask)
        with contextlib.suppress(TypeError, ValueError, LookupError, ConfigError):  # an error is reported below
            obs = from_native(spaces.visible(self.space), obs, self.coding)
        try:
            return self.look_from_zero(carry, obs, mask)
        except ConfigError as error:
            raise ConfigError(f"{error}, counted from the start of the environment's space") from None

    def look_from_zero(self, carry: object, obs: object, mask: object = None) -> tuple[np.ndarray, object]:
        """Do the same as `look` for observations whose integers count from 0, as a HostWorld returns them."""
        if isinstance(obs, Masked):
            mask = obs.mask if mask is None else mask
            obs = obs.obs
        batch: Batch
        batch, single = read_batch(spaces.visible(self.space), obs)
        n = len(spaces.leaf_arrays(batch)[0])
        allowed = None if mask is None else read_flags(mask, n, self.n_actions)
        if isinstance(self.space, Masked) and not self.config_is_tabular:
            batch = Masked(batch, np.ones((n, self.n_actions), np.bool_) if allowed is None else allowed)
        q, carry = self._look(carry, batch)
        if allowed is not None:
            q = np.where(allowed, q, -np.inf)
        return q[0] if single else q, carry

    @functools.cached_property
    def _look(self) -> Look:
        """Prepared at the first call, which may take seconds; changing `arrays` afterwards has no effect."""
        return make_look(self.config, self.space, self.n_actions, self.arrays)

    @functools.cached_property
    def _spread(self) -> Spread:
        """Prepared at the first call, as `_look`."""
        return make_spread(self.config, self.space, self.n_actions, self.arrays)

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}  # without `_look` and `_spread`

    def owned(self) -> Policy:
        """Return the same policy with copies of its arrays, if they are views of a table that is still learning."""
        if not self.config_is_tabular or self.arrays["q"].base is None:
            return self
        return replace(self, arrays={name: np.array(array) for name, array in self.arrays.items()})

    @property
    def config_is_tabular(self) -> bool:
        """Whether it has a table, or tile-coded weights."""
        return is_tabular(self.config)

    def table(self) -> np.ndarray:
        """Return Q of every state [S, A], if observations consist of integers; row i is of observation i of `states`.

        Raises:
            ConfigError: there are real numbers in the observations.
        """
        return self.look_from_zero(None, self._all_states())[0]

    def states(self) -> Any:
        """Return all observations, if they consist of integers, as one batch [S, ...] in the order of `table`.

        Integers are as the environment counts them; parts are tuples, or dictionaries if they have names.

        Raises:
            ConfigError: there are real numbers in the observations.
        """
        seen = spaces.visible(self.space)
        return named(seen, from_zero(seen, self._all_states(), self.coding))

    def _all_states(self) -> HostObs:
        from bellmax.tabular.cells import states_of

        states: HostObs = states_of(self.space)
        return states

    def card(self) -> dict[str, Any]:
        """Return everything except the arrays, as JSON."""
        return {
            "format": storage.FORMAT,
            "world": self.world,
            "env_kwargs": self.env_kwargs,
            **agent_of(self.config),
            "hyper_parameters": asdict(self.config),
            "space": spaces.to_json(self.space),
            "n_actions": self.n_actions,
            **({"action_coding": self.coding} if self.coding else {}),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `path`.safetensors, with a hash over both files, and `path`.json; `bellmax.load_policy` reads them.

        `path` may end in either suffix, and its folder is created if it does not exist.

        Raises:
            ConfigError: `path` is not a path, `env_kwargs` cannot be saved as JSON, or the class of the agent could not
                be found when the policy is loaded, because it is inside a function, say.
            ResourceError: a file cannot be written.
        """
        check_found(self.config, "the policy")
        save_policy(path, self.card(), self.arrays)

    if not TYPE_CHECKING:  # a type checker knows the names

        def __getattr__(self, name: str) -> Any:
            """Raise an error with the nearest name."""
            message = f"a policy has no attribute {name!r}"
            raise AttributeError(
                message if name.startswith("_") else message + meant(name, [*dir(type(self)), *vars(self)], POLICY)
            )

    def __repr__(self) -> str:
        numbers = sum(array.size for array in self.arrays.values())
        return plain(
            f"Policy({self.config.name} of {self.world}: {spaces.in_words(self.space)} to "
            f"{counted(self.n_actions, 'action')}, {numbers:,} numbers in {len(self.arrays)} arrays)"
        )

    def _repr_html_(self) -> str:
        """Return the policy for a notebook: what it is, and the value of each state, on a map if one is known."""
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in self.arrays.items())
        rows = (
            ("environment", self.world),
            ("observation", spaces.in_words(self.space)),
            ("actions", f"{self.n_actions:,}"),
            ("arrays", shapes),
        )
        from bellmax.training.policy_card import values_on_card

        shown, q = "", self.arrays["q"] if self.config_is_tabular else None
        if "low" not in self.arrays:  # no cells of real numbers
            shown = values_on_card(
                self.world, self.env_kwargs, self.space, q, self.table, self.n_actions, trusted=not self.from_file
            )
        return html_card(f"Policy of {self.config.name}", rows, shown)


def load_policy(path: str | os.PathLike[str]) -> Policy:
    """Read a policy that `Policy.save` or a run wrote; either suffix may be left out.

    Raises:
        ConfigError: there is no policy of this name.
        CorruptCheckpoint: a file is damaged, does not fit the other, or is missing beside it.
        IncompatibleCheckpoint: a newer version wrote it.
    """
    return Policy.from_parts(read_policy(path))
