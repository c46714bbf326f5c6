"""NumPy. `Run`: the arguments and the results of a training run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from bellmax.agent_config import AgentConfig
from bellmax.arguments import describe, integer
from bellmax.contracts import LONGEST_WORD, BellmaxError, ConfigError, FloatArray, IntArray, counted
from bellmax.files.dataset import Dataset
from bellmax.files.provenance import Facts, inexact
from bellmax.files.saved_environments import find_saved_world
from bellmax.files.saved_files import saved_step
from bellmax.loops.logs import Episodes
from bellmax.pictures.html_card import html_card
from bellmax.pictures.state_numbers import What
from bellmax.printing import plain
from bellmax.summary_statistics import Summary, bootstrap_interval, summarize, with_interval
from bellmax.training.early_stop import EarlyStop
from bellmax.training.facts import facts_of, scores_are_exact
from bellmax.training.history import History
from bellmax.training.kept_policies import KeptPolicies
from bellmax.training.options import RunOptions
from bellmax.training.play import Evaluation
from bellmax.training.policy import Policy
from bellmax.training.verdict import Verdict, judge

if TYPE_CHECKING:
    from pandas import DataFrame

    from bellmax.pictures.picture import Picture
    from bellmax.solving.solve import Progress
    from bellmax.sources import Source

Which: TypeAlias = Literal["final", "best"]
WHICH: tuple[Which, ...] = get_args(Which)


class StepsToOptimal(NamedTuple):
    """The step from which on each seed's greedy policy stays optimal: `steps` [seeds], inf if it never does.

    `median` over seeds, and its 95 % bootstrap interval (NaN with fewer than 5 seeds); inf is the largest value.
    """

    steps: FloatArray
    median: float
    low: float
    high: float


@dataclass(repr=False)
class Run:
    """What `train` returns and `load` reads back.

    Attributes:
        config, steps, seeds, loop, env_kwargs, world: the arguments of `train`; `loop` is "compiled" or "host".
            `steps` counts environment steps; in a run with data gradient steps, and in one of so many episodes these.
            So does `history["step"]`, beside which "time/total_timesteps" has environment steps.
        options: the other arguments, see `RunOptions`.
        history: columns over the records, see `History`.
        policies: {"final": [...], "best": [...]}, one Policy per seed.
        evaluations: of the final policies, one Evaluation per seed.
        scores: one number per seed: the exact expected return of the final greedy policy if the environment has a
            table and a time limit, else the mean return of its evaluation; without evaluation its exact value.
        episodes: the first training episodes of each seed, one Episodes per seed; see `keep_episodes` of `train`.
        visits: [T, seeds, S, A] int64, how often each pair was updated until each record; None for a network, or if
            these are more than 10^7 numbers (the policies' arrays have the last ones).
        experience: with `keep_experience`, the content of the replay buffer of each seed at the end, one Dataset per
            seed; `load` leaves it in its files.
        stopped: the step at which a function of `on_record` ended training, and its reason; None if none did.
        on_record: the names of the functions that were called after each record.
        kept_policies: with `keep_policies`, the policies at the records; read them by `policy` or `policies_over_time`.
        folder: of its files, or None.
        environment: of a saved run, the versions and the machine, as in environment.json.
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
    stopped: EarlyStop | None = None
    on_record: list[str] = field(default_factory=list)
    kept_policies: KeptPolicies = field(default_factory=KeptPolicies, compare=False)
    folder: Path | None = None
    environment: Facts = field(default_factory=dict)
    _traits: Facts = field(default_factory=dict, compare=False)  # of the environment, for `resume`
    _source: Source | None = field(default=None, init=False, compare=False)  # for random play in `verdict`
    _verdict: Verdict | None = field(default=None, init=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_source": None}  # it has functions that cannot be pickled

    @property
    def unit(self) -> str:
        """The unit of `steps` and `history["step"]`: "steps", with data "gradient steps", or "episodes"."""
        if self.options.episodes is not None:
            return "episodes"
        return "steps" if self.options.data is None else "gradient steps"

    @property
    def axis(self) -> str:
        """The unit of `history["step"]` as the label of an axis."""
        return "environment steps" if self.unit == "steps" else self.unit

    @property
    def has_exact_scores(self) -> bool:
        """Whether `scores` are exact expected returns and not means of episodes."""
        return bool(self.scores) and scores_are_exact(self.history, self.scores)

    @property
    def end(self) -> int:
        """The last step of training: `steps`, or an earlier one at which it was stopped."""
        return self.steps if self.stopped is None else self.stopped.step

    def __repr__(self) -> str:
        n, most = len(self.seeds), 8
        scores = ", ".join(f"{score:.6g}" for score in self.scores[:most])
        more = f", ... ({n} seeds)" if n > most else ""
        partly = not self.scores or self.stopped is not None
        done = f"{self.history.step[-1]:,} of " if self.history.step and partly else ""
        lines = (
            f"Run({self.config.name} on {self.world}: {done}{self.steps:,} {self.unit}, {n} seed{'s' * (n > 1)}, "
            f"{self.loop} loop)",
            f"  scores: {scores}{more}" if self.scores else "  has not ended: no scores yet",
            f"  history: {counted(len(self.history), 'record')} of {counted(len(self.history.columns), 'column')}; "
            f"policies: {', '.join(self.policies) or 'none yet'}",
            *([f"  {self.early}"] if self.stopped else []),
            f"  folder: {self.folder or 'not saved'}",
            *(f"  {line}" for line in inexact(self.environment)),
        )
        return plain("\n".join(lines))

    def _repr_html_(self) -> str:
        """Return the run for a notebook: its arguments, its score with an interval, and its learning curve."""
        rows: list[tuple[str, object]] = [
            ("environment", self.world),
            (self.unit, f"{self.steps:,}"),
            ("seeds", f"{len(self.seeds):,}"),
            ("loop", self.loop),
        ]
        if self.scores:
            found = self.summary()
            rows.append(("score, IQM", with_interval(found.iqm, found.iqm_low, found.iqm_high)))
            rows.append(("range of the seeds", f"{found.minimum:.4g} to {found.maximum:.4g}"))
        elif self.history.step:
            rows.append(("stopped at", f"{self.history.step[-1]:,}"))
        if self.stopped is not None:
            rows.append(("stopped early at", f"{self.stopped.step:,}: {self.stopped.reason}"))
        rows.append(("folder", self.folder or "not saved"))
        title = f"{self.config.name} on {self.world}"
        return html_card(title, rows, self.history.picture(self.axis), inexact(self.environment))

    @property
    def early(self) -> str:
        """Where and why training was stopped early, in words; "" if it was not."""
        return "" if self.stopped is None else self.stopped.in_words(self.unit)

    def to_pandas(self) -> DataFrame:
        """Return the history as a pandas DataFrame; see `History.to_pandas`."""
        return self.history.to_pandas()

    def summary(self) -> Summary:
        """Return the IQM and mean of `scores` over seeds, with 95 % bootstrap intervals (NaN below 5 seeds).

        Raises:
            ConfigError: the run has not ended and has no scores.
        """
        if not self.scores:
            saved = 0 if self.folder is None else saved_step(self.folder)
            done = max(int(self.history.step[-1]) if self.history.step else 0, saved)
            where = self.folder or "it"
            raise ConfigError(f"the run stopped at step {done:,} of {self.steps:,} and has no scores; resume {where}")
        return summarize(np.array(self.scores))

    def verdict(self) -> Verdict:
        """Compare the scores with random play and with the best policy, and say what is clearly wrong.

        Random actions are played in the same environment, as many episodes as the final policies played but for at most
        about 3 s, or valued exactly if the scores are exact; a loaded run creates its environment again for that.

        Raises:
            ConfigError: the run has not ended.
        """
        self.summary()  # it has ended
        if self._verdict is None:
            parts = self.config, self.options, self.scores, self.evaluations, self.episodes
            self._verdict = judge(facts_of(self.history, *parts, self.find_source()))
        return self._verdict

    def find_source(self) -> Source | None:
        """Return the environment in its forms; None if it cannot be created, or only a file asks for its code."""
        if self._source is not None:
            return self._source
        with contextlib.suppress(BellmaxError):
            return find_saved_world(None, None, self.world, self.env_kwargs, trusted=False)
        return None

    def policy(self, seed: int = 0, which: Which = "final", *, at: int | None = None) -> Policy:
        """Return the policy of one seed: "final", or "best" by the evaluations during training.

        Args:
            seed: of the run.
            which: "final" or "best".
            at: a step: return the policy of the last record at or before it, of a run with `keep_policies`.

        Raises:
            ConfigError: the run does not have this seed or this policy.
            CorruptCheckpoint: the file of the record is missing or damaged.
        """
        seed = integer("seed", seed, 0)
        if not isinstance(which, str):
            raise ConfigError(f"`which` must be 'final' or 'best'; got {describe(which)}")
        if seed not in self.seeds or which not in self.policies:
            seeds = f"{self.seeds[:20]}{' and more' * (len(self.seeds) > 20)}"
            raise ConfigError(
                f"no {which[:LONGEST_WORD]!r} policy of seed {seed}; seeds: {seeds}, kinds: {list(self.policies)}"
            )
        if at is None:
            return self.policies[which][self.seeds.index(seed)]
        if which != "final":
            raise ConfigError(
                f"at={describe(at)} is the policy of a step, and which={which!r} another; pass one of them"
            )
        step = integer("at", at, 0)
        if step > self.steps:
            raise ConfigError(f"at={step:,} is after the last of the {self.steps:,} {self.unit}")
        return self._kept(self.seeds.index(seed), self.kept_policies.at_or_before(step))

    def _kept(self, row: int, step: int) -> Policy:
        """The policy of a seed at the record of a step."""
        final = self.policies["final"]
        return replace(final[row], arrays=self.kept_policies.read(step, final, self.folder)[row])

    def policies_over_time(self, seed: int = 0) -> Iterator[tuple[int, Policy]]:
        """Return an iterator over (step, policy) of one seed at each record, of a run with `keep_policies`.

        Raises:
            ConfigError: the run does not have this seed, or did not store its policies.
            CorruptCheckpoint: while it iterates: a file is missing or damaged.
        """
        self.policy(seed)  # it has this seed
        self.kept_policies.at_or_before(self.steps)  # and policies over time
        row = self.seeds.index(integer("seed", seed, 0))
        return ((step, self._kept(row, step)) for step in self.kept_policies.steps)

    def show(
        self,
        what: What = "value",
        *,
        seed: int | None = None,
        which: Which = "final",
        at: int | None = None,
        world: object = None,
        env_kwargs: Mapping[str, Any] | None = None,
        everything: bool = False,
        progress: Progress | None = None,
    ) -> Picture:
        """Return a picture of what one seed learned: a map, if the states are on one, else a table.

        `print(run.show())` draws it in a terminal, a notebook shows it as SVG, and `.save(path)` writes a file.

        Args:
            what: "value" with the greedy actions, "policy" for these only, "q" for the value of each action, "visits",
                or "error" for the distance to the exact answer.
            seed: of the run; by default its first.
            which: "final", or "best" by the evaluations during training.
            at: a step: show what was learned until the last record at or before it, see `policy`.
            world: the environment, if it was an object and the run was loaded; its name is enough otherwise.
            env_kwargs: its arguments; they replace those of training one by one.
            everything: show all states, also where they do not fit.
            progress: called with (iteration, bound) while the exact answer is computed, see `solve`.

        Raises:
            ConfigError: the run does not have this seed or policy, its observations are real numbers, or it does not
                have what is asked for.
        """
        from bellmax.training.run_picture import picture_of_policy

        chosen = (self.seeds[0] if self.seeds else 0) if seed is None else seed
        policy = self.policy(chosen, which, at=at)
        done = max(self.history.step, default=0) if at is None else self.kept_policies.at_or_before(at)
        return picture_of_policy(
            policy, world, env_kwargs, what, everything=everything, progress=progress,
            title=f"{self.config.name} on {self.world}, {done:,} {self.unit}, seed {chosen}, {which} policy",
            source=self._source if world is None and env_kwargs is None else None,
        )  # fmt: skip

    def steps_to_optimal(self) -> StepsToOptimal:
        """Return the first record from which on each seed's greedy policy stays exactly optimal until the end.

        Raises:
            ConfigError: the run was not compared with an exact answer.
        """
        if "exact/is_optimal" not in self.history.columns:
            raise ConfigError(f"there was no exact answer for {self.world} with gamma={self.config.gamma}")
        optimal = self.history["exact/is_optimal"] == 1.0
        lasting = np.logical_and.accumulate(optimal[:, ::-1], axis=1)[:, ::-1]
        steps = np.where(lasting.any(axis=1), self.history["step"][lasting.argmax(axis=1)], np.inf)
        return StepsToOptimal(steps, float(np.median(steps)), *bootstrap_interval(steps, np.median))

    def drop_after(self, step: int) -> None:
        """Remove the records, policies, visits and episodes after `step`."""
        self.history.drop_after(step)
        self.kept_policies.drop_after(step)
        if self.stopped is not None and self.stopped.step > step:
            self.stopped = None
        if self.visits is not None:
            self.visits = self.visits[: len(self.history)]
        known = "rollout/episodes" in self.history.columns
        ended = np.nansum(self.history["rollout/episodes"], axis=1) if known else np.zeros(len(self.seeds))
        self.episodes = [
            Episodes(returns[: int(n)], lengths[: int(n)])
            for (returns, lengths), n in zip(self.episodes, ended, strict=bool(self.episodes))
        ]
