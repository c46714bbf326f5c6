"""Write files of every kind as this version does; `tests/test_golden.py` reads those of all formats.

    python tests/golden/write.py       into tests/golden/format-N, for the present format N of a run

Do so in the commit that raises a format, and never again for that format.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import bellmax as bx
from bellmax.training import trainer

HERE = Path(__file__).parent
OBSERVATION = [0.02, -0.5, 0.01, 0.75]  # of CartPole
NETWORK: dict[str, Any] = {
    "net_arch": (4,), "learning_starts": 32, "batch_size": 8, "buffer_size": 100, "train_freq": 8, "double": True,
}  # fmt: skip
FEW: dict[str, Any] = {"records": 3, "eval_episodes": 2, "final_episodes": 3, "progress": False}


class StopError(Exception):
    """Stands for the power that goes out."""


def data() -> bx.Dataset:
    """Three episodes, with observations of two parts."""
    place, wind = np.arange(9, dtype=np.int32) % 3, np.linspace(-1, 1, 9, dtype=np.float32)[:, None]
    ends = place == 2
    return bx.Dataset(
        (place, wind),
        place % 2,
        wind[:, 0] * 2,
        ends & (wind[:, 0] < 0.5),
        ends & (wind[:, 0] > 0.5),
        (place + 1, wind),
    )


def stop_after(records: int, folder: Path, world: str, agent: str | bx.DQN, **options: Any) -> None:
    """A run that lost power after so many records, each of which was saved."""
    save, record = trainer.SAVE_SECONDS, trainer.Trainer.record

    def record_and_stop(self: trainer.Trainer, *arguments: Any) -> None:
        record(self, *arguments)
        if len(self.run.history) >= records:
            raise StopError

    trainer.SAVE_SECONDS, trainer.Trainer.record = -1.0, record_and_stop  # type: ignore[method-assign]
    try:
        bx.train(world, agent, out=folder, **options, **FEW)
    except StopError:
        pass
    finally:
        trainer.SAVE_SECONDS, trainer.Trainer.record = save, record  # type: ignore[method-assign]


def table(run: bx.Run) -> dict[str, Any]:
    """What a run with a table learned."""
    return {
        "scores": run.scores,
        "steps": [int(step) for step in run.history["step"]],
        "columns": run.history.columns,
        "q": [run.policy(seed).table().tolist() for seed in run.seeds],
        "episodes": [each.returns.tolist() for each in run.episodes],
    }


def values(run: bx.Run) -> dict[str, Any]:
    """What a network of a run makes of one observation."""
    return {which: run.policy(0, which).q_values(OBSERVATION).tolist() for which in ("final", "best")}


def main() -> None:
    """Write the folder."""
    from bellmax.files import run_files

    form = getattr(getattr(run_files, "manifest", None), "FORMAT", 1)
    folder = Path(sys.argv[1]) if sys.argv[1:] else HERE / f"format-{form}"
    folder.mkdir()
    expected: dict[str, Any] = {"bellmax": bx.__version__}
    run = bx.train("cliff", "q-learning", steps=600, seeds=2, out=folder / "table", **FEW)
    run.policy(1).save(folder / "policy-table")
    expected["table"] = table(run)
    run = bx.train("corridor", "sarsa", steps=30, seeds=101, out=folder / "many", **{**FEW, "records": 1})
    expected["many"] = table(run)
    run = bx.train("CartPole-v1", bx.DQN(**NETWORK), steps=160, out=folder / "network", keep_experience=True, **FEW)
    run.policy(0, "best").save(folder / "policy-network")
    held = float(run.experience[0].obs.sum())
    expected["network"] = {"scores": run.scores, "q_values": values(run), "experience": held}
    stop_after(2, folder / "stopped", "FrozenLake-v1", "q-learning", steps=300, seeds=2, loop="host")
    expected["stopped"] = table(bx.load(folder / "stopped"))
    stop_after(2, folder / "stopped-network", "CartPole-v1", bx.DQN(**NETWORK), steps=240)
    expected["stopped-network"] = {"q_values": values(bx.load(folder / "stopped-network"))}
    data().save(folder / "data.safetensors")
    expected["data"] = {"returns": data().returns().tolist()}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
