"""The page of the playground in a browser: it edits, learns, explains and shares, with the numbers of the engine."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Seen, opened
from playgrounds import Served, served

import bellmax as bx
from bellmax.playground import session as sessions
from bellmax.playground.edited_grid import Grid, checked_grid, grid_to_json, to_model
from bellmax.playground.grid_presets import PRESETS
from bellmax.playground.live_tables import Settings, q_of
from bellmax.playground.session import open_session
from bellmax.playground.session_messages import obey

pytestmark = pytest.mark.slow  # a browser for each
TWO_WAYS = Grid(("..S..", ".###.", "..G.."), ((2, 2, 1.0),), step_reward=-0.01, name="two ways")
STATE = "async () => (await import('./main.js')).page.frame.tables.map((each) => Array.from(each.q))"
GRID = "async () => (await import('./main.js')).page.grid"
STEP = "async () => { const { frame } = (await import('./main.js')).page; return frame ? frame.step : -1; }"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    file = tmp_path_factory.mktemp("grids") / "two ways.json"
    file.write_text(json.dumps(grid_to_json(TWO_WAYS)))
    with served(str(file)) as one:
        yield one


def until(page: Any, expression: str, argument: object = None, seconds: float = 30.0) -> None:
    """Wait until a function of the page returns true; Playwright's own waiting needs eval, which the page forbids."""
    for _ in range(int(seconds / 0.05)):
        if page.evaluate(expression, argument):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"after {seconds:g} s it is still false: {expression}")


def has_cells(page: Any, number: int) -> None:
    until(page, "(n) => document.querySelectorAll('[role=gridcell]').length === n", number, 60.0)


def ready(seen: Seen) -> Any:
    """The page, once its first frame is there."""
    page = seen.page
    page.wait_for_selector("[role=gridcell]", state="attached", timeout=60_000)
    at_step(page, 0)
    return page


def at_step(page: Any, step: int) -> None:
    for _ in range(1_000):
        if page.evaluate(STEP) == step:
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"the page shows step {page.evaluate(STEP)}, not {step}")


def tables(page: Any) -> np.ndarray:
    return np.array(page.evaluate(STATE))


def set_range(page: Any, name: str, value: float) -> None:
    page.eval_on_selector(
        f"#{name}", "(each, value) => { each.value = value; each.dispatchEvent(new Event('input')); }", value
    )


def tool(page: Any, name: str) -> None:
    page.locator(f"#tools input[value={name}]").check(force=True)


def path(page: Any) -> list[int]:
    return [int(each) for each in page.locator(".route").first.get_attribute("data-path").split()]


def sound(seen: Seen) -> None:
    assert seen.errors == []
    assert seen.requests == []


