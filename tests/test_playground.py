"""The playground without its page: grids, learners stepped live, updates written out, the way back, and commands."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bellmax as bx
from bellmax.catalog import agent_class
from bellmax.files import checkpoint
from bellmax.playground import session as sessions
from bellmax.playground.edited_grid import Grid, checked_grid, grid_to_json, read_json_text, to_model
from bellmax.playground.exact_answers import q_error
from bellmax.playground.grid_presets import PRESETS, find_grid
from bellmax.playground.live_agents import q_now
from bellmax.playground.live_tables import TABLES_SHOWN, Settings, q_of
from bellmax.playground.session import Session, open_session
from bellmax.playground.session_messages import COMMANDS, make_frame, obey

TWO_WAYS = Grid(("..S..", ".###.", "..G.."), ((2, 2, 1.0),), step_reward=-0.01, name="two ways")
MODELS = {
    "gridworld": bx.gridworld,
    "cliff": bx.cliff,
    "frozen-lake": lambda: bx.FiniteMDP.from_gymnasium("FrozenLake-v1"),
    "frozen-lake-8x8": lambda: bx.FiniteMDP.from_gymnasium("FrozenLake-v1", map_name="8x8"),
    "four-rooms": bx.four_rooms,
    "dyna-maze": bx.dyna_maze,
    "corridor": bx.corridor,
}


def states_of(session: Session) -> list[dict[str, Any]]:
    return [{k: x.copy() for k, x in checkpoint.to_arrays(live.state).items()} for live in session.tables]


def assert_same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    for mine, theirs in zip(one, other, strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine:
            np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)


@pytest.mark.parametrize("name", MODELS)
def test_a_preset_has_the_exact_answer_of_its_model(name: str) -> None:
    known, gamma = MODELS[name](), 0.97
    mine = bx.solve(to_model(PRESETS[name]), gamma)
    assert mine.start_value == pytest.approx(bx.solve(known, gamma).start_value, abs=1e-9)


def test_where_moves_lead_and_what_they_pay() -> None:
    grid = Grid(("S.C", "#.G"), ((0, 1, 2.0), (0, 2, -5.0), (1, 2, 1.0)), slip=0.2, step_reward=-1.0)
    mdp = to_model(grid)
    rows = {}
    for k in range(mdp.successor.size):
        rows.setdefault(int(mdp.pair[k]), []).append(
            (int(mdp.successor[k]), round(float(mdp.probability[k]), 9), float(mdp.reward[k]), bool(mdp.terminated[k]))
        )
    up, right = 0, 1
    assert rows[0 * 4 + right] == [(0, 0.2, -1.0, False), (1, 0.8, 1.0, False)]  # up the rim and down a wall: it stays
    assert rows[0 * 4 + up] == [(0, 0.9, -1.0, False), (1, 0.1, 1.0, False)]
    # from the middle: the cliff pays and sends back to the start; it bumps upwards, which enters nothing
    assert rows[1 * 4 + right] == [(0, 0.8, -6.0, False), (1, 0.1, -1.0, False), (4, 0.1, -1.0, False)]
    assert rows[4 * 4 + right] == [(1, 0.1, 1.0, False), (4, 0.1, -1.0, False), (5, 0.8, 0.0, True)]
    assert mdp.start.tolist() == [1, 0, 0, 0, 0, 0]


def test_grids_survive_json_files_and_links(tmp_path: Path) -> None:
    for name, grid in PRESETS.items():
        text = json.dumps(grid_to_json(grid))
        assert checked_grid(read_json_text(text)) == grid
        file = tmp_path / f"{name}.json"
        file.write_text(text)
        assert find_grid(str(file)) == grid
        code = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        assert find_grid(f"http://127.0.0.1:1/x/#w={code}") == find_grid(name) == grid


BAD_GRIDS = {
    "no object": ("[]", "JSON object"),
    "no cells": ("{}", "`cells` must be a list"),
    "unknown": ('{"cells": ["S"], "slipp": 1}', "did you mean 'slip'"),
    "ragged": ('{"cells": ["S.", "."]}', "row 1 of the grid has 1 cells"),
    "letter": ('{"cells": ["S<"]}', "row 0, column 1"),
    "no start": ('{"cells": [".."]}', "no start"),
    "empty": ('{"cells": []}', "1 to 20"),
    "empty rows": ('{"cells": [""]}', "1 to 20"),
    "large": (json.dumps({"cells": ["S" * 21]}), "21 columns"),
    "tall": (json.dumps({"cells": ["S"] * 500}), "500 rows"),
    "slip": ('{"cells": ["S."], "slip": 1.5}', "slip=1.5"),
    "nan": ('{"cells": ["S."], "slip": NaN}', "NaN is not a number of JSON"),
    "infinite": ('{"cells": ["S."], "step_reward": 1e999}', "step_reward=inf"),
    "text": ('{"cells": ["S."], "step_reward": "1"}', "`step_reward` must be a number"),
    "flag": ('{"cells": ["S."], "slip": true}', "`slip` must be a number"),
    "limit": ('{"cells": ["S."], "time_limit": 0}', "time_limit"),
    "outside": ('{"cells": ["S."], "rewards": [[0, 2, 1]]}', r"rewards\[0\]\[1\]"),
    "twice": ('{"cells": ["S."], "rewards": [[0, 1, 1], [0, 1, 2]]}', "second reward"),
    "short": ('{"cells": ["S."], "rewards": [[0, 1]]}', "must be"),
    "many": (json.dumps({"cells": ["S."], "rewards": [[0, 1, 1]] * 3}), "once per cell"),
    "name": ('{"cells": ["S."], "name": "\\u0000"}', "printable"),
    "format": ('{"cells": ["S."], "format": 2}', "format 2"),
    "cliff": ('{"cells": ["SSSSSSC"]}', "at most 5 starts"),
    "deep": ("[" * 5000, "nested|JSON"),
    "digits": ('{"cells": ["S."], "slip": ' + "9" * 6000 + "}", "JSON|slip"),
    "long": (" " * 200_000, "characters"),
    "broken": ("{", "not JSON"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_GRIDS)
def test_a_grid_that_is_not_valid_is_an_error_in_words(case: str, tmp_path: Path) -> None:
    text, words = BAD_GRIDS[case]
    with pytest.raises(bx.ConfigError, match=words):
        checked_grid(read_json_text(text))
    file = tmp_path / "grid.json"
    file.write_text(text)
    with pytest.raises(bx.ConfigError):
        find_grid(str(file))


@pytest.mark.parametrize("word", ["cliffs", "nowhere.json", "#w=!", "#w=AAAA", "", "\0.json", "#w=" + "A" * 200_000])
def test_a_grid_that_is_not_there_is_an_error_in_words(word: str) -> None:
    with pytest.raises(bx.ConfigError):
        find_grid(word)


def constant(name: str, settings: Settings) -> Any:
    cls: Any = agent_class(name)
    more = {key: value for key, value in settings._asdict().items() if key != "epsilon" and hasattr(cls, key)}
    fixed = {"exploration_initial_eps": settings.epsilon, "exploration_final_eps": settings.epsilon}
    return cls(random_ties=True, **fixed, **more)


@pytest.mark.parametrize("name", TABLES_SHOWN)
def test_a_live_learner_has_the_bits_of_a_run_of_the_same_steps(name: str) -> None:
    settings = Settings(epsilon=0.2, learning_rate=0.3, gamma=0.9, trace_decay=0.7, planning_steps=5)
    session = open_session(PRESETS["gridworld"], [name], settings, seed=3)
    for steps in (1, 700, 299, 2_000):
        sessions.advance(session, steps)
    run = bx.train(
        session.mdp, constant(name, settings), steps=3_000, seeds=[3], records=1, final_episodes=0, progress=False
    )
    np.testing.assert_array_equal(q_of(session.tables[0]), run.policy(3).arrays["q"])
    assert q_error(session.exact, q_of(session.tables[0])) == run.history["exact/q_error"][0, -1]


@pytest.mark.parametrize("name", TABLES_SHOWN)
def test_steps_back_are_exact_and_lead_forward_again(name: str) -> None:
    session = open_session(PRESETS["gridworld"], [name, "q-learning"], Settings(epsilon=0.3, learning_rate=0.5))
    sessions.advance(session, 1_000)
    seen = []
    for _ in range(5):
        seen.append(states_of(session))
        sessions.advance(session, 1)
    end = states_of(session)
    for before in reversed(seen):
        sessions.go_back(session, 1)
        assert_same(states_of(session), before)
    sessions.advance(session, 5)
    assert_same(states_of(session), end)
    sessions.go_back(session, 1_005)
    assert_same(states_of(session), states_of(open_session(session.grid, [name, "q-learning"], session.settings)))
    with pytest.raises(bx.ConfigError, match="begins at step 0"):
        sessions.go_back(session, 1)


def test_states_for_the_way_back_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "KEPT_BYTES", 100_000)
    session = open_session(PRESETS["frozen-lake"])
    for _ in range(100):
        sessions.advance(session, 300)
    assert session.kept <= 100_000
    assert session.kept == sum(sum(map(sessions.state_bytes, moment.states)) for moment in session.moments)
    first = session.moments[0].time
    assert 0 < first < 30_000
    sessions.go_back(session, 30_000 - first)
    assert sessions.now(session) == first


def recomputed(update: dict[str, Any], before: np.ndarray, both: np.ndarray | None, epsilon: float) -> float:
    """The target by the textbook, from the table before the step."""
    row = before[update["next_state"]]
    value = {
        "expected-sarsa": (1 - epsilon) * row.max() + epsilon * row.mean(),
    }.get(update["agent"], row.max())  # fmt: skip
    if update["agent"] == "sarsa":
        value = next(row[a] for a in range(4) if row[a] == update["bootstrap"])
    if both is not None:
        mine, other = both[update["table_number"] - 1], both[2 - update["table_number"]]
        best = mine[update["next_state"]]
        value = next(v for v, m in zip(other[update["next_state"]], best, strict=True)
                     if m == best.max() and v == update["bootstrap"])  # fmt: skip
    return float(update["reward"] + update["gamma"] * (not update["terminated"]) * value)


@pytest.mark.parametrize("name", TABLES_SHOWN)
def test_an_update_written_out_is_what_happened(name: str) -> None:
    settings = Settings(epsilon=0.3, learning_rate=0.25, gamma=0.9, trace_decay=0.8, planning_steps=4)
    session = open_session(PRESETS["gridworld"], [name], settings, seed=1)
    sessions.advance(session, 400)
    live = session.tables[0]
    for _ in range(60):
        before, state = q_of(live).copy(), sessions.copy_state(live.state)
        obs, action, length = (int(x[0]) for x in (state.clock.obs, state.clock.action, state.clock.length))
        (update,) = sessions.step_written_out(session)
        update_: Any = update
        both = state.memory.both if name == "double-q" else None
        after = q_of(live)
        assert (update_["state"], update_["action"]) == (obs, action)
        if not update_["over"]:
            assert update_["next_state"] == live.state.clock.obs[0]
            assert live.state.clock.length[0] == length + 1
            if name == "sarsa":
                assert update_["bootstrap"] == before[update_["next_state"], live.state.clock.action[0]]
        assert update_["target"] == pytest.approx(recomputed(update_, before, both, settings.epsilon), abs=1e-12)
        assert update_["q_before"] == (before if both is None else both[update_["table_number"] - 1])[obs, action]
        assert update_["td_error"] == pytest.approx(update_["target"] - update_["q_before"], abs=1e-15)
        assert update_["alpha"] == settings.learning_rate
        if name not in ("dyna-q", "prioritized-sweeping"):
            moved = update_["q_before"] + update_["alpha"] * update_["td_error"]
            assert update_["q_after"] == pytest.approx(moved, abs=1e-12)
        changed = {(int(i), int(j)) for i, j in np.argwhere(before != after)}
        assert update_["n_changes"] == len(changed)
        for change in update_["changes"]:
            pair = change["state"], change["action"]
            assert (change["before"], change["after"]) == (before[pair], after[pair])
            assert pair in changed


def test_the_last_update_of_a_cell_is_found_again_after_millions_of_steps() -> None:
    session = open_session(PRESETS["four-rooms"], ["watkins-q"], Settings(epsilon=0.5))
    sessions.advance(session, 5_000)
    wanted: dict[int, Any] = {}
    for _ in range(300):
        (update,) = sessions.step_written_out(session)
        wanted[int(update["state"])] = update  # type: ignore[call-overload]
    for state, update in wanted.items():
        assert sessions.last_update(session, 0, state) == update
    wall = 0
    assert sessions.last_update(session, 0, wall) is None
    sessions.advance(session, 2_000_000)
    found: Any = sessions.last_update(session, 0, 14)
    sessions.go_back(session, sessions.now(session) - (found["step"] - 1))
    assert int(session.tables[0].state.clock.obs[0]) == 14
    assert sessions.step_written_out(session) == [found]


def greedy_path(grid: Grid, q: np.ndarray) -> list[int]:
    rows, columns = grid.shape
    path = ["".join(grid.cells).index("S")]
    while len(path) < 50 and grid.cells[path[-1] // columns][path[-1] % columns] != "G":
        i, j = divmod(path[-1], columns)
        di, dj = ((-1, 0), (0, 1), (1, 0), (0, -1))[int(q[path[-1]].argmax())]
        to = (i + di, j + dj)
        inside = 0 <= to[0] < rows and 0 <= to[1] < columns and grid.cells[to[0]][to[1]] != "#"
        path.append(to[0] * columns + to[1] if inside else path[-1])
    return path


def test_a_wall_in_the_way_and_the_policy_re_routes() -> None:
    session = open_session(TWO_WAYS, ["q-learning"], Settings(epsilon=0.3, learning_rate=0.5, gamma=0.9))
    sessions.advance(session, 20_000)
    path = greedy_path(TWO_WAYS, q_of(session.tables[0]))
    assert len(path) == 7
    assert path[-1] == 12
    block = path[3]  # on the side that it takes
    q_before = q_of(session.tables[0]).copy()
    cells = list(TWO_WAYS.cells)
    cells[block // 5] = cells[block // 5][: block % 5] + "#" + cells[block // 5][block % 5 + 1 :]
    sessions.change_grid(session, TWO_WAYS._replace(cells=tuple(cells)))
    np.testing.assert_array_equal(q_of(session.tables[0]), q_before)  # what was learned stays
    sessions.advance(session, 20_000)
    other = greedy_path(session.grid, q_of(session.tables[0]))
    assert other[-1] == 12
    assert block not in other
    assert len(other) == 7
    assert session.exact.solution is not None
    np.testing.assert_array_equal(session.exact.solution.q, bx.solve(to_model(session.grid), 0.9).q)


def test_settings_act_from_the_next_step() -> None:
    session = open_session(PRESETS["gridworld"], ["q-learning"], Settings(epsilon=1.0, learning_rate=0.1))
    sessions.advance(session, 3_000)
    obey(session, '{"do": "settings", "settings": {"learning_rate": 1.0, "epsilon": 0.0, "gamma": 0.5}}')
    sessions.advance(session, 1)  # its action was chosen before
    for _ in range(30):
        before = q_of(session.tables[0]).copy()
        (update,) = sessions.step_written_out(session)
        assert before[update["state"], update["action"]] == before[update["state"]].max()  # type: ignore[index]
        assert update["q_after"] == pytest.approx(update["target"])
        assert update["gamma"] == 0.5


def test_a_grid_without_an_exact_answer_says_so() -> None:
    session = open_session(Grid(("S.",), step_reward=1.0), settings=Settings(gamma=1.0))
    assert session.exact.solution is None
    assert session.exact.why
    assert q_error(session.exact, q_of(session.tables[0])) is None
    sessions.advance(session, 1_000)
    assert b'"error": null' in make_frame(session)


def header_of(frame: bytes) -> tuple[dict[str, Any], int]:
    """The header of a frame, and where its arrays begin."""
    end = 4 + int.from_bytes(frame[:4], "little")
    header: dict[str, Any] = json.loads(frame[4:end])
    return header, end


def test_a_frame_has_the_numbers_of_the_engine() -> None:
    session = open_session(PRESETS["cliff"], ["q-learning", "sarsa"], seed=5)
    sessions.advance(session, 4_000)
    frame = make_frame(session)
    header, length = header_of(frame)
    assert length % 8 == 0
    assert header["step"] == 4_000
    numbers = np.frombuffer(frame[length:]).reshape(2, 48 * 5)
    for live, own, told in zip(session.tables, numbers, header["tables"], strict=True):
        np.testing.assert_array_equal(own[: 48 * 4].reshape(48, 4), q_of(live))
        np.testing.assert_array_equal(own[48 * 4 :], live.state.visits.sum(axis=1))
        assert told["episodes"] == live.state.clock.ended[0] == told["returns"]
        assert told["error"] == q_error(session.exact, q_of(live))
    assert [each["returns"] for each in header_of(make_frame(session))[0]["tables"]] == [
        0,
        0,
    ]  # each episode is counted once


BAD_COMMANDS = [
    "", "[]", "{}", '{"do": 1}', '{"do": "stepp"}', '{"do": "grid"}', '{"do": "agents", "agents": []}',
    '{"do": "agents", "agents": ["q-learning", "sarsa", "sarsa"]}', '{"do": "agents", "agents": ["ppo"]}',
    '{"do": "agents", "agents": [1]}', '{"do": "agents", "agents": "sarsa"}', '{"do": "settings", "settings": []}',
    '{"do": "settings", "settings": {"epsilon": 2}}', '{"do": "settings", "settings": {"epsilon": NaN}}',
    '{"do": "settings", "settings": {"learning_rate": 0}}', '{"do": "settings", "settings": {"alpha": 1}}',
    '{"do": "settings", "settings": {"planning_steps": 1e9}}', '{"do": "settings", "settings": {"gamma": null}}',
    '{"do": "step", "steps": 0}', '{"do": "step", "steps": 1e12}', '{"do": "step", "steps": "1"}',
    '{"do": "back", "steps": 1}', '{"do": "back", "steps": -1}', '{"do": "reset", "seed": -1}',
    '{"do": "reset", "seed": 1e30}', '{"do": "speed"}', '{"do": "speed", "speed": Infinity}',
    '{"do": "speed", "speed": 0}', '{"do": "explain", "state": 99}', '{"do": "explain", "state": -1}',
    '{"do": "explain", "state": 0, "table": 7}', "null", '"play"', "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_COMMANDS)
def test_a_command_that_is_not_valid_is_an_error_in_words_and_changes_nothing(text: str) -> None:
    session = open_session(PRESETS["corridor"])
    before = states_of(session)
    with pytest.raises(bx.ConfigError):
        obey(session, text)
    assert_same(states_of(session), before)
    assert len(COMMANDS) == 10


@pytest.mark.slow
def test_dqn_learns_is_edited_and_steps_back_exactly() -> None:
    session = open_session(TWO_WAYS, ["dqn"], Settings(epsilon=0.3, gamma=0.9))
    live = session.tables[0]
    sessions.advance(session, 6_000)
    path = greedy_path(TWO_WAYS, q_now(live))
    assert len(path) == 7
    assert path[-1] == 12
    seen: Any = []
    for _ in range(4):
        seen.append(q_now(live))
        (update,) = sessions.step_written_out(session)
        u: Any = update
        assert u["q_before"] == seen[-1][u["state"], u["action"]]
        assert u["q_after"] == q_now(live)[u["state"], u["action"]]
        bootstrap = 0.0 if u["terminated"] else u["gamma"] * u["bootstrap"]
        assert u["target"] == pytest.approx(u["reward"] + bootstrap)
        assert u["n_changes"] == (seen[-1] != q_now(live)).sum()
    end = q_now(live)
    for before in reversed(seen):
        sessions.go_back(session, 1)
        np.testing.assert_array_equal(q_now(live), before)
    sessions.advance(session, 4)
    np.testing.assert_array_equal(q_now(live), end)
    found: Any = sessions.last_update(session, 0, 2)
    sessions.go_back(session, sessions.now(session) - found["step"] + 1)
    assert sessions.step_written_out(session) == [found]
    block = path[3]
    cells = list(TWO_WAYS.cells)
    cells[block // 5] = cells[block // 5][: block % 5] + "#" + cells[block // 5][block % 5 + 1 :]
    sessions.change_grid(session, TWO_WAYS._replace(cells=tuple(cells)))
    sessions.advance(session, 10_000)
    other = greedy_path(session.grid, q_now(live))
    assert other[-1] == 12
    assert block not in other


@pytest.mark.slow
def test_the_step_size_of_dqn_is_that_of_its_optimizer() -> None:
    """Scaled steps are those of an agent whose optimizer has this learning rate, up to rounding."""
    import dataclasses

    import jax

    from bellmax.contracts import Discrete
    from bellmax.playground import live_networks as networks

    session = open_session(PRESETS["gridworld"], ["dqn"], Settings(network_rate=4e-3))
    sessions.advance(session, 250)
    live: Any = session.tables[0]
    other = dataclasses.replace(networks.CONFIG, learning_rate=4e-3).make(Discrete(12), 4, 1)
    learner, memory = live.state.learner, live.state.memory
    agent = networks.CONFIG.make(Discrete(12), 4, 1)

    def textbook(learner: Any, key: Any) -> Any:
        sample_key, learn_key = jax.random.split(key)
        batch, weight, _ = other.memory.sample(memory, sample_key, learner.updates)
        batch = batch._replace(discount=batch.discount * live.numbers.gamma)
        return other.learn(learner, (batch, weight), learn_key)[0]

    scaled = jax.jit(lambda learner, key: networks.gradient_step(agent, live.numbers, learner, memory, key))
    theirs = jax.jit(textbook)
    synced = 0
    for i in range(120):  # past an update of the target network
        key = jax.random.fold_in(jax.random.key(1), i)
        mine, expected = scaled(learner, key), theirs(learner, key)
        for one, two in zip(jax.tree.leaves(mine), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(np.asarray(one), np.asarray(two), rtol=1e-4, atol=2e-6)
        synced += int(mine.updates) % 100 == 0
        learner = mine
    assert synced
