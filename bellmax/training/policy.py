"""NumPy. What was learned: arrays, and how to act on them."""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bellmax import spaces
from bellmax.agent_config import AgentConfig
from bellmax.catalog import is_tabular
from bellmax.contracts import ConfigError, Masked, RunWarning, Space, counted
from bellmax.files import storage
from bellmax.files.policy_files import PolicyParts, find_policy, read_files, save_policy
from bellmax.files.saved_parts import agent_of
from bellmax.names import POLICY, meant
from bellmax.stderr import warn
from bellmax.training.policy_values import Look, blank_carry, make_look


@dataclass(frozen=True)
class Policy:
    """The greedy policy of one seed.

    Attributes:
        world: the name of the world that it was learned in.
        config: the agent's hyper-parameters.
        space: of one observation.
        n_actions: A.
        arrays: a table's `q` [S, A] and how often its pairs were updated, `visits` [S, A]; with tiles, of which there
            are S, also the range `low`, `high` [k] of the observations; or a network's parameters by name.
        env_kwargs: arguments of the world.
        coding: how the world counts its actions and observations, if not from 0.
        from_file: it was read from a file, which may come from anybody.
    """

    world: str
    config: AgentConfig
    space: Space
    n_actions: int
    arrays: dict[str, Any]
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    coding: dict[str, Any] = field(default_factory=dict)
    from_file: bool = field(default=False, compare=False)

    @classmethod
    def from_parts(cls, parts: PolicyParts) -> Policy:
        """A policy as its files have it."""
        return cls(*parts, from_file=True)

    def q_values(self, obs: Any, mask: Any = None) -> Any:
        """Action values of one observation [A], or of a batch [B, A]; -inf where an action is not allowed.

        Observations are as the environment returns them. Value i is that of the environment's action number i, counted
        from 0, whatever its `start`; of several parts, in the order of `numpy.ndindex`.
        `mask` says which actions are allowed, [A] or [B, A], as info["action_mask"] does; None: all. A `Masked`
        observation has its own.

        Raises:
            ConfigError: `obs` has neither the shape of one observation nor that of a batch, or is no state; `mask` has
                not one flag for each action, or allows none; or the policy has a memory cell, whose values depend on
                what came before.
            NonFiniteError: there is a NaN or an infinity in `obs`.
        """
        if getattr(self.config, "recurrent", "none") != "none":
            raise ConfigError(f"{self.config.name} remembers: give its carry too, q, carry = policy.look(carry, obs)")
        return self.look(None, obs, mask)[0]

    def act(self, obs: Any, mask: Any = None) -> Any:
        """The greedy action of one observation, or actions [B] of a batch; lowest index among equals.

        Observations are as the environment returns them, actions as its `step` accepts them, with its `start` and
        dtype: int where that is Discrete from 0. The first call prepares the network, which costs up to seconds; one
        observation then costs tens of microseconds.
        `mask` as in `q_values`; a policy that learned with masks warns once where there is none. Raises: as `q_values`.
        """
        if mask is None and isinstance(self.space, Masked) and not isinstance(obs, Masked):
            self._remark_mask()
        q = self.q_values(obs, mask)
        index = int(np.argmax(q)) if q.ndim == 1 else np.argmax(q, axis=1)
        return spaces.to_native(index, self.coding) if self.coding else index

    def _remark_mask(self) -> None:
        if not self.__dict__.setdefault("_remarked", False):
            self.__dict__["_remarked"] = True
            what = "this policy learned with masks, and without one it may choose an action that is not allowed"
            warn(f"{self.world}: {what}; give act(obs, mask=info['action_mask'])", RunWarning, stacklevel=3)

    def begin(self, n: int) -> Any:
        """What `look` wants for n environments in which an episode begins: of a memory cell, else ()."""
        return () if self.config_is_tabular else blank_carry(self.config, self.space, self.n_actions, n)

    def look(self, carry: Any, obs: Any, mask: Any = None) -> tuple[Any, Any]:
        """(action values, carry) of a batch of n observations, one step after another; without a memory cell, of any.

        `obs` and `mask` as in `q_values`. Raises: as `q_values`.
        """
        if isinstance(obs, Masked):
            obs, mask = obs.obs, obs.mask if mask is None else mask
        if "observation_starts" not in self.coding:
            return self.look_from_zero(carry, obs, mask)
        with contextlib.suppress(TypeError, ValueError, LookupError, ConfigError):  # what is wrong is said below
            obs = spaces.from_native(spaces.visible(self.space), obs, self.coding)
        try:
            return self.look_from_zero(carry, obs, mask)
        except ConfigError as error:
            raise ConfigError(f"{error}, counted from the start of the environment's space") from None

    def look_from_zero(self, carry: Any, obs: Any, mask: Any = None) -> tuple[Any, Any]:
        """`look` for observations whose integers count from 0, as a HostWorld has them."""
        if isinstance(obs, Masked):
            obs, mask = obs.obs, obs.mask if mask is None else mask
        batch, single = spaces.read(spaces.visible(self.space), obs)
        n = len(spaces.leaf_arrays(batch)[0])
        allowed = None if mask is None else spaces.read_mask(mask, n, self.n_actions)
        if isinstance(self.space, Masked) and not self.config_is_tabular:
            batch = Masked(batch, np.ones((n, self.n_actions), np.bool_) if allowed is None else allowed)
        q, carry = self._look(carry, batch)
        if allowed is not None:
            q = np.where(allowed, q, -np.inf)
        return q[0] if single else q, carry

    @functools.cached_property
    def _look(self) -> Look:
        """Prepared at the first call, which therefore costs up to seconds; `arrays` are not to be changed after it."""
        return make_look(self.config, self.space, self.n_actions, self.arrays)

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}  # without what was prepared

    def owned(self) -> Policy:
        """The same with arrays of its own, where they are views of a table that learns on."""
        if not self.config_is_tabular or self.arrays["q"].base is None:
            return self
        return replace(self, arrays={name: np.array(array) for name, array in self.arrays.items()})

    @property
    def config_is_tabular(self) -> bool:
        """Whether it is a table."""
        return is_tabular(self.config)

    def table(self) -> Any:
        """Q of every state [S, A], where observations are made of integers; row i is that of observation i of `states`.

        Raises:
            ConfigError: there are real numbers in the observations.
        """
        return self.look_from_zero(None, self._all_states())[0]

    def states(self) -> Any:
        """All observations, where they are made of integers, as one batch [S, ...] in the order of `table`.

        Integers are as the environment counts them; parts are tuples, and dictionaries where they have names.

        Raises:
            ConfigError: there are real numbers in the observations.
        """
        seen = spaces.visible(self.space)
        return spaces.named(seen, spaces.from_zero(seen, self._all_states(), self.coding))

    def _all_states(self) -> Any:
        from bellmax.tabular.cells import states_of

        return states_of(self.space)

    def card(self) -> dict[str, Any]:
        """All but the arrays, as JSON: the same at every save of a run."""
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

        `path` may end in either suffix, and its folder is made if there is none.

        Raises:
            ConfigError: `path` is not one, or `env_kwargs` cannot be saved as JSON.
            ResourceError: the disk refuses.
        """
        save_policy(path, self.card(), self.arrays)

    if not TYPE_CHECKING:  # a type checker knows the names

        def __getattr__(self, name: str) -> Any:
            """Only for names that there are not."""
            message = f"a policy has no attribute {name!r}"
            raise AttributeError(
                message if name.startswith("_") else message + meant(name, [*dir(type(self)), *vars(self)], POLICY)
            )

    def __repr__(self) -> str:
        numbers = sum(array.size for array in self.arrays.values())
        return (
            f"Policy({self.config.name} of {self.world}: {spaces.describe(self.space)} to "
            f"{counted(self.n_actions, 'action')}, {numbers:,} numbers in {len(self.arrays)} arrays)"
        )


def load_policy(path: str | os.PathLike[str]) -> Policy:
    """Read a policy that `Policy.save` wrote, or one of a run's folder `policies`; either suffix may be left out.

    Raises:
        ConfigError: there is no policy of this name.
        CorruptCheckpoint: a file is damaged, does not fit the other, or is missing beside it.
        IncompatibleCheckpoint: a newer version wrote it.
    """
    return Policy.from_parts(read_files(find_policy(path)))
