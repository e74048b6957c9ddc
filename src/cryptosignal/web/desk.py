"""The desk in the browser: what waits for a yes, what is held, the kill switch; the page's only writer.

A person opens it with a code of the command line (`desk-code`), which only the owner of the engine's
socket gets. Each action needs the session's cookie, its CSRF token and a typed confirmation, besides
the checks of Host and Origin that every request passes (`web.guard`). Plain HTML: it works while the
rest of the page does not.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final
from urllib.parse import parse_qs

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cryptosignal.ground.calendar import utc_text
from cryptosignal.ground.clock import host_mono_ns
from cryptosignal.ground.faults import Fault
from cryptosignal.modes.snapshots import SnapshotClient

COOKIE: Final = "cs-desk"
SESSION_S: Final = 12 * 3_600.0
SESSIONS_MAX: Final = 16
BODY_BYTES_MAX: Final = 4_096
TRIES_PER_MINUTE_MAX: Final = 10
_MINUTE_NS: Final = 60 * 10**9
KILL_WORDS: Final = {
    0: "off",
    1: "1: no new entries",
    2: "2: entries are cancelled",
    3: "3: everything is closed",
}


@dataclass(slots=True)
class Session:
    """One browser that has shown a code: its CSRF token, and what it is to be told next."""

    csrf: str
    born_ns: int
    said: list[str] = field(default_factory=list)


class Sessions:
    """Sessions by cookie, in memory: a restart of the page ends them all."""

    def __init__(self) -> None:
        self._known: dict[str, Session] = {}
        self._tries_ns: list[int] = []

    def find(self, request: Request) -> Session | None:
        """The live session of a request."""
        token = request.cookies.get(COOKIE, "")
        session = self._known.get(token)
        if session is None or (host_mono_ns() - session.born_ns) * 1e-9 > SESSION_S:
            self._known.pop(token, None)
            return None
        return session

    def open(self) -> str:
        """A new session's cookie."""
        while len(self._known) >= SESSIONS_MAX:
            del self._known[next(iter(self._known))]
        token = secrets.token_urlsafe(32)  # ambient-ok: a cookie must not be guessable
        csrf = secrets.token_urlsafe(32)  # ambient-ok: a CSRF token must not be guessable
        self._known[token] = Session(csrf, host_mono_ns())
        return token

    def end(self, request: Request) -> None:
        """Forget the request's session."""
        self._known.pop(request.cookies.get(COOKIE, ""), None)

    def may_try(self) -> bool:
        """Whether another code may be tried now: so many a minute, whoever asks."""
        now_ns = host_mono_ns()
        self._tries_ns = [ns for ns in self._tries_ns if now_ns - ns < _MINUTE_NS]
        self._tries_ns.append(now_ns)
        return len(self._tries_ns) <= TRIES_PER_MINUTE_MAX


def confirmation_of(command: str, form: Mapping[str, str]) -> str:
    """What a person must type for an action: it names what will happen."""
    return {
        "kill": f"KILL {form.get('level', '')}",
        "unkill": "CLEAR",
        "approve": f"YES {form.get('signal_id', '')}",
        "reject": f"NO {form.get('signal_id', '')}",
        "close": f"CLOSE {form.get('symbol', '').upper()}",
        "close_all": "CLOSE ALL",
    }.get(command, "")


