"""The server of the playground: who may connect, what it serves, what hostile words do, and how it ends."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from click.testing import CliRunner
from playgrounds import ROOT, Served, served
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from bellmax.cli import main
from bellmax.playground import server as module
from bellmax.playground import session as sessions
from bellmax.playground.grid_presets import PRESETS
from bellmax.playground.live_pages import RECEIVED, WAKE, Desk, work
from bellmax.playground.server import page_files


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served("corridor") as one:
        yield one
        assert one.process.poll() is None, one.errors
        assert one.stop() == 0
        assert not [line for line in one.errors if "Traceback" in line]


def get(server: Served, path: str, **headers: str) -> httpx.Response:
    # a socket by hand: httpx would take the dots out of a path
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain:
        sent = {"Host": f"127.0.0.1:{server.port}", "Connection": "close", **headers}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in sent.items())
        plain.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        answer = b""
        while more := plain.recv(65536):
            answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    return httpx.Response(int(status.split()[1]), headers=[tuple(each.split(": ", 1)) for each in fields], content=body)


def live(server: Served, **more: Any) -> ClientConnection:
    options = {"origin": f"http://127.0.0.1:{server.port}", "proxy": None, **more}
    return connect(f"ws://127.0.0.1:{server.port}/{server.token}/live", **options)


def until(talk: ClientConnection, kind: str) -> dict[str, Any]:
    """The next message of a kind; frames on the way are received."""
    while True:
        message = talk.recv(timeout=60)
        if isinstance(message, bytes):
            talk.send(RECEIVED)
        elif (reply := json.loads(message))["kind"] == kind:
            return reply  # type: ignore[no-any-return]


def test_the_files_of_the_page_are_served_and_no_others(server: Served) -> None:
    files = page_files()
    assert {"index.html", "style.css", "main.js", "icon.svg"} <= files.keys()
    page = get(server, f"/{server.token}/")
    assert page.status_code == 200
    assert page.content == files["index.html"][0]
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for name, (content, kind) in files.items():
        answer = get(server, f"/{server.token}/{name}")
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, content, kind)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert b"http://" not in content.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"https://" not in content
    for path in (
        "../server.py", "..%2fserver.py", "%2e%2e/server.py", "assets/index.html", "index.html/", "/etc/passwd",
        "index.html%00", "live", "%5c..%5cserver.py", "INDEX.HTML", "." * 5000,
    ):  # fmt: skip
        answer = get(server, f"/{server.token}/{path}")
        assert answer.status_code in (403, 404), path
        assert len(answer.content) < 200
        assert b"Traceback" not in answer.content


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/favicon.ico", {}),
        ("/wrong/", {}),
        ("/{token}x/", {}),
        ("/%ff/", {}),
        ("/{token}/", {"Host": "evil.example"}),
        ("/{token}/", {"Host": "evil.example:{port}"}),
        ("/{token}/main.js", {"Host": "127.0.0.1"}),
        ("/{token}/", {"Origin": "http://evil.example"}),
        ("/{token}/", {"Origin": "null"}),
    ],
)
def test_only_the_address_with_the_token_and_its_own_page_reach_it(
    server: Served, path: str, headers: dict[str, str]
) -> None:
    filled = {name: value.format(port=server.port) for name, value in headers.items()}
    answer = get(server, path.format(token=server.token), **filled)
    assert answer.status_code == 403
    assert "bellmax play printed" in answer.text


def test_the_grid_is_sent_while_the_first_learner_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, told, start = threading.Event(), threading.Event(), sessions.start_live

    def slow(*given: Any) -> Any:
        assert compiled.wait(20)
        return start(*given)

    monkeypatch.setattr(sessions, "start_live", slow)
    desk = Desk(told.set)
    page = threading.Thread(target=work, args=(desk, PRESETS["corridor"]), daemon=True)
    page.start()
    while len(desk.replies) < 3:
        assert told.wait(20)
        told.clear()
    hello, session, grid = (json.loads(text) for text in desk.replies)
    assert (hello["kind"], session["agents"], grid["grid"]["name"]) == ("hello", ["q-learning"], "corridor")
    assert desk.frame is None
    compiled.set()
    while desk.frame is None:
        assert told.wait(20)
        told.clear()
    desk.gone = True
    desk.commands.put(WAKE)
    page.join(20)


def test_a_post_does_nothing(server: Served) -> None:
    answer = httpx.post(server.address, content=b"x" * 1000)
    assert answer.status_code == 405


@pytest.mark.parametrize("origin", ["http://evil.example", None, "null", "https://127.0.0.1"])
def test_a_websocket_of_another_page_is_not_opened(server: Served, origin: str | None) -> None:
    with pytest.raises(InvalidStatus) as error, live(server, origin=origin):
        pass
    assert error.value.response.status_code == 403


@pytest.mark.parametrize(("token", "host"), [("wrong", "127.0.0.1:{port}"), ("{token}", "evil.example:{port}")])
def test_a_websocket_without_the_token_or_with_another_host_is_not_opened(
    server: Served, token: str, host: str
) -> None:
    key = {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec_WebSocket_Version": "13"}
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Origin": f"http://127.0.0.1:{server.port}", **key}
    path = f"/{token.format(token=server.token)}/live"
    assert get(server, path, Host=host.format(port=server.port), **headers).status_code == 403


def test_words_that_are_no_commands_are_answered_in_words(server: Served) -> None:
    with live(server) as talk:
        until(talk, "grid")
        for text, words in (
            ("{", "not JSON"),
            ("[" * 10_000, "nested"),
            ('{"do": "rm -rf"}', "unknown command"),
            ('{"do": "settings", "settings": {"gamma": NaN}}', "NaN"),
            ('{"do": "grid", "grid": {"cells": ["<script>"]}}', "row 0, column 0"),
            ('{"do": "grid", "grid": {"cells": ["S"], "name": "\\u001b[2J"}}', "printable"),
            ('{"do": "step", "steps": 1e300}', "steps"),
        ):
            talk.send(text)
            refused = until(talk, "refused")["words"]
            assert words in refused
            assert "\x1b" not in refused
            assert "bug" not in refused
        talk.send(b"\x00\x01")
        assert "bytes" in until(talk, "refused")["words"]
        talk.send('{"do": "step"}')  # and it still works
        assert until(talk, "update")["step"] == 1


def test_a_message_that_is_too_long_closes_the_connection_and_only_that(server: Served) -> None:
    with live(server) as talk:
        until(talk, "grid")
        talk.send("x" * 1_000_000)
        with pytest.raises(ConnectionClosed):
            until(talk, "never")
    with live(server) as talk:
        assert until(talk, "grid")["grid"]["name"] == "corridor"


@pytest.mark.slow
def test_a_flood_of_commands_is_answered_in_words(server: Served) -> None:
    with live(server) as talk:
        until(talk, "grid")
        talk.send('{"do": "step", "steps": 100000}')
        for _ in range(400):
            talk.send('{"do": "step", "steps": 100000}')
        assert "commands are waiting" in until(talk, "refused")["words"]


def test_more_pages_than_it_serves_are_refused_in_words(server: Served) -> None:
    with contextlib.ExitStack() as pages:
        for _ in range(module.MOST_PAGES):
            until(pages.enter_context(live(server)), "grid")
        with live(server) as one_more:
            assert "4 pages of this playground are open" in until(one_more, "refused")["words"]


@pytest.mark.slow
def test_frames_wait_for_a_page_that_does_not_receive_them(server: Served) -> None:
    with live(server) as talk:
        talk.send('{"do": "play"}')
        frames = 0
        with contextlib.suppress(TimeoutError):
            while frames < 50:
                frames += isinstance(talk.recv(timeout=3), bytes)
        assert frames == 3
        talk.send(RECEIVED)
        while not isinstance(talk.recv(timeout=10), bytes):
            pass


@pytest.mark.slow
def test_ctrl_c_ends_it_with_open_pages_and_says_so() -> None:
    with served("cliff") as one, live(one) as talk:
        until(talk, "grid")
        talk.send('{"do": "speed", "speed": 1e9}')
        talk.send('{"do": "play"}')
        talk.recv(timeout=10)
        assert one.stop() == 0
    assert not [line for line in one.errors if "Traceback" in line or "error" in line.lower()]
    assert "The playground has ended.\n" in one.errors


def test_the_server_waits_for_a_learner_that_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would abort the process if a thread returned from a compiler while the interpreter ends."""
    desk = Desk(lambda: None, thread=threading.Thread(target=time.sleep, args=(0.2,), daemon=True))

    def app_of_a_busy_page(grid: object, token: str, port: int, desks: list[Desk]) -> None:
        desks.append(desk)
        desk.thread.start()

    monkeypatch.setattr(module, "make_app", app_of_a_busy_page)
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    module.serve_playground(PRESETS["cliff"], browser=False, say=lambda address: None)
    assert not desk.thread.is_alive()


def test_a_port_in_use_and_other_odd_arguments_are_errors_in_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "bellmax", "play", "--no-browser", "--port", str(port)],
            capture_output=True, text=True, cwd=ROOT, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert f"error: cannot serve on port {port}: Address already in use" in done.stderr
    assert "--port" in done.stderr
    for words in (["--port", "70000"], ["--port", "-1"], ["--port", "x"], ["cliffs"], ["nowhere.json"]):
        shown = CliRunner().invoke(main, ["play", "--no-browser", *words])
        assert shown.exit_code == 2, words
        assert shown.output.startswith("error: ")
