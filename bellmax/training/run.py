"""NumPy. `Run`: what was asked for and what came out of it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bellmax.agent_config import AgentConfig
from bellmax.contracts import BellmaxError, ConfigError, FloatArray, IntArray
from bellmax.files.checkpoint import MANIFEST
from bellmax.files.dataset import Dataset
from bellmax.files.saved_environments import find_saved_world
from bellmax.files.storage import read_json
from bellmax.loops.parts import Episodes
from bellmax.summary_statistics import Summary, bootstrap_interval, summarize
from bellmax.training.facts import facts_of
from bellmax.training.history import History
from bellmax.training.options import RunOptions
from bellmax.training.play import Evaluation
from bellmax.training.policy import Policy
from bellmax.training.verdict import Verdict, judge


class StepsToOptimal(NamedTuple):
    """When each seed's greedy policy became optimal for good: `steps` [seeds] (environment steps), inf for never.

    `median` over seeds, and its 95 % bootstrap interval (NaN with fewer than 5 seeds); inf counts as the largest.
    """

    steps: FloatArray
    median: float
    low: float
    high: float


@dataclass(repr=False)
class Run:
    """What `train` returns and `load` reads back.

    Attributes:
        world, agent, config, steps, seeds, loop: what was asked for; `loop` is "compiled" or "host".
            `steps` counts environment steps, with data gradient steps, and episodes where the run's length was given in
            episodes; so does `history["step"]`, beside which "time/total_timesteps" has environment steps.
        options: how it goes, see `RunOptions`.
        history: columns over the records, see `History`.
        policies: {"final": [...], "best": [...]}, one Policy per seed.
        evaluations: of the final policies, one Evaluation per seed.
        scores: one number per seed: the exact expected return of the final greedy policy where the world has a
            table and a time limit, else the mean return of its evaluation; without evaluation its exact value.
        episodes: the first training episodes of each seed, one Episodes per seed; see `keep_episodes` of `train`.
        visits: [T, seeds, S, A] int64, how often each pair had been updated at each record; None for a network, or
            where these would be more than 10^7 numbers (the last are then still in the policies' arrays).
        experience: with `keep_experience`, what the replay memory of each seed held at the end, one Dataset per seed;
            `load` leaves it in its files.
        folder: where it is saved, or None.
    """

    world: str
    config: AgentConfig
    steps: int
    seeds: list[int]
    loop: str
    env_kwargs: dict[str, Any]
    history: History
    options: RunOptions = field(default_factory=RunOptions)
    policies: dict[str, list[Policy]] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    episodes: list[Episodes] = field(default_factory=list)
    visits: IntArray | None = None
    experience: list[Dataset] = field(default_factory=list)
    folder: Path | None = None
    _source: Any = field(default=None, init=False, compare=False)  # where it was trained, to play random actions in
    _verdict: Verdict | None = field(default=None, init=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_source": None}  # it has functions that cannot be pickled

    @property
    def unit(self) -> str:
        """What `steps` and `history["step"]` count: "steps", with data "gradient steps", or "episodes"."""
        if self.options.episodes is not None:
            return "episodes"
        return "steps" if self.options.data is None else "gradient steps"

    def __repr__(self) -> str:
        n, most = len(self.seeds), 8
        scores = ", ".join(f"{score:.6g}" for score in self.scores[:most])
        more = f", ... ({n} seeds)" if n > most else ""
        done = f"{self.history.step[-1]:,} of " if self.history.step and not self.scores else ""
        return "\n".join(
            (
                f"Run({self.config.name} on {self.world}: {done}{self.steps:,} {self.unit}, {n} seed{'s' * (n > 1)}, "
                f"{self.loop} loop)",
                f"  scores: {scores}{more}" if self.scores else "  not ended: no scores yet",
                f"  history: {len(self.history)} records of {len(self.history.columns)} columns; policies: "
                f"{', '.join(self.policies) or 'none yet'}",
                f"  folder: {self.folder or 'not saved'}",
            )
        )

    def to_pandas(self) -> Any:
        """The history as a pandas DataFrame, one row for each seed and record. Raises as `History.to_pandas`."""
        return self.history.to_pandas()

    def summary(self) -> Summary:
        """IQM and mean of `scores` over seeds, each with its 95 % bootstrap interval; NaN below 5 seeds.

        Raises:
            ConfigError: the run has not ended, so that there are no scores.
        """
        if not self.scores:
            done = max(int(self.history.step[-1]) if self.history.step else 0, self._saved_step())
            where = self.folder or "it"
            raise ConfigError(f"the run stopped at step {done:,} of {self.steps:,} and has no scores; resume {where}")
        return summarize(np.array(self.scores))

    def _saved_step(self) -> int:
        """Where its checkpoint stands, which may be later than the last record; 0 without one."""
        with contextlib.suppress(BellmaxError, OSError):
            if self.folder is not None and isinstance(card := read_json(self.folder / MANIFEST), dict):
                step = card.get("step")
                return step if isinstance(step, int) else 0
        return 0

    def verdict(self) -> Verdict:
        """The scores beside that of random play and of the best policy, and what is plainly wrong, with what to do.

        Random actions are played in the same environment, as many episodes as the final policies played but for at most
        about 3 s, or valued exactly where the scores are; a loaded run opens its environment again for that.

        Raises:
            ConfigError: the run has not ended.
        """
        self.summary()  # it has ended
        if self._verdict is None:
            source = self._source
            if source is None:
                with contextlib.suppress(BellmaxError):
                    source = find_saved_world(None, None, self.world, self.env_kwargs, trusted=False)
            parts = self.config, self.options, self.scores, self.evaluations, self.episodes
            self._verdict = judge(facts_of(self.history, *parts, source))
        return self._verdict

    def policy(self, seed: int = 0, which: str = "final") -> Policy:
        """The policy of one of the run's seeds: "final", or "best" by the evaluations during training.

        Raises:
            ConfigError: the run has no such seed or no such policy.
        """
        if seed not in self.seeds or which not in self.policies:
            seeds = f"{self.seeds[:20]}{' and more' * (len(self.seeds) > 20)}"
            raise ConfigError(f"no {which!r} policy of seed {seed}; seeds: {seeds}, kinds: {list(self.policies)}")
        return self.policies[which][self.seeds.index(seed)]

    def steps_to_optimal(self) -> StepsToOptimal:
        """The first record from which on each seed's greedy policy stays exactly optimal to the end of the run.

        Raises:
            ConfigError: the run was not compared with an exact answer.
        """
        if "exact/is_optimal" not in self.history.columns:
            raise ConfigError(f"no exact answer was known for {self.world} with gamma={self.config.gamma}")
        optimal = self.history["exact/is_optimal"] == 1.0
        lasting = np.logical_and.accumulate(optimal[:, ::-1], axis=1)[:, ::-1]
        steps = np.where(lasting.any(axis=1), self.history["step"][lasting.argmax(axis=1)], np.inf)
        return StepsToOptimal(steps, float(np.median(steps)), *bootstrap_interval(steps, np.median))

    def drop_after(self, step: int) -> None:
        """Forget the records later than `step`, and the visits and episodes that came after it."""
        self.history.drop_after(step)
        if self.visits is not None:
            self.visits = self.visits[: len(self.history)]
        known = "rollout/episodes" in self.history.columns
        ended = np.nansum(self.history["rollout/episodes"], axis=1) if known else np.zeros(len(self.seeds))
        self.episodes = [
            Episodes(returns[: int(n)], lengths[: int(n)])
            for (returns, lengths), n in zip(self.episodes, ended, strict=bool(self.episodes))
        ]