class Desk:
    """The routes below `/desk`."""

    def __init__(self, client: SnapshotClient) -> None:
        self._client = client
        self._sessions = Sessions()

    def add_to(self, app: FastAPI) -> None:
        """Serve them from `app`."""
        for path, serve, methods in (
            ("/desk", self.show, ["GET"]),
            ("/desk/state", self.state, ["GET"]),
            ("/desk/login", self.log_in, ["POST"]),
            ("/desk/logout", self.log_out, ["POST"]),
            ("/desk/command", self.act, ["POST"]),
        ):
            app.add_route(path, serve, methods=methods)

    async def show(self, request: Request) -> Response:
        """The desk, or the door."""
        session = self._sessions.find(request)
        if session is None:
            return _page(_DOOR)
        said, session.said = session.said, []
        words = "".join(f'<p class="said" role="status">{escape(line)}</p>' for line in said)
        return _page(words + await self._state_html() + _forms(session.csrf))

    async def state(self, request: Request) -> Response:
        """The part of the desk that changes by itself."""
        if self._sessions.find(request) is None:
            return HTMLResponse("no session", status_code=403)
        return HTMLResponse(await self._state_html())

    async def log_in(self, request: Request) -> Response:
        """A code for a session."""
        form = await _form(request)
        if not self._sessions.may_try():
            return _page(_DOOR_BUSY, status=429)
        try:
            answer = await self._client.ask("redeem", {"code": form.get("code", "")})
        except Fault as fault:
            return _page(_door(str(fault)), status=503)
        if not answer.get("ok"):
            return _page(_door("That code is not, or no more, good."), status=403)
        response = RedirectResponse("/desk", status_code=303)
        response.set_cookie(
            COOKIE, self._sessions.open(), max_age=int(SESSION_S), path="/desk",
            httponly=True, samesite="strict",
        )  # fmt: skip
        return response

    async def log_out(self, request: Request) -> Response:
        """End the session."""
        session, form = self._sessions.find(request), await _form(request)
        if session is not None and _same(form.get("csrf", ""), session.csrf):
            self._sessions.end(request)
        return RedirectResponse("/desk", status_code=303)

    async def act(self, request: Request) -> Response:
        """One action: session, token, confirmation, then the engine's own answer."""
        session, form = self._sessions.find(request), await _form(request)
        if session is None:
            return HTMLResponse("refused: no session", status_code=403)
        if not _same(form.get("csrf", ""), session.csrf):
            return HTMLResponse("refused: the CSRF token is missing or wrong", status_code=403)
        command = form.get("command", "")
        wanted = confirmation_of(command, form)
        if not wanted:
            return HTMLResponse("refused: no such action", status_code=400)
        if form.get("confirm", "").strip() != wanted:
            session.said.append(f"Not done: type {wanted} to confirm.")
            return RedirectResponse("/desk", status_code=303)
        arguments = {k: form[k] for k in ("level", "signal_id", "symbol") if form.get(k)}
        try:
            answer = await self._client.command(command, {**arguments, "actor": "page"})
            session.said.append(str(answer.get("said", "done")))
        except Fault as fault:
            session.said.append(f"Not done: {fault}")
        return RedirectResponse("/desk", status_code=303)

    async def _state_html(self) -> str:
        try:
            body = await self._client.ask("desk")
        except Fault as fault:
            return f'<div id="state"><p class="bad" role="alert">{escape(str(fault))}</p></div>'
        return f'<div id="state">{_facts(body)}{_waiting(body)}{_positions(body)}</div>'


# ---- words ----------------------------------------------------------------------------------
def _facts(body: dict[str, Any]) -> str:
    level = int(body["kill"])
    cells = {
        "as of": utc_text(int(body["time_ms"])) + " UTC",
        "mode": body["mode"],
        "account": f"{body['account']}, {body['account_state']}",
        "kill switch": KILL_WORDS.get(level, str(level)),
        "wallet": f"{body['wallet_usdt']} USDT",
        "lost today": f"{body['day_loss_usdt']} USDT",
        "account read": "yes" if body["is_reconciled"] else "not yet",
    }
    tone = "bad" if level else "good"
    inner = "".join(
        f'<span class="{tone if name == "kill switch" else ""}"><b>{name}</b> {escape(str(v))}</span>'
        for name, v in cells.items()
    )
    return f'<p class="facts" data-kill="{level}">{inner}</p>'


_WAITING_HEAD = ("id", "symbol", "side", "strength", "p", "entry", "stop", "targets",
                 "price then", "price now", "drift bps", "expires", "")  # fmt: skip
_POSITION_HEAD = ("symbol", "side", "quantity", "entry", "mark", "pnl USDT", "stop", "state")


def _waiting(body: dict[str, Any]) -> str:
    rows = [
        (w["signal_id"], w["symbol"], w["direction"], w["strength"], w["p"],
         f"{w['entry_low']} – {w['entry_high']}", w["stop"], f"{w['tp1']} / {w['tp2']}",
         w["asked_price"], w["price"] or "unknown", w["drift_bps"], f"{w['expires_in_s']} s", w["late"])
        for w in body["waiting"]
    ]  # fmt: skip
    return "<h2>Waiting for a yes</h2>" + _table(_WAITING_HEAD, rows, "nothing waits")


