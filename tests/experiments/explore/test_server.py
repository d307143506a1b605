"""The explorer over HTTP: this machine and this page alone, one line for what is refused, nothing from elsewhere."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterator

import pytest

from experiments.cli.settings.decay_flags import OF
from experiments.cli.settings.explore import Fields
from experiments.explore.fields import for_page
from experiments.explore.page import page_maker
from experiments.explore.server import LONGEST_TARGET, Explorer, Server

SETTING = "/api/setting?learning_rate=1e-3&num_steps=50"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(0, Explorer(Fields().read, [{"name": "a run"}]), page_maker(for_page(OF))) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def ask(
    server: Server, target: str, *, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, target, body=body, headers=named)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_it_listens_on_the_loopback_address_alone(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("host", ["127.0.0.1:{}", "localhost:{}"])
def test_its_own_names_are_served(server: Server, host: str) -> None:
    response, content = ask(server, SETTING, Host=host.format(server.server_port))
    assert response.status == 200
    assert json.loads(content)["command"] == "lrbend predict --learning-rate 1e-3 --num-steps 50"


FOREIGN = {
    "another host": {"Host": "evil.example"},
    "another host at this port": {"Host": "evil.example:{}"},
    "this host at another port": {"Host": "127.0.0.1:1"},
    "another origin": {"Origin": "https://evil.example"},
    "no origin": {"Origin": "null"},
    "another site": {"Sec_Fetch_Site": "cross-site"},
    "a port beside": {"Sec_Fetch_Site": "same-site"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("target", ["/", SETTING, "/api/measured"])
def test_others_are_refused(server: Server, target: str, headers: dict[str, str]) -> None:
    response, content = ask(server, target, **{name: text.format(server.server_port) for name, text in headers.items()})
    assert response.status == 403
    assert list(json.loads(content)) == ["error"]
    assert not [name for name, _ in response.getheaders() if name.lower().startswith("access-control")]


def test_a_link_from_another_site_may_open_the_page(server: Server) -> None:
    headers = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert ask(server, "/?num_steps=50", **headers)[0].status == 200
    assert ask(server, SETTING, **headers)[0].status == 403


@pytest.mark.parametrize(
    ("target", "method", "body", "status"),
    [
        (SETTING, "POST", None, 405),
        (SETTING, "OPTIONS", None, 405),
        (SETTING, "GET", b"x" * 100, 413),
        (SETTING + "0" * LONGEST_TARGET, "GET", None, 414),
        ("/etc/passwd", "GET", None, 404),
        ("/../server.py", "GET", None, 404),
        ("HTTP://[", "GET", None, 400),
        ("/api/", "GET", None, 404),
        ("/api/shell", "GET", None, 404),
        (SETTING + "&num_steps=60", "GET", None, 400),
        ("/api/setting?" + "&".join(f"x{place}=1" for place in range(99)), "GET", None, 400),
        ("/api/setting?learning_rate=%FF%00&num_steps=5", "GET", None, 400),
    ],
)
def test_odd_questions(server: Server, target: str, method: str, body: bytes | None, status: int) -> None:
    response, content = ask(server, target, method=method, body=body)
    assert response.status == status
    said = json.loads(content)["error"]
    assert said
    assert "\n" not in said


def test_a_refused_field_is_named(server: Server) -> None:
    response, content = ask(server, "/api/setting?learning_rate=fast&num_steps=50")
    assert response.status == 400
    assert json.loads(content) == {"error": "--learning-rate 'fast' is not a number", "field": "learning_rate"}


def test_head_has_no_body(server: Server) -> None:
    response, content = ask(server, "/", method="HEAD")
    assert (response.status, content) == (200, b"")
    assert int(response.headers["Content-Length"]) > 10_000


def test_the_page_is_whole_and_runs_nothing_else(server: Server) -> None:
    """No address but those of names of XML, no part left out, and a policy that lets only its own scripts run."""
    response, content = ask(server, "/")
    text = content.decode()
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|@import|url\((?!#)""", text)
    assert not re.search(r"\{\{ [A-Z]+ \}\}", text)
    policy = response.headers["Content-Security-Policy"]
    (nonce,) = set(re.findall(r"'nonce-([^']+)'", policy))
    assert policy.startswith("default-src 'none'")
    assert re.findall(r'<(?:script|style) nonce="([^"]*)"', text) == [nonce, nonce]
    assert " style=" not in text, "the policy lets no style attribute act"
    assert f"'nonce-{nonce}'" not in ask(server, "/")[0].headers["Content-Security-Policy"]


def test_measured_runs_are_sent_as_they_are(server: Server) -> None:
    assert json.loads(ask(server, "/api/measured")[1]) == {"measured": [{"name": "a run"}]}


def test_one_connection_takes_many_questions(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    for rate in ("1e-3", "nonsense", "2e-3"):
        connection.request("GET", f"/api/setting?learning_rate={rate}&num_steps=50")
        response = connection.getresponse()
        assert response.status == (400 if rate == "nonsense" else 200)
        response.read()
    connection.close()