def test_a_wall_in_the_way_and_the_policy_is_seen_to_re_route(server: Served) -> None:
    with opened(server.address, own=server.address) as seen:
        page = ready(seen)
        set_range(page, "epsilon", 0.3)
        set_range(page, "speed", 100)
        page.click("#play")
        page.wait_for_selector('.route[data-end="goal"]', timeout=20_000)
        before = path(page)
        assert (len(before), before[0], before[-1]) == (7, 2, 12)
        blocked = before[3]
        tool(page, "wall")
        page.click(f'[data-state="{blocked}"]')
        until(
            page,
            """(blocked) => { const route = document.querySelector('.route');
            return route.dataset.end === 'goal' && !route.dataset.path.split(' ').includes(String(blocked)); }""",
            blocked,
        )
        after = path(page)
        assert (len(after), after[0], after[-1]) == (7, 2, 12)
        page.click("#play")
        grid = page.evaluate(GRID)
        exact = page.evaluate("async () => (await import('./main.js')).page.exact")
        assert grid["cells"][blocked // 5][blocked % 5] == "#"
        solution = bx.solve(to_model(checked_grid(grid)), 0.95)
        np.testing.assert_array_equal(np.array(exact["q"]), solution.q)
        assert exact["start_value"] == solution.start_value
        sound(seen)


def test_the_grid_is_shown_and_compiling_said_before_the_first_frame(server: Served) -> None:
    def without_frames(socket: Any) -> None:
        socket.connect_to_server().on_message(lambda m: None if isinstance(m, bytes) else socket.send(m))

    with opened(server.address, own=server.address) as seen:
        page = ready(seen)
        page.route_web_socket(lambda url: url.endswith("/live"), without_frames)
        page.reload()
        has_cells(page, 15)
        assert page.evaluate(STEP) == -1
        page.wait_for_selector("#busy:not([hidden])")
        assert "Compiling" in page.inner_text("#busy")
        assert page.evaluate(GRID)["name"] == "two ways"
        sound(seen)


def test_numbers_on_the_page_are_those_of_the_engine(server: Served) -> None:
    session = open_session(TWO_WAYS, ["q-learning"])
    with opened(server.address, own=server.address) as seen:
        page = ready(seen)
        for step in (1_000, 2_000, 3_000):
            page.click("#many")
            at_step(page, step)
        sessions.advance(session, 2_999)
        (update,) = sessions.step_written_out(session)
        np.testing.assert_array_equal(tables(page)[0], q_of(session.tables[0]).ravel())
        shown: dict[str, float] = page.eval_on_selector_all(
            "#written td[data-name]", "(all) => Object.fromEntries(all.map((x) => [x.dataset.name, +x.dataset.value]))"
        )
        for name in ("q_before", "target", "td_error", "alpha", "q_after", "reward", "gamma"):
            assert shown[name] == update[name], name
        # a cell that is clicked shows its last update
        page.click('[data-state="1"]')
        page.wait_for_selector('#written article[data-state="1"]')
        asked: Any = sessions.last_update(session, 0, 1)
        article = page.locator("#written article")
        assert article.get_attribute("data-step") == str(asked["step"])
        assert article.locator('[data-name="q_after"]').get_attribute("data-value") == repr(asked["q_after"])
        sound(seen)


def test_steps_back_and_forth_on_the_page_are_exact(server: Served) -> None:
    with opened(server.address, own=server.address) as seen:
        page = ready(seen)
        page.click("#many")
        at_step(page, 1_000)
        kept = []
        for step in range(1_001, 1_006):
            kept.append(tables(page))
            page.click("#step")
            at_step(page, step)
        end = tables(page)
        for step in range(1_004, 999, -1):
            page.click("#back")
            at_step(page, step)
            np.testing.assert_array_equal(tables(page), kept.pop())
        for step in range(1_001, 1_006):
            page.click("#step")
            at_step(page, step)
        np.testing.assert_array_equal(tables(page), end)
        sound(seen)


def test_two_agents_side_by_side_take_the_same_steps(server: Served) -> None:
    settings = Settings(gamma=0.9)
    session = open_session(PRESETS["cliff"], ["q-learning", "sarsa"], settings)
    with opened(server.address, own=server.address) as seen:
        page = ready(seen)
        page.select_option("#preset", "cliff")
        has_cells(page, 48)
        page.select_option(".board:nth-child(2) select", "sarsa")
        has_cells(page, 96)
        set_range(page, "gamma", 0.9)
        until(page, "() => document.querySelector('#gamma').previousElementSibling.textContent === '0.9'")
        page.wait_for_timeout(300)
        page.click("#many")
        at_step(page, 1_000)
        obey(session, '{"do": "step", "steps": 1000}')
        np.testing.assert_array_equal(tables(page), [q_of(live).ravel() for live in session.tables])
        assert page.locator("#written article").count() == 2
        until(page, "() => document.querySelector('#returns').getAttribute('aria-label').includes('SARSA')")
        sound(seen)


def test_a_second_choice_before_the_answer_to_the_first_keeps_both(server: Served) -> None:
    """An agent is compiled when it is first chosen, which takes seconds."""
    choose = """(names) => names.forEach((name, i) => {
        const select = document.querySelector(`.board:nth-child(${i + 1}) select`);
        select.value = name;
        select.dispatchEvent(new Event('change'));
    })"""
    shown = "async () => (await import('./main.js')).page.frame.tables.map((each) => each.agent).join()"
    with opened(server.address, own=server.address) as seen:
        page = ready(seen)
        for names in (["watkins-q", "expected-sarsa"], ["sarsa", "double-q"]):
            page.evaluate(choose, names)
            until(page, f"async () => (await ({shown})()) === '{','.join(names)}'", seconds=90.0)
        sound(seen)


def test_frames_and_steps_per_second(server: Served) -> None:
    with opened(server.address, own=server.address) as seen:
        page = ready(seen)
        page.select_option(".board:nth-child(2) select", "sarsa")
        page.wait_for_selector(".board:nth-child(2) .stage:not([hidden])")
        set_range(page, "speed", 100)
        page.click("#play")
        enough = """() => Number(document.querySelector('#frames').textContent) >= 5 &&
            Number(document.querySelector('#measured').dataset.value) >= 1e5"""
        until(page, enough)  # beside other tests; bench/playground.py measures it alone
        sound(seen)


@pytest.mark.parametrize("dark", [False, True])
def test_it_can_be_used_by_keyboard_and_with_a_screen_reader(server: Served, dark: bool) -> None:
    with opened(server.address, own=server.address, dark=dark) as seen:
        page = ready(seen)
        page.select_option(".board:nth-child(2) select", "watkins-q")
        page.wait_for_selector(".board:nth-child(2) .stage:not([hidden])")
        page.click("#step")
        page.wait_for_selector("#written article")
        assert seen.violations() == []
        tool(page, "wall")
        page.focus('.board [data-state="0"]')
        for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "Enter"):
            page.keyboard.press(key)
        label = page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert label == "row 1, column 0: wall"
        page.keyboard.press(".")
        at_step(page, 2)
        page.keyboard.press(",")
        at_step(page, 1)
        page.keyboard.press("p")
        until(page, "() => document.querySelector('#play').textContent === 'Pause'")
        assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") is dark
        assert page.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")
        sound(seen)


