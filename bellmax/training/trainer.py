"""NumPy. The work of a run: chunks of all seeds; between chunks it logs, evaluates, reports, saves."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from bellmax.stderr import say, warn
from bellmax.training import checkpoint, saving
from bellmax.training.exact import find_truth
from bellmax.training.grading import GRADES, grade_by_episodes, grade_exactly, play_finally
from bellmax.training.keeping import Keeper
from bellmax.training.policy import Policy
from bellmax.training.progress import progress as show_progress
from bellmax.training.records import Chunk, Loop, Scale, check_divergence, check_finite, chunk_columns, clipping
from bellmax.training.run import Run
from bellmax.training.worlds import Source
from bellmax.types import BellmaxError, EnvWarning, FloatArray

SAVE_SECONDS = 30.0  # at most this much is lost when the process is killed; more where saving takes above a second
MAX_CHUNK = 1_000_000  # environment steps; bounds the memory of a chunk's records


def chunk_steps(total: int, stride: int, records: int) -> int:
    """Steps per chunk: about total / records, and a divisor of the whole where one is near.

    A compiled loop would compile once more for a shorter last chunk.
    """
    rounds = total // stride
    wanted = max(1, min(math.ceil(rounds / records), MAX_CHUNK // stride))
    for size in range(wanted, max(1, wanted // 2) - 1, -1):
        if rounds % size == 0:
            return size * stride
    return wanted * stride


@contextlib.contextmanager
def stop_at_a_good_moment() -> Iterator[list[int]]:
    """Turn the first SIGINT or SIGTERM into an entry of the list, looked at between chunks; the second stops at once.

    Only the main thread may do so; elsewhere signals stay what they are.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: Any) -> None:
        del frame
        asked.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)
        say("stopping after this chunk, with everything saved; once more to stop at once")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Trainer:
    """The state of a running `train`: groups of seeds, and the last good snapshot of each."""

    def __init__(
        self, run: Run, source: Source, loop: Loop, begin: int = 0, saved: list[dict[str, Any]] | None = None
    ) -> None:
        """A run to start, or to go on from step `begin` with the `saved` states of its groups."""
        self.run, self.source, self.loop, self.begin, self.saved = run, source, loop, begin, saved
        self.from_file = saved is not None
        recurrent = getattr(run.config, "recurrent", "none") != "none"  # its values are of histories, not of states
        self.truth = None if recurrent else find_truth(source.mdp, run.config.gamma)
        size = min(loop.group, len(run.seeds))
        self.groups = [run.seeds[i : i + size] for i in range(0, len(run.seeds), size)]
        self.chunk = chunk_steps(run.steps, loop.stride, run.options.records)
        self.keeper = Keeper(run, -(-run.steps // self.chunk))
        self.clipped = False
        self.best, self.scale = np.full(len(run.seeds), -math.inf), Scale.of(len(run.seeds))
        for name in GRADES:
            if name in run.history.columns:
                self.best = np.fmax.reduce(run.history[name], axis=1)
                break

    def go(self, wanted: bool | None) -> None:
        """Train to the end, evaluate, save; on failure save what there is and pass the failure on."""
        workers = min(len(self.groups), os.cpu_count() or 1) if self.loop.parallel else 1
        with contextlib.ExitStack() as stack:
            self.pool = stack.enter_context(ThreadPoolExecutor(workers))
            report = stack.enter_context(
                show_progress(
                    self.run.steps * len(self.run.seeds),
                    f"{self.run.config.name} {self.run.world}",
                    wanted,
                    self.run.unit,
                )
            )
            if self.saved is None:
                states = list(self.pool.map(self.loop.start, self.groups))
            else:
                states = list(self.pool.map(self.loop.restore, self.groups, self.saved))
            self.saved = None
            stop = stack.enter_context(stop_at_a_good_moment())
            for state in states:
                stack.callback(self.loop.close, state)
            try:
                self.train(states, report, stop)
                if self.run.options.keep_experience:
                    assert self.loop.experience is not None  # noqa: S101 - train has looked
                    self.run.experience = [data for state in states for data in self.loop.experience(state)]
            except (BellmaxError, KeyboardInterrupt):
                self.keep(states)
                raise
        self.finish(self.run.options.final_episodes)

    def train(self, states: list[Any], report: Any, stop: list[int]) -> None:
        """All chunks of all seeds; a signal in `stop` ends it between two of them."""
        run, t, due, words = self.run, self.begin, -math.inf, ""  # the first chunk is saved at once
        while t < run.steps:
            n, first = min(self.chunk, run.steps - t), t == self.begin
            begin, done = time.monotonic(), t * len(run.seeds)
            chunks: list[Chunk] = []
            arrays: list[dict[str, Any]] = []
            advanced = self.pool.map(lambda state, t=t, n=n: self.advance(state, t, n), states)
            for i, (state, more, snapshots) in enumerate(advanced):
                states[i] = state
                chunks += more
                arrays += snapshots
                done += n * len(more)
                report(done, words, compiling=first)
            t += n
            check_finite(run.seeds, chunks, t - n, t)  # the policies are still those of the chunk before
            check_divergence(run.seeds, chunks, self.scale, run.config, t)
            self.remark(chunks)
            taken = n * len(run.seeds)
            if run.options.episodes is not None:  # chunks end with an episode
                taken = sum(int(chunk.episodes.lengths.sum()) for chunk in chunks)
            # most of a first chunk is compiling, which is not speed
            fps = math.nan if first and t < run.steps else taken / max(time.monotonic() - begin, 1e-9)
            run.policies["final"] = [self.policy(one) for one in arrays]
            columns = {**self.columns(chunks, t), **self.evaluate(), "time/fps": fps}
            run.history.append(t, columns)
            self.keeper.keep(chunks, run.policies["final"])
            words = progress_words(columns)
            report(done, words, compiling=first)
            if run.folder is not None and t < run.steps and (stop or time.monotonic() > due):
                due = self.save(t, states)
            if stop and t < run.steps:
                raise KeyboardInterrupt(stop[0])

    def remark(self, chunks: list[Chunk]) -> None:
        """Say once where the atoms of a categorical head do not reach around its targets."""
        if not self.clipped and (text := clipping(chunks, self.scale, self.run.config)):
            self.clipped = True
            warn(f"{self.run.config.name} on {self.run.world}: {text}", EnvWarning)

    def save(self, t: int, states: list[Any]) -> float:
        """Write the run's files and a checkpoint; returns when (seconds, `time.monotonic`) to do so again."""
        assert self.run.folder is not None  # noqa: S101 - the caller has looked
        begin = time.monotonic()
        self.keeper.gather()
        saving.save(self.run)
        checkpoint.save(self.run.folder, t, [self.loop.dump(state) for state in states])
        end = time.monotonic()
        return end + SAVE_SECONDS * max(1.0, end - begin)

    def keep(self, states: list[Any]) -> None:
        """After a failure: save the policies as they are, in a compiled loop those of the chunk before."""
        if self.loop.kind == "host":
            arrays = [one for state in states for one in self.loop.snapshot(state)]
            if all(is_sound(array) for one in arrays for array in one.values()):
                self.run.policies["final"] = [self.policy(one) for one in arrays]
        self.keeper.gather()
        if self.run.policies:
            self.run.policies.setdefault("best", list(self.run.policies["final"]))
        if self.run.folder is not None and self.run.policies:
            saving.save(self.run)

    def advance(self, state: Any, t: int, n: int) -> tuple[Any, list[Chunk], list[dict[str, Any]]]:
        """One chunk of one group, and the policies after it."""
        state, chunks = self.loop.advance(state, t, n)
        return state, chunks, self.loop.snapshot(state)

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

    def evaluate(self) -> dict[str, FloatArray]:
        """Columns on how good the present policies are: exactly, or by greedy episodes; keeps the best ones."""
        run, episodes = self.run, self.run.options.eval_episodes
        final, grades = run.policies["final"], {}
        if self.truth is not None:
            grades = grade_exactly(self.truth, final)
        elif episodes and self.source.fixed is None:  # the only one there is, is busy training
            grades = grade_by_episodes(self.loop.kind, self.source, final, run.seeds, episodes, self.pool)
        score = next((grades[name] for name in GRADES if name in grades), np.full(len(final), math.nan))
        best = run.policies.setdefault("best", list(final))
        better = ~(score <= self.best)  # without a grade the last is the best
        self.best = np.where(better, score, self.best)
        for i in np.flatnonzero(better):
            best[i] = final[i] if math.isnan(score[i]) else final[i].owned()
        return grades

    def finish(self, episodes: int) -> None:
        """Evaluate the final policies in the world itself, score them, save."""
        run = self.run
        self.keeper.gather()
        if episodes:
            run.evaluations = play_finally(self.source, run.policies["final"], run.seeds, episodes)
        limited = self.truth is not None and self.truth.mdp.max_episode_steps is not None
        if limited or (self.truth is not None and not episodes):
            run.scores = run.history["exact/policy_return"][:, -1].tolist()
        else:
            run.scores = [each.mean_return for each in run.evaluations] or [math.nan] * len(run.seeds)
        if run.folder is not None:
            saving.save(run)
            saving.close_folder(run)
            checkpoint.remove(run.folder)


def is_sound(array: Any) -> bool:
    """Whether it can be values or parameters: numbers, and -inf where a state lacks the action."""
    return not bool((np.isnan(array) | (array == np.inf)).any())


def progress_words(columns: Mapping[str, Any]) -> str:
    """The mean over seeds of the most telling column."""
    for name in ("exact/q_error", "eval/mean_reward", "rollout/ep_rew_mean"):
        if name in columns:
            return f"{name.split('/')[1]} {np.nanmean(columns[name]):.4g}"
    return ""
