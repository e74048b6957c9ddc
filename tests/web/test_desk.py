"""The desk's door and its forms: nothing is done without session, token, origin and typed words."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlencode

import pytest
from starlette.applications import Starlette

from cryptosignal.ground.faults import UserFault
from cryptosignal.web.desk import COOKIE, TRIES_PER_MINUTE_MAX, Desk
from cryptosignal.web.guard import Guard

HOST = "127.0.0.1:8787"
BODY = {
    "time_ms": 1_763_690_400_000, "mode": "approve", "account": "sim", "account_state": "normal",
    "kill": 0, "wallet_usdt": "10000", "day_loss_usdt": "0", "is_reconciled": True,
    "waiting": [], "positions": [],
}  # fmt: skip


class Engine:
    """The engine's end as the desk knows it."""

    def __init__(self):
        self.commands, self.codes, self.fault = [], {"GOOD-CODE"}, None

    async def ask(self, name, arguments=None):
        if name == "redeem":
            code = arguments["code"]
            is_good = code in self.codes
            self.codes.discard(code)
            return {"ok": is_good}
        return BODY

    async def command(self, name, arguments):
        if self.fault:
            raise self.fault
        self.commands.append((name, arguments))
        return {"ok": True, "said": f"{name} <done>"}


class Browser:
    """Requests by ASGI, with a cookie."""

    def __init__(self):
        self.engine = Engine()
        app = Starlette()
        Desk(self.engine).add_to(app)
        self.app, self.cookie = Guard(app), ""

    def ask(self, path, method="GET", body=None, **headers):
        named = {"host": HOST, "origin": f"http://{HOST}" if method == "POST" else None}
        named |= {"content-type": "application/x-www-form-urlencoded"} if body is not None else {}
        named |= {"cookie": self.cookie} if self.cookie else {}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        pairs = [(k.encode(), v.encode()) for k, v in named.items() if v is not None]
        scope = {"type": "http", "method": method, "path": path, "headers": pairs,
                 "query_string": b"", "scheme": "http", "server": ("127.0.0.1", 8787),
                 "client": ("127.0.0.1", 1), "root_path": ""}  # fmt: skip
        sent = []

        async def receive():
            return {"type": "http.request", "body": urlencode(body or {}).encode()}

        async def send(message):
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        headers = dict(sent[0]["headers"])
        if b"set-cookie" in headers:
            self.cookie = headers[b"set-cookie"].decode().partition(";")[0]
        text = b"".join(m.get("body", b"") for m in sent[1:]).decode()
        return sent[0]["status"], headers, text

    def open(self):
        status, headers, _ = self.ask("/desk/login", "POST", {"code": "GOOD-CODE"})
        assert status == 303
        return headers

    def token(self):
        return re.search(r'name="csrf" value="([^"]+)"', self.ask("/desk")[2])[1]

    def act(self, csrf=None, **form):
        csrf = self.token() if csrf is None else csrf
        return self.ask("/desk/command", "POST", {"csrf": csrf, **form})


@pytest.fixture
def browser():
    return Browser()


def test_without_a_session_there_is_only_the_door(browser):
    """No session: no state, no form but the code's, no action."""
    assert 'action="/desk/login"' in browser.ask("/desk")[2]
    assert "wallet" not in browser.ask("/desk")[2]
    assert browser.ask("/desk/state")[0] == 403
    assert browser.act(csrf="", command="kill", level="3", confirm="KILL 3")[0] == 403
    assert browser.engine.commands == []


