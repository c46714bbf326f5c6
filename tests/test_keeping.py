"""What a run keeps: every episode and every visit, in order, in its folder, and through a stop; histories; policies."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes
from saved import reseal

import bellmax as bx
from bellmax.contracts import Discrete
from bellmax.loops.logs import Episodes
from bellmax.loops.loop import Chunk
from bellmax.training import kept_records
from bellmax.training.history import History, chunk_columns
from bellmax.training.policy import Policy, load_policy

SMALL = {"learning_starts": 50, "buffer_size": 500, "batch_size": 8, "net_arch": (8,)}
RUNS = {
    "table, compiled": ("CliffWalking-v1", bx.QLearning(), {"loop": "compiled", "steps": 4_000}),
    "table, host": ("FrozenLake-v1", bx.QLearning(), {"loop": "host"}),
    "network, compiled": ("CartPole-v1", bx.DQN(**SMALL), {"loop": "compiled"}),
    "network, host": ("CartPole-v1", bx.DQN(**SMALL, num_envs=2), {"loop": "host"}),
}


def go(name: str, **options) -> bx.Run:
    world, agent, settings = RUNS[name]
    options = {"steps": 600, "seeds": 3, "records": 5, "eval_episodes": 0, "final_episodes": 0, **settings, **options}
    return bx.train(world, agent, **options)


def same_episodes(first: bx.Run, second: bx.Run) -> None:
    assert len(first.episodes) == len(second.episodes) == len(first.seeds)
    for a, b in zip(first.episodes, second.episodes, strict=True):
        np.testing.assert_array_equal(a.returns, b.returns)
        np.testing.assert_array_equal(a.lengths, b.lengths)
        assert (a.returns.dtype, a.lengths.dtype) == (np.float64, np.int64)


@pytest.mark.parametrize("name", RUNS)
def test_all_episodes_are_kept_in_order(name: str, tmp_path: Path) -> None:
    run = go(name, out=tmp_path / "run")
    ended = run.history["rollout/episodes"].astype(int)
    assert ended.sum() > 0
    for i, (returns, lengths) in enumerate(run.episodes):
        assert returns.size == lengths.size == ended[i].sum()
        assert lengths.sum() <= run.steps
        ends = np.cumsum(ended[i])
        for t, (a, b) in enumerate(zip(ends - ended[i], ends, strict=True)):
            if a < b:
                assert run.history["return"][i, t] == pytest.approx(returns[a:b].mean())
                assert run.history["length"][i, t] == pytest.approx(lengths[a:b].mean())
    same_episodes(bx.load(tmp_path / "run"), run)


def test_each_seed_keeps_its_first_episodes_up_to_its_share() -> None:
    whole, some, none = (go("table, host", keep_episodes=n) for n in (10**6, 20, 0))
    for i in range(3):
        np.testing.assert_array_equal(some.episodes[i].returns, whole.episodes[i].returns[:6])
        np.testing.assert_array_equal(some.episodes[i].lengths, whole.episodes[i].lengths[:6])
        assert whole.episodes[i].returns.size > 6
    assert [episodes.returns.size for episodes in none.episodes] == [0, 0, 0]


@pytest.mark.parametrize("name", ["table, compiled", "table, host"])
def test_every_visit_is_counted_at_every_record(name: str, tmp_path: Path) -> None:
    run = go(name, out=tmp_path / "run")
    S, A = run.policy(0).table().shape
    assert run.visits.shape == (5, 3, S, A)
    assert run.visits.dtype == np.int64
    np.testing.assert_array_equal(run.visits.sum(axis=(2, 3)), np.tile(run.history["step"], (3, 1)).T)
    assert (np.diff(run.visits, axis=0) >= 0).all()
    np.testing.assert_array_equal(run.visits[-1, 1], run.policy(1).arrays["visits"])
    np.testing.assert_array_equal(bx.load(tmp_path / "run").visits, run.visits)
    assert (run.history["exact/visited"][:, -1] > 0.1).all()
    assert (np.diff(run.history["exact/visited"], axis=1) >= 0).all()


def test_too_many_visits_are_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kept_records, "KEPT_VISITS", 5 * 3 * 48 * 4 - 1)
    run = go("table, compiled", out=tmp_path / "run")
    assert run.visits is None
    assert not (tmp_path / "run" / "visits.safetensors").exists()
    assert bx.load(tmp_path / "run").visits is None
    assert run.policy(0).arrays["visits"].sum() == run.steps


def test_networks_have_no_visits() -> None:
    assert go("network, compiled").visits is None


@pytest.mark.parametrize("name", ["episodes.safetensors", "visits.safetensors"])
def test_damage_is_found(name: str, tmp_path: Path) -> None:
    go("table, compiled", out=tmp_path / "run")
    path = tmp_path / "run" / name
    whole, arrays = path.read_bytes(), load_file(path)
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    for data in (b"", whole[:-8], flipped, to_bytes(arrays)):
        path.write_bytes(data)
        with pytest.raises(bx.CorruptCheckpoint, match=name):
            bx.load(tmp_path / "run")
    path.unlink()
    with pytest.raises(bx.CorruptCheckpoint, match=f"{name} is missing"):
        bx.load(tmp_path / "run")
    reseal(tmp_path / "run")  # of an older version
    run = bx.load(tmp_path / "run")
    assert run.episodes == [] if name.startswith("episodes") else run.visits is None


def test_files_of_another_run_are_refused(tmp_path: Path) -> None:
    go("table, compiled", out=tmp_path / "three")
    go("table, compiled", out=tmp_path / "two", seeds=2)
    for name in ("episodes.safetensors", "visits.safetensors"):
        whole = (tmp_path / "two" / name).read_bytes()
        (tmp_path / "two" / name).write_bytes((tmp_path / "three" / name).read_bytes())
        with pytest.raises(bx.CorruptCheckpoint, match=f"{name} has"):
            bx.load(tmp_path / "two")
        reseal(tmp_path / "two")
        with pytest.raises(bx.CorruptCheckpoint, match="not those of 2 seeds"):
            bx.load(tmp_path / "two")
        (tmp_path / "two" / name).write_bytes(whole)
        reseal(tmp_path / "two")
    assert len(bx.load(tmp_path / "two").episodes) == 2


def test_seeds_keep_their_order_in_the_file(tmp_path: Path) -> None:
    run = go("table, compiled", seeds=[7, 2], out=tmp_path / "run")
    loaded = bx.load(tmp_path / "run")
    assert loaded.history.seeds == [7, 2]
    for name in run.history.columns:
        np.testing.assert_array_equal(loaded.history[name], run.history[name])
    assert History.from_csv(run.history.to_csv()).seeds == [7, 2]
    swapped = History.from_csv(run.history.to_csv(), [2, 7])
    np.testing.assert_array_equal(swapped["return"], run.history["return"][::-1])


def test_rows_and_columns_make_the_same_history() -> None:
    rows, columns = History([4, 5]), History([4, 5])
    rows.append(10, [{"a": 1.0, "b": 2.0}, {"a": 3.0}])
    rows.append(20, [{"c": np.inf}, {"c": np.inf}])
    columns.append(10, {"a": np.array([1.0, 3.0]), "b": [2.0, np.nan]})
    columns.append(20, {"c": np.inf})
    assert rows.to_csv() == columns.to_csv()
    assert rows.columns == columns.columns == ["a", "b", "c"]
    np.testing.assert_array_equal(columns["a"], [[1.0, np.nan], [3.0, np.nan]])
    again = History.from_csv(columns.to_csv())
    assert again.to_csv() == columns.to_csv()
    assert again["c"].tolist()[0][1] == np.inf
    columns.drop_after(10)
    assert columns.columns == ["a", "b"]
    assert columns["step"].tolist() == [10]
    with pytest.raises(ValueError, match="shape"):
        columns.append(30, {"a": [1.0, 2.0, 3.0]})


def test_columns_of_a_record() -> None:
    def chunk(*returns: float, **metrics: float) -> Chunk:
        return Chunk(Episodes(np.array(returns), np.arange(len(returns), dtype=np.int64)), metrics)

    columns = chunk_columns([chunk(1.0, 4.0, x=2.0), chunk(), chunk(-3.0, y=5.0)])
    expected = {
        "rollout/episodes": [2.0, 0.0, 1.0],
        "x": [2.0, np.nan, np.nan],
        "y": [np.nan, np.nan, 5.0],
        "rollout/ep_rew_mean": [2.5, np.nan, -3.0],
        "rollout/ep_len_mean": [0.5, np.nan, 0.0],
    }
    assert columns.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(columns[name], values)
    assert chunk_columns([chunk()]).keys() == {"rollout/episodes"}


def test_a_table_may_know_its_visits(tmp_path: Path) -> None:
    q, visits = np.arange(12.0).reshape(6, 2), np.arange(12).reshape(6, 2)
    for i, arrays in enumerate(({"q": q}, {"q": q, "visits": visits})):
        Policy("corridor", bx.QLearning(), Discrete(6), 2, arrays).save(tmp_path / str(i))
        loaded = load_policy(tmp_path / str(i))
        assert loaded.arrays.keys() == arrays.keys()
        assert loaded.act([0, 5]).tolist() == [1, 1]
    np.testing.assert_array_equal(loaded.arrays["visits"], visits)
    for wrong in ({"q": q, "visits": visits[:5]}, {"q": q, "visit": visits}, {"visits": visits}):
        Policy("corridor", bx.QLearning(), Discrete(6), 2, wrong).save(tmp_path / "wrong")
        with pytest.raises(bx.CorruptCheckpoint, match="expected"):
            load_policy(tmp_path / "wrong")


@pytest.mark.parametrize("tilings", [1, 4])
def test_tiles_load_too(tilings: int, tmp_path: Path) -> None:
    agent = bx.QLearning(tilings=tilings, bins=3)
    run = bx.train("CartPole-v1", agent, steps=300, records=2, eval_episodes=1, final_episodes=1, out=tmp_path / "run")
    loaded = bx.load(tmp_path / "run")
    obs = np.array([[0.1, 0.0, -0.1, 0.2], [0.0, 1.0, 0.0, 0.0]], np.float32)
    np.testing.assert_array_equal(loaded.policy(0).q_values(obs), run.policy(0).q_values(obs))
    assert run.history["eval/mean_reward"].shape == (1, 2)
    same_episodes(loaded, run)
