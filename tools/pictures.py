"""The pictures at the beginning of the README, and one of an Atari game, from runs that are trained here.

python tools/pictures.py                    curve and cartpole: some minutes
python tools/pictures.py atari              only this one: half an hour of two cores
python tools/pictures.py --runs FOLDER      where the runs are; one that has been trained is used again

curve       docs/cartpole.svg: DQN with its defaults on CartPole-v1, the greedy score over 100,000 steps, five seeds
cartpole    docs/cartpole.gif: the policy of the seed with the median score, the lowest one among equals
atari       docs/kung-fu.gif: the settings of `atari` in baselines/host.py with 100,000 steps, seed 0; of nine games
            the one with the highest score, the first among equals, from where the next 200 steps bring the most points
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

import bellmax as bx
from bellmax.training.actors import find_actors
from bellmax.watching.staging import StagedMoment, opened_stage
from bellmax.watching.video import write_video
from bellmax.watching.watch import WatchRequest, images_of

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "baselines"))
DOCS = ROOT / "docs"
GAME = "ALE/KungFuMaster-v5"


def trained(folder: Path, world: str, agent: str, **options: object) -> bx.Run:
    """The run in a folder, which is finished or trained first."""
    again = "resume" if (folder / "config.json").exists() else "error"
    run: bx.Run = bx.train(world, agent, out=folder, if_exists=again, progress=True, say=print, **options)
    return run


def cartpole(folder: Path) -> bx.Run:
    """DQN with its defaults."""
    return trained(folder / "cartpole", "CartPole-v1", "dqn", steps=100_000, seeds=5)


def median_seed(run: bx.Run) -> int:
    """The seed with the median score, the lowest one among equals."""
    median = float(np.sort(run.scores)[(len(run.scores) - 1) // 2])
    return run.seeds[run.scores.index(median)]


def best_game(policy: bx.Policy, games: int, steps: int) -> tuple[int, int]:
    """The seed of the game with the highest score, and the step from which the next `steps` bring the most points."""
    actors, source = find_actors(policy, None, None)
    with opened_stage(actors[0], source) as stage:
        totals = [[moment.total for moment in stage.play(seed, stage.limit)] for seed in range(1, games + 1)]
    scores = [total[-1] for total in totals]
    best = scores.index(max(scores))
    game = np.array(totals[best])
    start = int(np.argmax(game[steps:] - game[:-steps])) if game.size > steps else 0
    print(f"scores of the games: {scores}; the highest is {max(scores):g}, from step {start}")
    return best + 1, start


def draw_gif(
    path: Path, policy: bx.Policy, words: str, *, stride: int, steps: int, width: int, seed: int = 1, start: int = 0
) -> None:
    """Steps of one episode, every `stride`-th of them, as a GIF of this width in pixels."""
    actors, source = find_actors(policy, None, None)
    ends: list[StagedMoment] = []
    with opened_stage(actors[0], source) as stage:
        asked = WatchRequest(1, seed, min(start + steps, stage.limit), stage.speed, stride, panel=True, progress=True)

        def images() -> Iterator[np.ndarray]:
            for image in islice(images_of(stage, words, asked, ends), start // stride, None):
                height = round(image.shape[0] * width / image.shape[1])
                yield np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))

        count = write_video(path, images(), asked.shown_speed, print)
    size = path.stat().st_size / 1e6
    print(f"{path}: {count} pictures, {size:.2f} MB; return {ends[0].total:g} in {ends[0].step} steps ({ends[0].end})")


def main() -> None:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", choices=["curve", "cartpole", "atari"], metavar="PICTURE")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "pictures", help="folder of the runs")
    asked = parser.parse_args()
    wanted = asked.pictures or ["curve", "cartpole"]
    if "curve" in wanted or "cartpole" in wanted:
        run = cartpole(asked.runs)
        print(f"CartPole: {run.summary()}")
        if "curve" in wanted:
            bx.plot(run, "eval/mean_reward", optimum=500).figure.savefig(DOCS / "cartpole.svg")
        if "cartpole" in wanted:
            seed = median_seed(run)
            draw_gif(DOCS / "cartpole.gif", run.policy(seed), f"dqn, seed {seed}", stride=4, steps=500, width=720)
    if "atari" in wanted:
        from host import DATA_EFFICIENT

        run = trained(
            asked.runs / "atari", GAME, "rainbow", steps=100_000, seeds=1, eval_episodes=0, final_episodes=24,
            **DATA_EFFICIENT,
        )  # fmt: skip
        policy = run.policy()
        print(f"{GAME}: {run.scores[0]:.0f} in 24 games")
        seed, start = best_game(policy, 9, 200)
        draw_gif(
            DOCS / "kung-fu.gif", policy, "rainbow, seed 0", stride=5, steps=200, width=480, seed=seed, start=start
        )


if __name__ == "__main__":
    main()
