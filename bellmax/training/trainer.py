"""NumPy. The work of a run: chunks of all seeds; between chunks it logs, evaluates, reports, saves."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from bellmax.training import checkpoint, saving
from bellmax.training.evaluate import SEED_OFFSET, Evaluation, play_compiled, play_host
from bellmax.training.exact import find_truth, measure
from bellmax.training.policy import Policy
from bellmax.training.progress import progress as show_progress
from bellmax.training.progress import say
from bellmax.training.records import Chunk, Loop
from bellmax.training.run import Run
from bellmax.training.worlds import Source
from bellmax.types import BellmaxError, NonFiniteError

SAVE_SECONDS = 30.0  # at most this much is lost when the process is killed
GRADES = ("exact/policy_return", "eval/mean_reward")  # columns that tell how good a policy is, the best first
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
        self.truth = find_truth(source.mdp, run.config.gamma)
        size = min(loop.group, len(run.seeds))
        self.groups = [run.seeds[i : i + size] for i in range(0, len(run.seeds), size)]
        self.best = [-math.inf] * len(run.seeds)
        for name in GRADES:
            if name in run.history.columns:
                self.best = np.max(run.history[name], axis=1).tolist()
                break

    def go(self, wanted: bool | None) -> None:
        """Train to the end, evaluate, save; on failure save what there is and pass the failure on."""
        workers = min(len(self.groups), os.cpu_count() or 1) if self.loop.parallel else 1
        with contextlib.ExitStack() as stack:
            self.pool = stack.enter_context(ThreadPoolExecutor(workers))
            report = stack.enter_context(
                show_progress(self.run.steps * len(self.run.seeds), f"{self.run.config.name} {self.run.world}", wanted)
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
            except (BellmaxError, KeyboardInterrupt):
                self.keep(states)
                raise
        self.finish(self.run.options["final_episodes"])

    def train(self, states: list[Any], report: Any, stop: list[int]) -> None:
        """All chunks of all seeds; a signal in `stop` ends it between two of them."""
        run, size = self.run, chunk_steps(self.run.steps, self.loop.stride, self.run.options["records"])
        saved = -math.inf  # the first chunk is saved at once
        t = self.begin
        while t < run.steps:
            n = min(size, run.steps - t)
            begin, done, words = time.monotonic(), t * len(run.seeds), ""
            rows: list[dict[str, float]] = []
            arrays: list[dict[str, Any]] = []
            advanced = self.pool.map(lambda state, t=t, n=n: self.advance(state, t, n), states)
            for i, (state, chunks, snapshots) in enumerate(advanced):
                states[i] = state
                rows += [self.row(chunk, t + n, n) for chunk in chunks]
                arrays += snapshots
                done += n * len(chunks)
                report(done, words)
            t += n
            self.check_finite(rows, t - n, t)
            fps = n * len(run.seeds) / max(time.monotonic() - begin, 1e-9)
            run.policies["final"] = [self.policy(one) for one in arrays]
            self.evaluate(rows)
            run.history.append(t, [{**row, "time/fps": fps} for row in rows])
            words = progress_words(rows)
            report(done, words)
            if run.folder is not None and t < run.steps and (stop or time.monotonic() - saved > SAVE_SECONDS):
                saving.save(run)
                checkpoint.save(run.folder, t, [self.loop.dump(state) for state in states])
                saved = time.monotonic()
            if stop and t < run.steps:
                raise KeyboardInterrupt(stop[0])

    def keep(self, states: list[Any]) -> None:
        """After a failure: save the policies as they are, in a compiled loop those of the chunk before."""
        if self.loop.kind == "host":
            arrays = [one for state in states for one in self.loop.snapshot(state)]
            if all(np.isfinite(array).all() for one in arrays for array in one.values()):
                self.run.policies["final"] = [self.policy(one) for one in arrays]
        if self.run.policies:
            self.run.policies.setdefault("best", list(self.run.policies["final"]))
        if self.run.folder is not None and self.run.policies:
            saving.save(self.run)

    def advance(self, state: Any, t: int, n: int) -> tuple[Any, list[Chunk], list[dict[str, Any]]]:
        """One chunk of one group, and the policies after it."""
        state, chunks = self.loop.advance(state, t, n)
        return state, chunks, self.loop.snapshot(state)

    def row(self, chunk: Chunk, t: int, n: int) -> dict[str, float]:
        """One line of the history, without evaluation."""
        returns, lengths = chunk.episodes
        row = {
            "time/total_timesteps": float(t),
            "rollout/episodes": float(returns.size),
            "rollout/exploration_rate": float(self.run.config.epsilon(t, self.run.steps)),
            **chunk.metrics,
        }
        if returns.size:
            row["rollout/ep_rew_mean"] = float(returns.mean())
            row["rollout/ep_len_mean"] = float(lengths.mean())
        return row

    def check_finite(self, rows: list[dict[str, float]], begin: int, end: int) -> None:
        """Stop at the first chunk whose learning is not finite; the policies are still those of the chunk before."""
        for seed, row in zip(self.run.seeds, rows, strict=True):
            for name, value in row.items():
                if name.startswith("train/") and not math.isfinite(value):
                    raise NonFiniteError(
                        f"{name} of seed {seed} became {value} between steps {begin:,} and {end:,}; "
                        "lower learning_rate, or scale the rewards"
                    )

    def policy(self, arrays: dict[str, Any]) -> Policy:
        """A policy of this run."""
        run = self.run
        return Policy(run.world, run.config, self.source.space, self.source.n_actions, arrays, run.env_kwargs)

    def evaluate(self, rows: list[dict[str, float]]) -> None:
        """Add to each row how good its policy is: exactly, or by greedy episodes; keep the best."""
        best = self.run.policies.setdefault("best", list(self.run.policies["final"]))
        measured = self.pool.map(self.grade, self.run.policies["final"], self.run.seeds)
        for i, (row, more) in enumerate(zip(rows, measured, strict=True)):
            row.update(more)
            score = next((row[name] for name in GRADES if name in row), math.nan)
            if not score <= self.best[i]:  # without a grade the last is the best
                self.best[i], best[i] = score, self.run.policies["final"][i]

    def grade(self, policy: Policy, seed: int) -> dict[str, float]:
        """Columns of one policy's evaluation."""
        if self.truth is not None:
            return measure(self.truth, policy.table())
        episodes = self.run.options["eval_episodes"]
        if not episodes or self.source.fixed is not None:  # the only one there is, is busy training
            return {}
        returns, lengths = self.play(policy, episodes, SEED_OFFSET + seed)
        return {"eval/mean_reward": float(returns.mean()), "eval/mean_ep_length": float(lengths.mean())}

    def play(self, policy: Policy, episodes: int, seed: int) -> Evaluation:
        """Greedy episodes in the compiled twin of a compiled run, else in the host world."""
        if self.loop.kind == "compiled" and self.source.compiled is not None:
            return play_compiled(policy, self.source, episodes, seed)
        return play_host(policy.act, self.source, episodes, seed)

    def finish(self, episodes: int) -> None:
        """Evaluate the final policies in the world itself, score them, save."""
        run = self.run
        limited = self.truth is not None and self.truth.mdp.max_episode_steps is not None
        for i, (seed, policy) in enumerate(zip(run.seeds, run.policies["final"], strict=True)):
            score = run.history["exact/policy_return"][i, -1] if limited else math.nan
            if episodes:
                seed += 2 * SEED_OFFSET
                player = play_host if self.source.open is not None else None
                evaluation = (
                    player(policy.act, self.source, episodes, seed)
                    if player
                    else play_compiled(policy, self.source, episodes, seed)
                )
                run.evaluations.append(evaluation)
                score = score if limited else float(evaluation.returns.mean())
            run.scores.append(float(score))
        if run.folder is not None:
            saving.save(run)
            saving.close_folder(run)
            checkpoint.remove(run.folder)


def progress_words(rows: list[dict[str, float]]) -> str:
    """The mean over seeds of the most telling column."""
    for name in ("exact/q_error", "eval/mean_reward", "rollout/ep_rew_mean"):
        values = [row[name] for row in rows if name in row]
        if values:
            return f"{name.split('/')[1]} {np.mean(values):.4g}"
    return ""