def test_on_a_phone_nothing_is_wider_than_the_screen(server: Served) -> None:
    with opened(server.address, own=server.address, width=380, height=800) as seen:
        page = ready(seen)
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
        assert seen.violations() == []
        sound(seen)


def test_a_grid_is_shared_in_the_link_and_as_a_file(server: Served, tmp_path: Path) -> None:
    evil = grid_to_json(PRESETS["bridge"]) | {"name": "<script>window.evil = 1</script>"}
    code = base64.urlsafe_b64encode(json.dumps(evil).encode()).decode().rstrip("=")
    with opened(f"{server.address}#w={code}", own=server.address) as seen:
        page = seen.page
        has_cells(page, 35)
        assert "<script>" in page.get_attribute("[role=grid]", "aria-label")
        assert page.evaluate("window.evil") is None
        tool(page, "goal")
        page.fill("#amount", "2.5")
        page.click('[data-state="16"]')
        until(page, "() => location.hash.length > 10 && document.querySelector('#preset').value === ''")
        page.wait_for_timeout(300)
        with page.expect_download() as waiting:
            page.click("#save")
        waiting.value.save_as(tmp_path / "grid.json")
        saved = json.loads((tmp_path / "grid.json").read_text())
        assert [2, 2, 2.5] in saved["rewards"]
        assert saved["cells"][2][2] == "G"
        shared = page.evaluate("location.hash")
        sound(seen)
    with opened(server.address + shared, own=server.address) as seen:
        page = seen.page
        has_cells(page, 35)
        assert checked_grid(page.evaluate(GRID)) == checked_grid(saved)
        page.set_input_files("#file", str(tmp_path / "grid.json"))
        bad = tmp_path / "bad.json"
        for text in ("{", "[]", '{"cells": ["<>"]}', '{"cells": ["S"], "slip": 7}', "null"):
            bad.write_text(text)
            page.evaluate("document.querySelector('#message').hidden = true")
            page.set_input_files("#file", str(bad))
            page.wait_for_selector("#message:not([hidden])")
        assert "got None" in page.inner_text("#message")
        assert checked_grid(page.evaluate(GRID)) == checked_grid(saved)
        sound(seen)


def test_what_the_server_does_not_accept_is_said_and_undone(server: Served) -> None:
    with opened(server.address, own=server.address) as seen:
        page = ready(seen)
        tool(page, "wall")
        page.click('[data-state="2"]')
        assert "needs a start" in page.inner_text("#message")
        page.fill("#limit", "0")
        page.dispatch_event("#limit", "change")
        until(page, "() => document.querySelector('#message').textContent.includes('time_limit')")
        assert page.evaluate("async () => (await import('./main.js')).page.grid.time_limit") == 1_000
        assert page.input_value("#limit") == "1000", "the input shows what holds, also while it is focused"
        page.click("#step")
        page.wait_for_selector("#message", state="hidden")
        sound(seen)


def enter(page: Any, name: str, value: str) -> None:
    page.fill(f"#{name}", value)
    page.dispatch_event(f"#{name}", "change")


def test_inputs_show_the_numbers_that_hold(server: Served) -> None:
    with opened(server.address, own=server.address) as seen:
        page = ready(seen)
        for name, given, shown in (
            ("rows", "99", "20"),
            ("columns", "0", "1"),
            ("rows", "2.4", "2"),
            ("step-reward", "", "0"),
        ):
            enter(page, name, given)
            assert page.input_value(f"#{name}") == shown, name
        enter(page, "seed", "-3")
        page.wait_for_selector("#message:not([hidden])")
        assert page.input_value("#seed") == "0"
        sound(seen)


def test_an_edit_while_the_server_has_not_answered_to_a_resize_is_one_of_the_new_grid(server: Served) -> None:
    both = """() => {
        const rows = document.querySelector("#rows");
        rows.value = "4";
        rows.dispatchEvent(new Event("change"));
        document.querySelector(".board [data-state='0']").focus();
        document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
    }"""
    with opened(server.address, own=server.address) as seen:
        page = ready(seen)
        tool(page, "wall")
        page.evaluate(both)
        until(page, "async () => (await import('./main.js')).page.accepted.cells.length === 4")
        for of in ("accepted", "grid"):
            cells = page.evaluate(f"async () => (await import('./main.js')).page.{of}.cells")
            assert cells == ["#.S..", ".###.", "..G..", "....."]
        sound(seen)
