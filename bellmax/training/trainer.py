"""NumPy. Run all seeds of a run to the end: chunk by chunk; after each it logs, evaluates, reports and saves."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bellmax.contracts import ArrayDict, BellmaxError, CorruptCheckpoint, EnvWarning, FloatArray
from bellmax.loops.logs import own_arrays, read_best, read_own_arrays, without_own
from bellmax.loops.loop import Chunk, Loop
from bellmax.loops.pacing import is_sound, progress_words, record_steps
from bellmax.loops.stopping import Pause, Pool, at_once, check_asked, stop_at_a_good_moment
from bellmax.sources import Source
from bellmax.stderr import say, warn
from bellmax.training import saved_runs
from bellmax.training.divergence import (
    ValueScale,
    blame_returns,
    blaming,
    check_arrays,
    check_divergence,
    check_finite,
    clipping,
)
from bellmax.training.early_stop import EarlyStop
from bellmax.training.exact import find_truth
from bellmax.training.grading import GRADES, grade_by_episodes, grade_exactly, play_finally
from bellmax.training.groups import SeedGroups
from bellmax.training.kept_records import KeptRecords, record_columns
from bellmax.training.policy import Policy
from bellmax.training.progress import ProgressReport
from bellmax.training.progress import progress as show_progress
from bellmax.training.record_hooks import OnRecord, call_hooks
from bellmax.training.run import Run
from bellmax.training.saver import Saver

SAVE_SECONDS = 30.0  # a killed process loses at most this much; more if training stands still for more than a second


class Trainer:
    """The state of a running `train` or `resume`."""

    def __init__(
        self,
        run: Run,
        source: Source,
        loop: Loop[Any] | None,
        begin: int = 0,
        saved: list[ArrayDict] | None = None,
        *,
        afresh: bool = False,
        hooks: Sequence[OnRecord] = (),
    ) -> None:
        """Prepare a run to start, or to continue from the `saved` states of its groups; without a loop, to evaluate.

        A resumed run without states is before its first step, or after its last; `afresh` writes all its files first.
        `hooks` are called after each record.
        """
        self.run, self.source, self.saved, self.hooks = run, source, saved, hooks
        self.from_file, self.afresh = saved is not None, afresh
        recurrent = getattr(run.config, "recurrent", "none") != "none"  # its values are of histories, not of states
        self.truth = None if recurrent else find_truth(source.mdp, run.config.gamma)
        self.groups = None if loop is None else SeedGroups(loop, run.seeds, begin)
        self.saver = Saver(run, loop.replay if loop else "")
        options = run.options
        self.ends: Sequence[int] = run.history.step
        if loop is not None:
            self.ends = record_steps(run.steps, loop.stride, options.records, options.record_spacing)
        self.kept = KeptRecords(run, len(self.ends))
        self.clipped = False
        self.best, self.scale = np.full(len(run.seeds), -math.inf), ValueScale.of(len(run.seeds))
        self.asked: list[int] = []
        self.due = -math.inf  # the first chunk is saved at once
        self.begun, self.words, self.sound, self.first = time.perf_counter(), "", True, True
        for name in GRADES:
            if name in run.history.columns:
                self.best = np.fmax.reduce(run.history[name], axis=1)
                break

    def go(self, wanted: bool | None) -> None:
        """Train to the end, evaluate and save; after a failure, save everything so far and raise it again."""
        groups, run = self.groups, self.run
        parallel = groups is not None and groups.loop.parallel
        self.pool = Pool(min(len(groups.seeds), os.cpu_count() or 1) if groups is not None and parallel else 1)
        title = f"{run.config.name} {run.world}"
        patient = True
        try:
            with (
                show_progress(run.steps * len(run.seeds), title, wanted, run.unit) as report,
                stop_at_a_good_moment(self.run.folder is not None) as self.asked,
            ):
                if groups is not None:
                    self.train(groups, report)
                self.finish()
        except BaseException as error:
            patient = not at_once(error)
            raise
        finally:
            self.pool.shutdown(wait=patient, cancel_futures=True)
            self.saver.settle(last=True)

    def train(self, groups: SeedGroups[Any], report: ProgressReport) -> None:
        """Make all records, then save the experience and a checkpoint of the end; after a failure, save and raise."""
        try:
            self.open(groups)
            while len(self.run.history) < len(self.ends) and self.run.stopped is None:
                self.reach(groups, self.ends[len(self.run.history)], report)
                self.record(groups, report)
            if self.run.options.keep_experience:
                self.run.experience = groups.experience()
            self.save_end()
        except BaseException as error:
            if at_once(error):
                groups.kill()
                raise
            self.rescue(groups)
            with contextlib.suppress(BellmaxError):  # the first failure is the one to report
                self.pool.call(groups.close)
            raise
        self.pool.call(groups.close)

    def open(self, groups: SeedGroups[Any]) -> None:
        """Create or restore the states of all groups."""
        saved, self.saved = self.saved, None
        groups.open(self.pool, [self.read_own(groups, g, arrays) for g, arrays in enumerate(saved)] if saved else None)
        if saved:
            self.read_policies(groups, saved)
        if self.afresh:
            self.save(groups, wait=True)
            self.afresh = False

    def read_policies(self, groups: SeedGroups[Any], saved: Sequence[ArrayDict]) -> None:
        """Read the best policies in a checkpoint, and make the present ones; format 1 has them only in their files."""
        final = self.policies(groups)
        ends = np.cumsum([len(seeds) for seeds in groups.seeds]).tolist()
        like = [
            [policy.arrays for policy in final[end - len(s) : end]] for s, end in zip(groups.seeds, ends, strict=True)
        ]
        best = [each for arrays, present in zip(saved, like, strict=True) for each in read_best(arrays, present)]
        if best:
            self.run.policies = {"final": final, "best": [self.policy(arrays) for arrays in best]}

    def reach(self, groups: SeedGroups[Any], until: int, report: ProgressReport) -> None:
        """Bring all groups to the step `until`; a long chunk is also saved in between."""
        saves = self.run.folder is not None
        while min(groups.clocks) < until:
            pause, begun = Pause(self.asked, self.due if saves else math.inf), sum(groups.clocks)
            groups.advance(until, pause, lambda done: report(done, self.words, compiling=self.first))
            check_asked(self.asked)
            if sum(groups.clocks) == begun and self.run.options.episodes is None:
                raise CorruptCheckpoint(f"no whole number of rounds leads from steps {groups.clocks} to {until}")
            if min(groups.clocks) < until and saves:
                self.save(groups)

    def record(self, groups: SeedGroups[Any], report: ProgressReport) -> None:
        """Log, evaluate, report and save, when all groups have reached the same step."""
        run, t = self.run, groups.clocks[0]
        before = run.history.step[-1] if len(run.history) else 0
        chunks, scale = groups.chunks(t - before), ValueScale(*map(np.copy, self.scale))
        self.sound = False
        with blaming(run.world, lambda: groups.blame() or blame_returns(run.seeds, chunks)):
            check_finite(run.seeds, chunks, before, t)  # the policies are still those of the record before
            check_divergence(run.seeds, chunks, self.scale, run.config, before, t)
            policies = self.policies(groups)
            check_arrays(run.seeds, [policy.arrays for policy in policies], run.config, before, t)
        self.sound = True
        self.remark(chunks)
        taken = (t - before) * len(run.seeds)
        if run.options.episodes is not None:  # chunks end with an episode
            taken = sum(int(chunk.episodes.lengths.sum()) for chunk in chunks)
        # most of a first chunk is compiling, which is not speed
        fps = math.nan if self.first and t < run.steps else taken / max(time.perf_counter() - self.begun, 1e-9)
        run.policies["final"] = policies
        grades = self.evaluate(groups.loop.kind)
        columns = {**record_columns(run, chunks, t), **grades, "time/fps": fps}
        try:
            own, reason = call_hooks(self.hooks, run, groups, t, columns)
        except BaseException:
            self.scale = scale  # the run is saved as before this record, and makes it again when it is resumed
            raise
        self.keep_best(grades)
        run.history.append(t, {**columns, **own})
        run.stopped = EarlyStop(t, reason) if reason is not None and t < run.steps else None
        if run.options.keep_policies:
            run.kept_policies.add(t, policies)
        groups.begin_chunk()
        self.kept.keep(chunks, run.policies["final"])
        self.begun, self.words = time.perf_counter(), progress_words(columns)
        report(t * len(run.seeds), self.words, compiling=self.first)
        self.first = False
        if t < run.end:
            if run.folder is not None and not self.asked and time.monotonic() > self.due:
                self.save(groups)
            check_asked(self.asked)

    def remark(self, chunks: Sequence[Chunk]) -> None:
        """Warn once if the atoms of a categorical head do not cover its targets."""
        if not self.clipped and (text := clipping(chunks, self.scale, self.run.config)):
            self.clipped = True
            warn(f"{self.run.config.name} on {self.run.world}: {text}", EnvWarning)

    def save(self, groups: SeedGroups[Any], *, wait: bool = False) -> None:
        """Save the run's files and a checkpoint in one moment, and set the time of the next save.

        A thread writes them while training goes on, unless `wait`.

        Raises:
            ResourceError: the disk failed several times in a row; with `wait`, now.
        """
        begin = time.monotonic()
        self.kept.gather()
        step, dumped = min(groups.clocks), self.dumped(groups)
        try:
            if wait:
                self.saver.save(step, dumped, afresh=self.afresh)
            else:
                self.saver.begin(step, dumped)
        finally:
            end = time.monotonic()
            self.due = end + SAVE_SECONDS * max(1.0, end - begin)

    def dumped(self, groups: SeedGroups[Any]) -> Iterator[ArrayDict]:
        """Yield the arrays of each group's checkpoint."""
        scales = dict(zip(self.run.seeds, np.stack(self.scale, axis=1), strict=True))
        best = dict(zip(self.run.seeds, self.run.policies.get("best", ()), strict=False))
        for state, clock, logs, seeds in zip(groups.states, groups.clocks, groups.logs, groups.seeds, strict=True):
            policies = [best[seed].arrays for seed in seeds if seed in best]
            yield {**groups.loop.dump(state), **own_arrays(clock, logs, [scales[seed] for seed in seeds], policies)}

    def save_end(self) -> None:
        """Write everything learned, and a checkpoint without states: only the final evaluation is missing."""
        self.kept.gather()
        if self.run.folder is not None:
            self.saver.save(self.run.end, experience=self.run.options.keep_experience)

    def read_own(self, groups: SeedGroups[Any], g: int, arrays: ArrayDict) -> ArrayDict:
        """Read the trainer's arrays of a group's checkpoint, and return the loop's; raises as `read_own_arrays`."""
        low = max(self.run.history.step, default=0)
        high, first = next((end for end in self.ends if end > low), low), self.run.seeds.index(groups.seeds[g][0])
        own = read_own_arrays(arrays, len(groups.seeds[g]), low, high)
        if own is not None:
            groups.clocks[g], groups.logs[g], scales = own
            for i, scale in enumerate(scales, first):
                for column, number in zip(self.scale, scale, strict=False):  # older checkpoints have two
                    column[i] = number
        return without_own(arrays)

    def rescue(self, groups: SeedGroups[Any]) -> None:
        """After a failure or a signal: save the policies and a checkpoint, if their numbers are sound."""
        run = self.run
        if not groups.are_open:
            return
        try:
            if self.sound or groups.loop.kind == "host":
                policies = self.policies(groups)
                if all(is_sound(array) for policy in policies for array in policy.arrays.values()):
                    run.policies["final"] = policies
                else:
                    self.sound = False
            if run.policies:
                run.policies.setdefault("best", list(run.policies["final"]))
            if run.folder is None:
                self.kept.gather()
            elif self.sound:
                self.save(groups, wait=True)
            elif run.policies:
                self.kept.gather()
                self.saver.save()
        except Exception as error:
            why = str(error) or type(error).__name__
            say(f"everything learned since the last checkpoint is lost, because it could not be saved: {why}")

    def policies(self, groups: SeedGroups[Any]) -> list[Policy]:
        """Return the present policy of each seed."""
        return [self.policy(arrays) for arrays in groups.snapshot()]

    def policy(self, arrays: ArrayDict) -> Policy:
        """Return a policy of this run."""
        run, source = self.run, self.source
        return Policy(
            run.world, run.config, source.space, source.n_actions, arrays, run.env_kwargs, dict(source.coding),
            self.from_file,
        )  # fmt: skip

    def evaluate(self, kind: str) -> dict[str, FloatArray]:
        """Grade the present policies, exactly or by greedy episodes, and return the columns."""
        run, episodes = self.run, self.run.options.eval_episodes
        final = run.policies["final"]
        if self.truth is not None:
            return self.pool.call(grade_exactly, self.truth, final)
        if episodes and self.source.fixed is None:  # an environment that was given as an object is in use
            stop = functools.partial(check_asked, self.asked)
            return grade_by_episodes(kind, self.source, final, run.seeds, episodes, self.pool, stop)
        return {}

    def keep_best(self, grades: Mapping[str, FloatArray]) -> None:
        """Store the present policy of each seed whose grade is the highest so far."""
        run, final = self.run, self.run.policies["final"]
        score = next((grades[name] for name in GRADES if name in grades), np.full(len(final), math.nan))
        best = run.policies.setdefault("best", list(final))
        better = ~(score <= self.best)  # without a grade the last is the best
        self.best = np.where(better, score, self.best)
        for i in np.flatnonzero(better):
            best[i] = final[i] if math.isnan(score[i]) else final[i].owned()

    def finish(self) -> None:
        """Evaluate the final policies in the environment itself, score them, and write the result."""
        run, episodes = self.run, self.run.options.final_episodes
        run._source = self.source
        self.kept.gather()
        if episodes:
            stop = functools.partial(check_asked, self.asked)
            run.evaluations = self.pool.call(
                play_finally, self.source, run.policies["final"], run.seeds, episodes, stop
            )
        limited = self.truth is not None and self.truth.mdp.max_episode_steps is not None
        if limited or (self.truth is not None and not episodes):
            run.scores = run.history["exact/policy_return"][:, -1].tolist()
        else:
            run.scores = [each.mean_return for each in run.evaluations] or [math.nan] * len(run.seeds)
        if run.folder is not None:
            saved_runs.save_result(run)
