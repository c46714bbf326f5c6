"""NumPy. A run: N seeds of one agent in one world, in chunks; between chunks it logs, evaluates, reports, saves."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bellmax.catalog import make_agent
from bellmax.config import AgentConfig
from bellmax.statistics import Summary, summarise
from bellmax.training import loops, saving
from bellmax.training.evaluate import SEED_OFFSET, Evaluation, play_compiled, play_host
from bellmax.training.exact import Truth, find_truth, measure
from bellmax.training.policy import Policy
from bellmax.training.progress import progress as show_progress
from bellmax.training.records import Chunk, History, Loop
from bellmax.training.worlds import Source, find_world
from bellmax.types import BellmaxError, ConfigError, NonFiniteError

SAVE_SECONDS = 30.0  # at most this much is lost when the process is killed
MAX_CHUNK = 1_000_000  # environment steps; bounds the memory of a chunk's records


@dataclass
class Run:
    """What `train` returns and `load` reads back.

    Attributes:
        world, agent, config, steps, seeds, loop: what was asked for; `loop` is "compiled" or "host".
        history: columns over the records, see `History`.
        policies: {"final": [...], "best": [...]}, one Policy per seed.
        evaluations: of the final policies, one Evaluation per seed.
        scores: one number per seed: the exact expected return of the final greedy policy where the world has a
            table and a time limit, else the mean return of its evaluation.
        folder: where it is saved, or None.
    """

    world: str
    config: AgentConfig
    steps: int
    seeds: list[int]
    loop: str
    env_kwargs: dict[str, Any]
    history: History
    policies: dict[str, list[Policy]] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    folder: Path | None = None

    def summary(self) -> Summary:
        """IQM and mean of `scores` over seeds, each with its 95 % bootstrap interval."""
        return summarise(np.array(self.scores))

    def policy(self, seed: int = 0, which: str = "final") -> Policy:
        """The policy of one of the run's seeds: "final", or "best" by the evaluations during training.

        Raises:
            ConfigError: the run has no such seed or no such policy.
        """
        if seed not in self.seeds or which not in self.policies:
            raise ConfigError(
                f"no {which!r} policy of seed {seed}; seeds: {self.seeds}, kinds: {list(self.policies)}"
            )
        return self.policies[which][self.seeds.index(seed)]


def train(
    world: Any,
    agent: str | AgentConfig,
    *,
    steps: int = 100_000,
    seeds: int | Sequence[int] = 1,
    out: str | os.PathLike[str] | None = None,
    loop: str = "auto",
    env_kwargs: Mapping[str, Any] | None = None,
    records: int = 20,
    eval_episodes: int = 10,
    final_episodes: int = 100,
    vmap: int | None = None,
    progress: bool | None = None,
    say: Callable[[str], None] = lambda text: None,
    **hyper_parameters: Any,
) -> Run:
    """Train `agent` in `world` for `steps` environment steps on each seed.

    Args:
        world: a Gymnasium id, a name of the gallery, a FiniteMDP, a compiled World, an environment or its factory.
        agent: a name such as "dqn", or a config such as `DQN(double=True)`.
        steps: environment steps per seed, rounded down to whole rounds of the agent.
        seeds: how many (0, 1, ...), or which.
        out: folder for the run's files; it must not exist. None saves nothing.
        loop: "compiled", "host" (through Gymnasium), or "auto": compiled where it exists.
        env_kwargs: keyword arguments of a world given by name.
        records: how often to log and evaluate over the run.
        eval_episodes: greedy episodes per seed at each record, 0 for none; a world with a table is evaluated exactly.
        final_episodes: greedy episodes per seed at the end, 0 for none.
        vmap: seeds stacked in one program; by default 1 on a CPU and all on an accelerator.
        progress: show it; by default only if standard error is a terminal.
        say: called with each line for people.
        **hyper_parameters: of an agent given by name.

    Raises:
        ConfigError: anything asked for is unknown or out of range; all of it in one message, before the first step.
        EnvContractError, EnvCrashed, NonFiniteError: the environment failed; what was learnt before is saved.
    """
    problems: list[str] = []
    source = _attempt(problems, lambda: find_world(world, env_kwargs))
    config = _attempt(problems, lambda: make_agent(agent, source.name if source else "", hyper_parameters))
    seed_list = _attempt(problems, lambda: check_seeds(seeds))
    _attempt(problems, lambda: check_numbers(steps, records, eval_episodes, final_episodes, vmap, loop))
    if problems or not (source and config and seed_list):
        raise ConfigError("; ".join(problems))
    kind, why = loops.choose_loop(config, source, loop)
    engine = loops.make_loop(config, source, kind, steps, vmap)
    steps = steps // engine.stride * engine.stride
    if steps == 0:
        raise ConfigError(f"steps is less than one round of {engine.stride} environment steps")
    run = Run(source.name, config, steps, seed_list, kind, dict(env_kwargs or {}), History(seed_list))
    if out is not None:
        run.folder = Path(out)
        saving.open_folder(run)
    say(f"{config.name} on {source.name}: {steps:,} steps x {len(seed_list)} seeds, {kind} loop ({why})")
    _Trainer(run, source, engine, find_truth(source.mdp, config.gamma), eval_episodes).go(
        records, final_episodes, progress
    )
    return run


def _attempt(problems: list[str], action: Callable[[], Any]) -> Any:
    """The action's result, or None and its complaint."""
    try:
        return action()
    except ConfigError as error:
        problems.append(str(error))
        return None


