"""What a save costs, in training time and memory: python bench/saving.py [CASE ...].

Each case is a process of its own. It makes the state of a run with a full replay buffer or a visited table, saves it,
changes what 30 s of training change, and saves again, as training does. Training stands still while a save takes its
snapshot; a thread then writes it. The share is that of this pause in the time between two saves. The memory is what the
process needs in addition during a save, at its peak.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import datetime
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import speed

BENCH = Path(__file__).parent
REPEATS = 3  # of the second save
CASES: dict[str, dict[str, Any]] = {
    "dqn, CartPole, 1,000,000 transitions": {
        "world": "CartPole-v1", "agent": "dqn", "loop": "compiled", "settings": {"buffer_size": 1_000_000},
        "changed": 450_000,
    },
    "the same, prioritized": {
        "world": "CartPole-v1", "agent": "dqn", "loop": "compiled",
        "settings": {"buffer_size": 1_000_000, "prioritized": True}, "changed": 300_000,
    },
    "dqn, images, 200,000 frames": {
        "world": "saving:Images", "agent": "dqn", "loop": "host",
        "settings": {"buffer_size": 200_000, "learning_starts": 1_000}, "changed": 10_000,
    },
    "q-learning, 1,000,000 states": {
        "world": "garnet", "agent": "q-learning", "loop": "compiled", "settings": {}, "changed": 3_000_000,
    },
}  # fmt: skip


class Images(gym.Env[Any, Any]):
    """Stacks of four images of 84 x 84 bytes, as of Atari games."""

    observation_space = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    action_space = gym.spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.stack = np.zeros((4, 84, 84), np.uint8)
        return self.stack, {}

    def step(self, action: Any) -> Any:
        newest = self.np_random.integers(0, 255, (1, 84, 84), np.uint8)
        self.stack = np.concatenate([self.stack[1:], newest])
        return self.stack, 1.0, False, False, {}


def memory() -> tuple[int, int]:
    """Bytes that this process holds now, and its peak since `forget_peak`."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(1024 * int(lines[name].split()[0]) for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