def test_a_code_opens_once(browser):
    """A good code sets a cookie that scripts and other sites cannot use, and is good no second time."""
    cookie = browser.open()[b"set-cookie"].decode()
    assert cookie.startswith(f"{COOKIE}=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "wallet" in browser.ask("/desk")[2]
    stranger = Browser()
    stranger.engine = browser.engine
    stranger.app = browser.app
    assert stranger.ask("/desk/login", "POST", {"code": "GOOD-CODE"})[0] == 403
    assert stranger.cookie == ""


def test_codes_cannot_be_guessed_fast(browser):
    """After some tries in a minute even a good code is refused."""
    for _ in range(TRIES_PER_MINUTE_MAX):
        assert browser.ask("/desk/login", "POST", {"code": "BAD"})[0] == 403
    assert browser.ask("/desk/login", "POST", {"code": "GOOD-CODE"})[0] == 429


@pytest.mark.parametrize("csrf", ["", "wrong", "ünïcode"])
def test_the_token_must_be_right(browser, csrf):
    """A session without its CSRF token does nothing."""
    browser.open()
    status, _, text = browser.act(csrf=csrf, command="close_all", confirm="CLOSE ALL")
    assert (status, browser.engine.commands) == (403, [])
    assert "CSRF" in text


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"command": "kill", "level": "3"}, "KILL 3"),
        ({"command": "unkill"}, "CLEAR"),
        ({"command": "approve", "signal_id": "s1"}, "YES s1"),
        ({"command": "reject", "signal_id": "s1"}, "NO s1"),
        ({"command": "close", "symbol": "btcusdt"}, "CLOSE BTCUSDT"),
        ({"command": "close_all"}, "CLOSE ALL"),
    ],
)
def test_the_words_must_be_typed(browser, form, words):
    """Each action is done only when its own words are typed, and then once, as the page's."""
    browser.open()
    for confirm in ("", "yes", words.lower()):
        assert browser.act(**form, confirm=confirm)[0] == 303
        assert f"type {words} to confirm" in browser.ask("/desk")[2]
    assert browser.engine.commands == []
    assert browser.act(**form, confirm=words)[0] == 303
    [(name, arguments)] = browser.engine.commands
    rest = {k: v for k, v in form.items() if k != "command"}
    assert (name, arguments) == (form["command"], {**rest, "actor": "page"})
    assert "&lt;done&gt;" in browser.ask("/desk")[2]
    assert "&lt;done&gt;" not in browser.ask("/desk")[2]


def test_the_engines_no_is_shown(browser):
    """A refusal of the engine is told in its own words."""
    browser.open()
    browser.engine.fault = UserFault("kill level: found 1, it stands at 3")
    browser.act(command="kill", level="1", confirm="KILL 1")
    assert "it stands at 3" in browser.ask("/desk")[2]


def test_unknown_actions_are_refused(browser):
    """What the desk does not know it does not pass on."""
    browser.open()
    assert browser.act(command="trade", confirm="")[0] == 400
    assert browser.engine.commands == []


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": None},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"host": "evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"content_type": "text/plain"},
        {"content_type": "application/json"},
    ],
)
def test_strangers_cannot_post(browser, headers):
    """A form of another site, name, port or kind is refused before it is read."""
    browser.open()
    body = {"csrf": browser.token(), "command": "close_all", "confirm": "CLOSE ALL"}
    assert browser.ask("/desk/command", "POST", body, **headers)[0] == 403
    assert browser.engine.commands == []


@pytest.mark.parametrize("path", ["/", "/desk", "/desk/state", "/desk/command/x", "/DESK/command"])
def test_nothing_else_takes_a_post(browser, path):
    """POST is for the desk's own paths alone."""
    browser.open()
    assert browser.ask(path, "POST", {"a": "b"})[0] == 403


def test_a_logout_ends_the_session(browser):
    """After a logout the cookie is worth nothing; without its token a logout does nothing."""
    browser.open()
    browser.ask("/desk/logout", "POST", {})
    assert browser.ask("/desk/state")[0] == 200
    browser.ask("/desk/logout", "POST", {"csrf": browser.token()})
    assert browser.ask("/desk/state")[0] == 403


def test_the_desk_may_send_forms_to_itself_alone(browser):
    """The policy of the desk allows its own forms, and scripts only with the answer's nonce."""
    browser.open()
    _, headers, text = browser.ask("/desk")
    policy = headers[b"content-security-policy"].decode()
    assert "form-action 'self'" in policy
    nonce = re.search(r"'nonce-([^']+)'", policy)[1]
    assert f'<script nonce="{nonce}">' in text