def check_seeds(seeds: int | Sequence[int]) -> list[int]:
    """A list of different non-negative integers."""
    listed = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    good = listed and all(isinstance(s, (int, np.integer)) and 0 <= s < SEED_OFFSET for s in listed)
    if not good or len(set(listed)) < len(listed):
        raise ConfigError(
            f"seeds={seeds!r}: give how many (1 or more), or different integers from 0 to 999999"
        )
    return [int(s) for s in listed]


def check_numbers(
    steps: Any, records: Any, eval_episodes: Any, final_episodes: Any, vmap: Any, loop: Any
) -> None:
    """All the other arguments of `train`, all complaints at once."""
    problems = [
        f"{name}={value!r} is not an integer from {low} to 2^31 - 1"
        for name, value, low in (
            ("steps", steps, 1),
            ("records", records, 1),
            ("eval_episodes", eval_episodes, 0),
            ("final_episodes", final_episodes, 0),
            ("vmap", 1 if vmap is None else vmap, 1),
        )
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value < 2**31
    ]
    if loop not in ("auto", "compiled", "host"):
        problems.append(f"loop={loop!r}; choose auto, compiled or host")
    if problems:
        raise ConfigError("; ".join(problems))


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


class _Trainer:
    """The state of a running `train`: groups of seeds, and the last good snapshot of each."""

    def __init__(self, run: Run, source: Source, loop: Loop, truth: Truth | None, eval_episodes: int) -> None:
        self.run, self.source, self.loop, self.truth = run, source, loop, truth
        self.eval_episodes = eval_episodes
        size = min(loop.group, len(run.seeds))
        self.groups = [run.seeds[i : i + size] for i in range(0, len(run.seeds), size)]
        self.best = [-math.inf] * len(run.seeds)

    def go(self, records: int, final_episodes: int, wanted: bool | None) -> None:
        """Train to the end, evaluate, save; on failure save what there is and pass the failure on."""
        workers = min(len(self.groups), os.cpu_count() or 1) if self.loop.parallel else 1
        with contextlib.ExitStack() as stack:
            self.pool = stack.enter_context(ThreadPoolExecutor(workers))
            report = stack.enter_context(
                show_progress(
                    self.run.steps * len(self.run.seeds), f"{self.run.config.name} {self.run.world}", wanted
                )
            )
            states = list(self.pool.map(self.loop.start, self.groups))
            for state in states:
                stack.callback(self.loop.close, state)
            try:
                self.train(states, records, report)
            finally:
                if self.run.folder is not None and self.run.policies:
                    saving.save(self.run)
        self.finish(final_episodes)

    def train(self, states: list[Any], records: int, report: Any) -> None:
        """All chunks of all seeds."""
        run, size = self.run, chunk_steps(self.run.steps, self.loop.stride, records)
        saved = time.monotonic()
        t = 0
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
            if run.folder is not None and time.monotonic() - saved > SAVE_SECONDS:
                saving.save(run)
                saved = time.monotonic()

    def advance(self, state: Any, t: int, n: int) -> tuple[Any, list[Chunk], list[dict[str, Any]]]:
        """One chunk of one group, and the policies after it."""
        state, chunks = self.loop.advance(state, t, n)
        return state, chunks, self.loop.snapshot(state)

    def row(self, chunk: Chunk, t: int, n: int) -> dict[str, float]:
        """One line of the history, without evaluation."""
        returns, lengths = chunk.episodes
        row = {
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
        return Policy(run.world, run.config, self.source.space, self.source.n_actions, arrays)

    def evaluate(self, rows: list[dict[str, float]]) -> None:
        """Add to each row how good its policy is: exactly, or by greedy episodes; keep the best."""
        best = self.run.policies.setdefault("best", list(self.run.policies["final"]))
        measured = self.pool.map(self.grade, self.run.policies["final"], self.run.seeds)
        for i, (row, more) in enumerate(zip(rows, measured, strict=True)):
            row.update(more)
            score = row.get("exact/policy_return", row.get("eval/mean_reward", 0.0))
            if score > self.best[i]:
                self.best[i], best[i] = score, self.run.policies["final"][i]

    def grade(self, policy: Policy, seed: int) -> dict[str, float]:
        """Columns of one policy's evaluation."""
        if self.truth is not None:
            return measure(self.truth, policy.table())
        if not self.eval_episodes:
            return {}
        returns, lengths = self.play(policy, self.eval_episodes, SEED_OFFSET + seed)
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


def progress_words(rows: list[dict[str, float]]) -> str:
    """The mean over seeds of the most telling column."""
    for name in ("exact/q_error", "eval/mean_reward", "rollout/ep_rew_mean"):
        values = [row[name] for row in rows if name in row]
        if values:
            return f"{name.split('/')[1]} {np.mean(values):.4g}"
    return ""


__all__ = ["BellmaxError", "Run", "train"]