def forget_peak() -> None:
    """Give back what is free, and begin to measure the peak anew."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def start(case: dict[str, Any], folder: Path) -> tuple[Any, Any]:
    """A run after its first record, as `bellmax.train` makes it: its trainer and its groups of seeds."""
    from bellmax.catalog import make_agent
    from bellmax.loops.choosing import make_loop
    from bellmax.loops.stopping import Pool
    from bellmax.mdp.gallery import random_garnet
    from bellmax.sources import find_world
    from bellmax.training import saved_runs
    from bellmax.training.history import History
    from bellmax.training.options import RunOptions
    from bellmax.training.run import Run
    from bellmax.training.trainer import Trainer

    world = case["world"]
    source = find_world(random_garnet(10**6, 4, 3, seed=0, termination=0.01) if world == "garnet" else world)
    config = make_agent(case["agent"], world, case["settings"])
    options = RunOptions(eval_episodes=0, records=1_000)
    run = Run(source.name, config, 10**9, [0], case["loop"], {}, History([0]), options, folder=folder)
    saved_runs.begin_folder(run)
    trainer = Trainer(run, source, make_loop(config, source, case["loop"], run.steps))
    trainer.pool, trainer.truth, trainer.chunk = Pool(1), None, 2_048
    groups = trainer.groups
    groups.open(trainer.pool, None)
    advance(trainer, groups, trainer.chunk)
    trainer.record(groups, lambda *words, **how: None)
    return trainer, groups


def advance(trainer: Any, groups: Any, steps: int) -> None:
    """Train."""
    trainer.reach(groups, groups.clocks[0] + steps, lambda *words, **how: None)


def change_ring(groups: Any, share: float) -> int:
    """Overwrite a share of the rows of the replay buffer with others; return its bytes."""
    import jax
    import jax.numpy as jnp

    state = groups.states[0]
    held = state.memory if hasattr(state, "memory") else state.block.result()[0][1]
    place = held.frames if hasattr(held, "frames") else held.ring
    n, begin = int(share * len(place.rows)), 0 if share == 1.0 else len(place.rows) // 3
    words = np.random.default_rng().integers(0, 2**32, (n, place.rows.shape[1]), np.uint32)
    rows = jax.jit(lambda rows, new: jax.lax.dynamic_update_slice(rows, new, (begin, 0)), donate_argnums=0)(
        place.rows, words
    )
    held = held._replace(**{"frames" if place is not held.ring else "ring": place._replace(rows=rows)})
    full = held.ring.size * 0 + len(place.rows)
    held = held._replace(ring=held.ring._replace(size=full))
    if hasattr(held.sampler, "levels"):
        levels = tuple(
            jnp.asarray(np.random.default_rng().random(level.shape, np.float32)) for level in held.sampler.levels
        )
        held = held._replace(sampler=held.sampler._replace(levels=levels))
    if hasattr(state, "memory"):
        groups.states[0] = state._replace(memory=held)
    else:
        (learner, _), actor, metrics = state.block.result()
        state.block = state.thread.submit(lambda: ((learner, held), actor, metrics))
    return sum(leaf.nbytes for leaf in jax.tree.leaves(held))


def measure(name: str, folder: Path) -> dict[str, Any]:
    """In a process of its own: save, change, save."""
    from bellmax.files import manifest

    case, written = CASES[name], [0]
    write_new = manifest.storage.write_new

    def counted(path: Path, data: Any) -> None:
        written[0] += len(data)
        write_new(path, data)

    manifest.storage.write_new = counted
    trainer, groups = start(case, folder)

    def change(n: int | None) -> int:
        if case["world"] == "garnet":
            advance(trainer, groups, case["changed"])
            return sum(array.nbytes for array in groups.loop.dump(groups.states[0]).values())
        return change_ring(groups, 1.0 if n is None else n / case["settings"]["buffer_size"])

    held = change(None)
    saves = [save(lambda: trainer.save(groups), trainer, written)]
    for _ in range(REPEATS):
        change(case["changed"])
        advance(trainer, groups, 64)
        saves.append(save(lambda: trainer.save(groups), trainer, written))
    later = {key: statistics.median(each[key] for each in saves[1:]) for key in saves[0]}
    groups.close()
    return {"bytes": held, "first": saves[0], "later": later}


def save(begin: Callable[[], None], trainer: Any, written: list[int]) -> dict[str, float]:
    """One save: seconds until training goes on, seconds until it is on the disk, bytes written, additional memory."""
    written[0] = 0
    forget_peak()
    before, started = memory()[0], time.perf_counter()
    begin()
    pause = time.perf_counter() - started
    trainer.saver.settle()
    whole = time.perf_counter() - started
    return {"pause": pause, "whole": whole, "written": written[0], "memory": max(0, memory()[1] - before)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="words in the names of cases")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], Path(options.measure[1]))))
        return
    kept = BENCH / "saving.json"
    rows = json.loads(kept.read_text())["rows"] if kept.exists() and options.cases else {}
    results: dict[str, Any] = {"date": datetime.date.today().isoformat(), "machine": speed.machine(), "rows": rows}
    for case in CASES:
        if not options.cases or any(word in case for word in options.cases):
            with tempfile.TemporaryDirectory() as folder:
                path = os.pathsep.join([str(BENCH), os.environ.get("PYTHONPATH", "")])
                rows[case] = speed.call([sys.executable, __file__, "--measure", case, folder], PYTHONPATH=path)
            print(case, rows[case], file=sys.stderr, flush=True)
            kept.write_text(json.dumps(results, indent=1) + "\n")
            (BENCH / "SAVING.md").write_text(markdown(results))
    print(markdown(results))


def markdown(results: dict[str, Any]) -> str:
    """The results for people."""
    lines = ["# Saves", "", f"Made by `python bench/saving.py` on {results['date']}.", ""]
    heads = ["case", "state, MB", "save", "training pauses, s", "share", "on the disk after, s", "written, MB"]
    heads += ["memory, MB", "memory, of the state"]
    lines += [f"| {' | '.join(heads)} |", f"|---|---:|---|{'---:|' * 6}"]
    for case, row in results["rows"].items():
        for which, words in (("first", "of everything"), ("later", "after 30 s")):
            at = row[which]
            pause, needed = at["pause"], at["memory"]
            cells = [case, f"{row['bytes'] / 1e6:,.0f}", words, f"{pause:.2f}", f"{pause / (30 * max(1.0, pause)):.1%}"]
            cells += [f"{at['whole']:.2f}", f"{at['written'] / 1e6:,.0f}", f"{needed / 1e6:,.0f}"]
            lines.append(f"| {' | '.join(cells)} | {needed / row['bytes']:.2f} |")
    facts = ", ".join(f"{key} {value}" for key, value in results["machine"].items() if not key.startswith("load"))
    return "\n".join([*lines, "", f"{facts}; {os.cpu_count()} cores.", "", *(__doc__ or "").splitlines()[2:], ""])


if __name__ == "__main__":
    main()
