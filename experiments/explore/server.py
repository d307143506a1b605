"""The HTTP side of the explorer: one page and its numbers, for this machine and this page alone.

It listens on 127.0.0.1. What names another host than this one is refused, which keeps out pages of other sites whose
name was made to point here; so is what a browser says comes from another site. Nothing is written, no path is taken
from a request, and what a request may cost is bounded by the fields (`asked.MOST`).
"""

from __future__ import annotations

import secrets
import socketserver
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from experiments.explore.answers import simulation_of, trajectory_of, transient_map
from experiments.explore.asked import Asked, Reader, RefusedField
from experiments.files import BadInput, one_line, to_json
from theory import InvalidParameter

ADDRESS = "127.0.0.1"
LONGEST_TARGET = 4096  # characters of path and query
MOST_FIELDS = 60
KEPT = 512  # answers in memory
IDLE = 60.0  # seconds that a connection is kept open
LAW_PREFIX = "law."

Fields = tuple[tuple[str, str], ...]


class Explorer:
    """Questions to answers, without the network. read : fields to a setting. measured : what lies over predictions."""

    def __init__(self, read: Reader, measured: Sequence[Mapping[str, Any]]) -> None:
        self.measured = {"measured": list(measured)}
        self._read = read
        self._kept = lru_cache(maxsize=KEPT)(self._answer)

    def answer(self, name: str, fields: Mapping[str, str]) -> dict[str, Any]:
        """The JSON object for one question; raises `RefusedField`, `BadInput`, `InvalidParameter` or `KeyError`."""
        if name == "alive":
            return {}
        if name == "measured":
            return self.measured
        return self._kept(name, tuple(sorted(fields.items())))

    def _answer(self, name: str, fields: Fields) -> dict[str, Any]:
        answers: dict[str, Callable[[Asked], dict[str, Any]]] = {
            "setting": trajectory_of,
            "map": transient_map,
            "simulation": simulation_of,
            "optimum": lambda asked: _optimum_of(asked, law),
        }
        law = {key.removeprefix(LAW_PREFIX): value for key, value in fields if key.startswith(LAW_PREFIX)}
        answered = answers[name]
        return answered(self._read({key: value for key, value in fields if not key.startswith(LAW_PREFIX)}))


def _optimum_of(asked: Asked, law: Mapping[str, str]) -> dict[str, Any]:
    from experiments.explore.optimum import optimum_of  # its tab may never be opened

    return optimum_of(asked, law)


class Server(ThreadingHTTPServer):
    """On the loopback address; ``port`` 0 takes a free one. Raises `OSError` for one in use."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, explorer: Explorer, page: Callable[[str], bytes]) -> None:
        self.explorer, self.page = explorer, page
        super().__init__((ADDRESS, port), Handler)
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}

    def server_bind(self) -> None:
        """As the base class, but without asking a name server who we are."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no news."""

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE
    disable_nagle_algorithm = True
    server_version, sys_version = "lrbend", ""

    def do_GET(self) -> None:
        try:
            parts = urlsplit(self.path)
        except ValueError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, one_line(error))
            return
        if self._is_refused(parts.path == "/"):
            return
        if parts.path == "/":
            nonce = secrets.token_urlsafe(16)
            self._send(HTTPStatus.OK, self.server.page(nonce), "text/html; charset=utf-8", nonce)
        elif parts.path.startswith("/api/"):
            self._send_json(*self._answered(parts.path.removeprefix("/api/"), parts.query))
        else:
            self._send_json(HTTPStatus.NOT_FOUND, {"error": "no such page"})

    do_HEAD = do_GET

    def _refuse_method(self) -> None:
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "the explorer only answers GET")

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _refuse_method

    def _is_refused(self, is_page: bool) -> bool:
        """Whether it was sent away: another host, another site, too much."""
        headers = self.headers
        site = headers.get("Sec-Fetch-Site", "none")
        origin = headers.get("Origin")
        if headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            self._refuse(HTTPStatus.FORBIDDEN, "this host is not served; open the address that the command printed")
        elif origin is not None and origin not in {f"http://{host}" for host in self.server.hosts}:
            self._refuse(HTTPStatus.FORBIDDEN, "other origins are not served")
        elif site not in ("none", "same-origin") and not (is_page and headers.get("Sec-Fetch-Mode") == "navigate"):
            self._refuse(HTTPStatus.FORBIDDEN, "other sites are not served")
        elif len(self.path) > LONGEST_TARGET:
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG, f"longer than {LONGEST_TARGET} characters")
        elif headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a question has no body")
        else:
            return False
        return True

    def _answered(self, name: str, query: str) -> tuple[HTTPStatus, dict[str, Any]]:
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_FIELDS)
            fields = dict(pairs)
            if len(fields) < len(pairs):
                raise BadInput("a field is there twice")
            return HTTPStatus.OK, self.server.explorer.answer(name, fields)
        except KeyError:
            return HTTPStatus.NOT_FOUND, {"error": "no such question"}
        except RefusedField as error:
            return HTTPStatus.BAD_REQUEST, {"error": one_line(error), "field": error.field}
        except InvalidParameter as error:
            return HTTPStatus.BAD_REQUEST, {"error": one_line(error), "field": error.name}
        except (ValueError, ArithmeticError) as error:
            return HTTPStatus.BAD_REQUEST, {"error": one_line(error), "field": None}
        except MemoryError:
            return HTTPStatus.BAD_REQUEST, {"error": "not enough memory; ask for fewer steps", "field": "num_steps"}

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True  # what else was sent with it is not read
        self._send_json(status, {"error": why})

    def _send_json(self, status: HTTPStatus, value: Mapping[str, Any]) -> None:
        self._send(status, to_json(value).encode(), "application/json")

    def _send(self, status: HTTPStatus, content: bytes, kind: str, nonce: str = "") -> None:
        self.send_response(status)
        allowed = f"'nonce-{nonce}'" if nonce else "'none'"
        policy = (
            f"default-src 'none'; script-src {allowed}; style-src {allowed}; connect-src 'self'; img-src data:;"
            " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(content))),
            ("Content-Security-Policy", policy),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cache-Control", "no-store"),
            *((("Connection", "close"),) if self.close_connection else ()),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """The terminal is for the address and for what goes wrong."""
