"""Only loopback names, only reading, and a policy that lets nothing foreign in."""

from __future__ import annotations

import re

import pytest

from cryptosignal.web.guard import Guard, policy, refusal


def scope(kind="http", method="GET", **headers):
    named = {"host": "127.0.0.1:8787"} | {k.replace("_", "-"): v for k, v in headers.items()}
    pairs = [(k.encode(), v.encode()) for k, v in named.items() if v is not None]
    return {"type": kind, "method": method, "headers": pairs, "path": "/"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8787", "localhost:9000", "[::1]:8787", "LOCALHOST", "127.0.0.1"]
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_loopback_names_are_served(kind, host):
    """Any port of a loopback name is served, so that an SSH tunnel may end elsewhere."""
    assert refusal(scope(kind, host=host)) is None
    assert refusal(scope(kind, host=host, origin=f"http://{host}")) is None


@pytest.mark.parametrize(
    "host",
    [None, "", "evil.example", "evil.example:8787", "127.0.0.1.evil.example", "192.168.1.7:8787",
     "localhost.evil.example", "[::1", "127.0.0.1@evil.example", "0.0.0.0:8787"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_other_hosts_are_refused(kind, host):
    """A name that is not loopback is refused, whatever it resolves to (DNS rebinding)."""
    assert refusal(scope(kind, host=host)).startswith("Host: found")


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "https://127.0.0.1:8787",
        "http://127.0.0.1:9999",
        "http://localhost:8787",
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_other_origins_are_refused(kind, origin):
    """Scripts of any other site, port or name are refused, also on the WebSocket."""
    assert refusal(scope(kind, origin=origin)).startswith("Origin: found")


def test_a_cross_site_socket_is_refused():
    """A WebSocket that the browser calls cross-site is refused, a link from elsewhere is not."""
    assert refusal(scope("websocket", sec_fetch_site="cross-site")).startswith("Sec-Fetch-Site")
    assert refusal(scope("http", sec_fetch_site="cross-site")) is None


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"]
)
def test_only_reading_methods(method):
    """No method but GET and HEAD is answered."""
    assert refusal(scope(method=method)).startswith(f"method: found {method}")


def test_the_policy_names_no_foreign_source():
    """Every source of the policy is this page itself, data for images and fonts, or a nonce."""
    text = policy("abc")
    assert "default-src 'none'" in text
    assert "script-src 'self' 'nonce-abc' 'unsafe-eval'" in text
    assert "unsafe-inline" not in text.split("style-src")[0]
    assert not re.search(r"https?:|\*", text)
    for directive in ("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"):
        assert directive in text


async def call(app_messages, **kwargs):
    seen, sent = [], []

    async def app(scope, receive, send):
        seen.append(scope)
        for message in app_messages:
            await send(message)

    async def send(message):
        sent.append(message)

    await Guard(app)(scope(**kwargs), None, send)
    return seen, sent


def answer(kind, *parts):
    start = {"type": "http.response.start", "status": 200,
             "headers": [(b"content-type", kind.encode()), (b"content-length", b"1")]}  # fmt: skip
    bodies = [
        {"type": "http.response.body", "body": part, "more_body": i + 1 < len(parts)}
        for i, part in enumerate(parts)
    ]
    return [start, *bodies]


async def test_scripts_of_a_page_get_its_nonce():
    """Each script tag of an HTML answer carries the nonce that the answer's policy names."""
    page = answer("text/html; charset=utf-8", b"<p><scr", b'ipt type="module">1</script><script>2')
    _, (start, body) = await call(page)
    headers = dict(start["headers"])
    nonce = re.search(r"'nonce-([^']+)'", headers[b"content-security-policy"].decode())[1]
    assert body["body"].count(f'<script nonce="{nonce}"'.encode()) == 2
    assert int(headers[b"content-length"]) == len(body["body"])
    assert headers[b"x-frame-options"] == b"DENY"


async def test_every_answer_has_a_nonce_of_its_own():
    """Two answers never share a nonce."""
    page = answer("text/html", b"<script>")
    first, second = [(await call(page))[1][1]["body"] for _ in range(2)]
    assert first != second


async def test_other_answers_pass_unchanged():
    """Assets stream through as they are, with the security headers added."""
    _, sent = await call(answer("text/javascript", b"<script", b">"))
    assert [m["body"] for m in sent[1:]] == [b"<script", b">"]
    assert dict(sent[0]["headers"])[b"x-content-type-options"] == b"nosniff"


async def test_a_stranger_gets_one_line_and_nothing_runs():
    """A refused request never reaches the application."""
    seen, (start, body) = await call([], host="evil.example")
    assert (seen, start["status"]) == ([], 403)
    assert body["body"] == (
        b"refused: Host: found 'evil.example', allowed: 127.0.0.1, localhost, ::1\n"
    )
    seen, sent = await call([], kind="websocket", host="evil.example")
    assert seen == []
    assert sent[0]["type"] == "websocket.close"


async def test_forwarding_headers_are_dropped():
    """What a client says of proxies never reaches the page's templates."""
    seen, _ = await call([], x_forwarded_prefix="/evil", forwarded="for=1", accept="*/*")
    assert [name for name, _ in seen[0]["headers"]] == [b"host", b"accept"]


async def test_lifespan_passes():
    """Start-up and shutdown messages of the server are none of the guard's business."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    await Guard(app)({"type": "lifespan"}, None, None)
    assert seen == ["lifespan"]
