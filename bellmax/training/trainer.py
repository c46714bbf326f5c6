"""NumPy. The work of a run: chunks of all seeds; between chunks it logs, evaluates, reports, saves."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from concurrent.futures import wait
from typing import Any

import numpy as np

from bellmax.contracts import BellmaxError, CorruptCheckpoint, EnvWarning, FloatArray
from bellmax.files import checkpoint
from bellmax.loops.loop import Chunk, Loop
from bellmax.loops.pacing import MAX_CHUNK as MAX_CHUNK
from bellmax.loops.pacing import chunk_steps as chunk_steps
from bellmax.loops.pacing import is_sound, progress_words
from bellmax.loops.parts import OWN, Part, from_own, join, nothing, to_own
from bellmax.loops.stopping import Pause, Pool, check_asked, never, stop_at_a_good_moment
from bellmax.sources import Source
from bellmax.stderr import say, warn
from bellmax.training import saved_runs
from bellmax.training.divergence import ValueScale, check_divergence, check_finite, clipping
from bellmax.training.exact import find_truth
from bellmax.training.grading import GRADES, grade_by_episodes, grade_exactly, play_finally
from bellmax.training.history import chunk_columns
from bellmax.training.kept_records import KeptRecords
from bellmax.training.policy import Policy
from bellmax.training.progress import ProgressReport
from bellmax.training.progress import progress as show_progress
from bellmax.training.run import Run

SAVE_SECONDS = 30.0  # at most this much is lost when the process is killed; more where saving takes above a second


class Trainer:
    """The state of a running `train`: groups of seeds, each at its own clock, and what each has told since its record.

    Groups stop wherever a signal, a failure or a save finds them; a record is made when all have reached it.
    """

    def __init__(
        self, run: Run, source: Source, loop: Loop | None, begin: int = 0, saved: list[dict[str, Any]] | None = None
    ) -> None:
        """A run to start, or to go on with the `saved` states of its groups; without a loop only to be evaluated."""
        self.run, self.source, self.loop, self.saved = run, source, loop, saved
        self.from_file = saved is not None
        recurrent = getattr(run.config, "recurrent", "none") != "none"  # its values are of histories, not of states
        self.truth = None if recurrent else find_truth(source.mdp, run.config.gamma)
        size = min(loop.group, len(run.seeds)) if loop else len(run.seeds)
        self.groups = [run.seeds[i : i + size] for i in range(0, len(run.seeds), size)]
        self.chunk = chunk_steps(run.steps, loop.stride if loop else 1, run.options.records)
        self.n_records = -(-run.steps // self.chunk) if loop else len(run.history)
        self.kept = KeptRecords(run, self.n_records)
        self.clipped = False
        self.best, self.scale = np.full(len(run.seeds), -math.inf), ValueScale.of(len(run.seeds))
        self.states: list[Any] = []
        self.clocks = [begin for _ in self.groups]
        self.parts = [[nothing() for _ in seeds] for seeds in self.groups]
        self.asked: list[int] = []
        self.due = -math.inf  # the first chunk is saved at once
        self.begun, self.words, self.sound, self.first = time.monotonic(), "", True, True
        for name in GRADES:
            if name in run.history.columns:
                self.best = np.fmax.reduce(run.history[name], axis=1)
                break

    def go(self, wanted: bool | None) -> None:
        """Train to the end, evaluate, save; on failure save what there is and pass the failure on."""
        threads = min(len(self.groups), os.cpu_count() or 1) if self.loop and self.loop.parallel else 1
        run, self.pool = self.run, Pool(threads)
        title = f"{run.config.name} {run.world}"
        patient = True
        try:
            with (
                show_progress(run.steps * len(run.seeds), title, wanted, run.unit) as report,
                stop_at_a_good_moment(self.run.folder is not None) as self.asked,
            ):
                if self.loop is not None:
                    self.train(self.loop, report)
                self.finish()
        except KeyboardInterrupt as interrupt:
            patient = bool(interrupt.args)  # not where a second signal, or somebody else's, wants an end at once
            raise
        finally:
            self.pool.shutdown(wait=patient, cancel_futures=True)

    def train(self, loop: Loop, report: ProgressReport) -> None:
        """All records, then the experience and a checkpoint of the end; on failure save what there is."""
        try:
            self.begin(loop)
            while len(self.run.history) < self.n_records:
                self.reach(loop, min((len(self.run.history) + 1) * self.chunk, self.run.steps), report)
                self.record(loop, report)
            if self.run.options.keep_experience:
                assert loop.experience is not None  # noqa: S101 - train has looked
                self.run.experience = [data for each in self.pool.map(loop.experience, self.states) for data in each]
            self.save_end()
        except (BellmaxError, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt) and not error.args:  # now
                for state in self.states:
                    loop.kill(state)
                raise
            self.keep(loop)
            self.close(loop)
            raise
        except BaseException:
            self.close(loop)
            raise
        self.close(loop)

    def close(self, loop: Loop) -> None:
        """Free what the states hold outside memory, each once."""
        states, self.states = self.states, []
        with contextlib.ExitStack() as stack:
            for state in states:
                stack.callback(loop.close, state)

    def begin(self, loop: Loop) -> None:
        """The states of all groups: fresh, or those that were saved."""
        if self.saved is None:
            begun = self.pool.map(loop.start, self.groups)
        else:
            for g, arrays in enumerate(self.saved):
                self.saved[g] = self.read_own(g, arrays)
            begun = self.pool.map(loop.restore, self.groups, self.saved, self.clocks)
            self.saved = None
        for state in begun:
            self.states.append(state)

    def reach(self, loop: Loop, until: int, report: ProgressReport) -> None:
        """Bring all groups to the step `until`; a chunk that is long is saved in its middle."""
        while min(self.clocks) < until:
            pause, begun = Pause(self.asked, self.due if self.run.folder is not None else math.inf), sum(self.clocks)

            def advance(g: int, pause: Pause = pause) -> tuple[int, list[Part]]:
                t = self.clocks[g]
                self.states[g], parts, done = loop.go(self.states[g], t, until - t, pause)
                return t + done, parts

            futures, noted = [self.pool.submit(advance, g) for g in range(len(self.groups))], 0
            try:
                for noted, future in enumerate(futures):
                    self.note(noted, *future.result())
                    done = sum(t * len(seeds) for t, seeds in zip(self.clocks, self.groups, strict=True))
                    report(done, self.words, compiling=self.first)
            except Exception:
                pause.over = True  # the others stop after their present step
                wait([future for future in futures if not future.cancel()])
                for g in range(noted, len(futures)):
                    if not futures[g].cancelled() and futures[g].exception() is None:
                        self.note(g, *futures[g].result())
                self.catch_up(loop)
                raise
            check_asked(self.asked)
            if sum(self.clocks) == begun and self.run.options.episodes is None:
                raise CorruptCheckpoint(f"from steps {self.clocks} no whole steps lead to {until}")
            if min(self.clocks) < until and self.run.folder is not None:
                self.save(loop)

    def note(self, g: int, t: int, parts: list[Part]) -> None:
        """What a group told on its way to the step `t`."""
        self.clocks[g] = t
        self.parts[g] = [join(old, new) for old, new in zip(self.parts[g], parts, strict=True)]

    def record(self, loop: Loop, report: ProgressReport) -> None:
        """Log, evaluate, report and save: all groups have reached the same step."""
        run, t = self.run, self.clocks[0]
        before = run.history.step[-1] if len(run.history) else 0
        chunks = [
            chunk
            for state, parts in zip(self.states, self.parts, strict=True)
            for chunk in loop.chunks(state, parts, t - before)
        ]
        self.sound = False
        check_finite(run.seeds, chunks, before, t)  # the policies are still those of the record before
        check_divergence(run.seeds, chunks, self.scale, run.config, t)
        self.sound = True
        self.remark(chunks)
        taken = (t - before) * len(run.seeds)
        if run.options.episodes is not None:  # chunks end with an episode
            taken = sum(int(chunk.episodes.lengths.sum()) for chunk in chunks)
        # most of a first chunk is compiling, which is not speed
        fps = math.nan if self.first and t < run.steps else taken / max(time.monotonic() - self.begun, 1e-9)
        run.policies["final"] = self.snapshot(loop)
        columns = {**self.columns(chunks, t), **self.evaluate(loop), "time/fps": fps}
        run.history.append(t, columns)
        for state in self.states:
            loop.forget(state)
        self.parts = [[nothing() for _ in seeds] for seeds in self.groups]
        self.kept.keep(chunks, run.policies["final"])
        self.begun, self.words = time.monotonic(), progress_words(columns)
        report(t * len(run.seeds), self.words, compiling=self.first)
        self.first = False
        if t < run.steps:
            if run.folder is not None and (self.asked or time.monotonic() > self.due):
                self.save(loop)
            check_asked(self.asked)

    def remark(self, chunks: list[Chunk]) -> None:
        """Say once where the atoms of a categorical head do not reach around its targets."""
        if not self.clipped and (text := clipping(chunks, self.scale, self.run.config)):
            self.clipped = True
            warn(f"{self.run.config.name} on {self.run.world}: {text}", EnvWarning)

    def snapshot(self, loop: Loop) -> list[Policy]:
        """The present policy of each seed."""
        return [self.policy(arrays) for each in self.pool.map(loop.snapshot, self.states) for arrays in each]

    def save(self, loop: Loop) -> None:
        """Write the run's files and a checkpoint, and decide when to do so again."""
        assert self.run.folder is not None  # noqa: S101 - the caller has looked
        begin = time.monotonic()
        self.kept.gather()
        saved_runs.save_run(self.run)
        scales = np.stack(self.scale, axis=1)
        groups = [
            {**loop.dump(state), **to_own(clock, parts, [scales[self.run.seeds.index(seed)] for seed in seeds])}
            for state, clock, parts, seeds in zip(self.states, self.clocks, self.parts, self.groups, strict=True)
        ]
        checkpoint.save_groups(self.run.folder, min(self.clocks), groups)
        end = time.monotonic()
        self.due = end + SAVE_SECONDS * max(1.0, end - begin)

    def save_end(self) -> None:
        """All that was learned, and a checkpoint without states: what is left is to evaluate."""
        self.kept.gather()
        if self.run.folder is not None:
            saved_runs.save_run(self.run)
            saved_runs.save_experience(self.run)
            checkpoint.save_groups(self.run.folder, self.run.steps, [])

    def read_own(self, g: int, arrays: dict[str, Any]) -> dict[str, Any]:
        """Take what is ours of a group's checkpoint; returns the rest, which is the loop's. Raises as `from_own`."""
        low, first = len(self.run.history) * self.chunk, self.run.seeds.index(self.groups[g][0])
        own = from_own(arrays, len(self.groups[g]), low, min(low + self.chunk, self.run.steps))
        if own is not None:
            self.clocks[g], self.parts[g], scales = own
            for i, scale in enumerate(scales, first):
                self.scale.reward[i], self.scale.first[i] = scale
        return {name: array for name, array in arrays.items() if not name.startswith(OWN)}

    def keep(self, loop: Loop) -> None:
        """After a failure or a signal: save the policies and a checkpoint, as far as they are sound."""
        run = self.run
        if len(self.states) < len(self.groups):  # it failed before the first step
            return
        try:
            if self.sound or loop.kind == "host":
                policies = self.snapshot(loop)
                if all(is_sound(array) for policy in policies for array in policy.arrays.values()):
                    run.policies["final"] = policies
                else:
                    self.sound = False
            if run.policies:
                run.policies.setdefault("best", list(run.policies["final"]))
            if run.folder is None:
                self.kept.gather()
            elif self.sound:
                self.save(loop)
            elif run.policies:
                self.kept.gather()
                saved_runs.save_run(run)
        except BellmaxError as error:
            say(f"what was learned since the last checkpoint could not be saved: {error}")

    def catch_up(self, loop: Loop) -> None:
        """After a failure: where each group of a host loop is, and what it has told."""
        for g, state in enumerate(self.states):
            if (t := loop.clock(state)) is not None and t != self.clocks[g]:
                self.note(g, t, loop.go(state, t, 0, never)[1])

    def columns(self, chunks: list[Chunk], t: int) -> dict[str, FloatArray | float]:
        """One record of the history, without evaluation."""
        columns: dict[str, FloatArray | float] = {"time/total_timesteps": float(t)}
        if self.run.options.data is None:  # offline nobody explores
            columns["rollout/exploration_rate"] = float(self.run.config.epsilon(t, self.run.steps))
        return {**columns, **chunk_columns(chunks)}

    def policy(self, arrays: dict[str, Any]) -> Policy:
        """A policy of this run."""
        run = self.run
        source = self.source
        coding = dict(source.coding)
        return Policy(
            run.world, run.config, source.space, source.n_actions, arrays, run.env_kwargs, coding, self.from_file
        )

    def evaluate(self, loop: Loop) -> dict[str, FloatArray]:
        """Columns on how good the present policies are: exactly, or by greedy episodes; keeps the best ones."""
        run, episodes = self.run, self.run.options.eval_episodes
        final, grades = run.policies["final"], {}
        if self.truth is not None:
            grades = self.pool.call(grade_exactly, self.truth, final)
        elif episodes and self.source.fixed is None:  # the only one there is, is busy training
            stop = functools.partial(check_asked, self.asked)
            grades = grade_by_episodes(loop.kind, self.source, final, run.seeds, episodes, self.pool, stop)
        score = next((grades[name] for name in GRADES if name in grades), np.full(len(final), math.nan))
        best = run.policies.setdefault("best", list(final))
        better = ~(score <= self.best)  # without a grade the last is the best
        self.best = np.where(better, score, self.best)
        for i in np.flatnonzero(better):
            best[i] = final[i] if math.isnan(score[i]) else final[i].owned()
        return grades

    def finish(self) -> None:
        """Evaluate the final policies in the environment itself, score them, write the result."""
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
            checkpoint.remove(run.folder)