def _positions(body: dict[str, Any]) -> str:
    rows = [
        (p["symbol"], p["direction"], p["quantity"], p["entry_price"], p["mark"] or "–",
         p["pnl_usdt"] or "–", p["stop"] or "NO CONFIRMED STOP",
         p["closing"] or ("not ours" if p["owner"] == "foreign" else "held"))
        for p in body["positions"]
    ]  # fmt: skip
    return "<h2>Positions</h2>" + _table(_POSITION_HEAD, rows, "none")


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]], empty: str) -> str:
    if not rows:
        return f"<p>{empty}</p>"
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _forms(csrf: str) -> str:
    def form(command: str, title: str, fields: str, hint: str) -> str:
        return (
            f'<form method="post" action="/desk/command" id="{command}" autocomplete="off">'
            f'<input type="hidden" name="csrf" value="{csrf}">'
            f'<input type="hidden" name="command" value="{command}"><b>{title}</b>{fields}'
            f'<input name="confirm" placeholder="{hint}" aria-label="confirm {command}" required>'
            f"<button>{title}</button></form>"
        )

    levels = "".join(f"<option>{level}</option>" for level in (1, 2, 3))
    signal = '<input name="signal_id" placeholder="signal id" required>'
    symbol = '<input name="symbol" placeholder="symbol" required>'
    return (
        '<div class="forms">'
        + form("approve", "Yes", signal, "YES and the signal id")
        + form("reject", "No", signal, "NO and the signal id")
        + form("close", "Close", symbol, "CLOSE and the symbol")
        + form("close_all", "Close all", "", "CLOSE ALL")
        + form("kill", "Kill", f'<select name="level">{levels}</select>', "KILL and the level")
        + form("unkill", "Release", "", "CLEAR")
        + '<form method="post" action="/desk/logout">'
        + f'<input type="hidden" name="csrf" value="{csrf}"><button>Log out</button></form></div>'
        + f"<script>{_REFRESH}</script>"
    )


def _door(why: str = "") -> str:
    word = f'<p class="bad" role="alert">{escape(why)}</p>' if why else ""
    return (
        f"{word}<p>To act from here, run <code>cryptosignal desk-code</code> where the engine runs,"
        " and enter its code within two minutes.</p>"
        '<form method="post" action="/desk/login" autocomplete="off">'
        '<input name="code" placeholder="code" aria-label="code" required autofocus>'
        "<button>Open</button></form>"
    )


_DOOR = _door()
_DOOR_BUSY = _door("Too many tries in a minute: wait.")
_REFRESH = """
setInterval(async () => {
  const answer = await fetch("/desk/state", {cache: "no-store"}).catch(() => null);
  const box = document.getElementById("state");
  if (answer && answer.ok) box.outerHTML = await answer.text();
  else box.classList.add("stale");
}, 2000);
"""
_STYLE = """
body{background:#0b0f14;color:#d7dde5;font:14px/1.45 system-ui,sans-serif;margin:1.2rem}
a{color:#4c9aff}h1{font-size:1.1rem}h2{font-size:1rem;margin:1rem 0 .3rem}
table{border-collapse:collapse}td,th{padding:.2rem .6rem;text-align:left;border-bottom:1px solid #243040}
.facts span{margin-right:1.4rem}.facts b{color:#8594a6;font-weight:500}.bad{color:#ff6b6b}.good{color:#26a69a}
.said{background:#16202c;padding:.5rem .8rem;border-left:3px solid #4c9aff}.stale{opacity:.35}
form{margin:.35rem 0}form b{display:inline-block;width:5rem}
input,select,button{background:#16202c;color:inherit;border:1px solid #34465c}
input,select,button{padding:.25rem .5rem;margin-right:.4rem}
"""


def _page(inner: str, status: int = 200) -> HTMLResponse:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Desk · CryptoSignal</title>'
        f'<style>{_STYLE}</style></head><body><h1><a href="/">CryptoSignal</a> · desk</h1>'
        f"{inner}</body></html>"
    )
    return HTMLResponse(text, status_code=status, headers={"cache-control": "no-store"})


# ---- what comes in --------------------------------------------------------------------------
async def _form(request: Request) -> dict[str, str]:
    """The fields of a urlencoded body, the first of each name; nothing of one too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return {}
    fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=20)
    return {name: values[0] for name, values in fields.items()}


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())
