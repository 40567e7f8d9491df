"""Who may come in, by which name, from which page, with which token."""

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
from fastapi.testclient import TestClient

from sonomask.server.guard import Access, Guard, client_of
from sonomask.server.serve import ListenOptions, application

TOKEN = "0123456789abcdef0123"  # noqa: S105
HERE = {"Host": "127.0.0.1:7860"}


def guarded(runner, access):
    return TestClient(application(runner, {"m": "A model."}, access), base_url="http://127.0.0.1:7860")


@pytest.fixture
def locked(runner):
    return guarded(runner, Access(token=TOKEN))


def test_nothing_may_be_loaded_from_elsewhere_and_no_code_within_a_page(client):
    for path in ("/", "/v1/health", "/nothing", "/static/style.css"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert not {"unsafe-inline", "unsafe-eval", "http:", "https:", "data:", "*"} & set(
            policy.replace("'", " ").split()
        )


@pytest.mark.parametrize("path", ["/", "/job/x"])
def test_pages_have_no_code_and_no_style_within(client, path):
    page = client.get(path).text
    assert "<script>" not in page
    assert " style=" not in page
    assert "<style" not in page
    assert not any(f" on{event}=" in page for event in ("click", "load", "error", "submit"))
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


@pytest.mark.parametrize(
    ("host", "access", "served"),
    [
        ("127.0.0.1:7860", Access(), True),
        ("localhost", Access(), True),
        ("[::1]:7860", Access(), True),
        ("evil.example", Access(), False),
        ("192.168.1.5:7860", Access(), False),
        ("192.168.1.5:7860", Access(addresses=True), True),
        ("evil.example", Access(addresses=True), False),
        ("media.example.org", Access(("media.example.org",)), True),
        ("", Access(addresses=True), False),
    ],
)
def test_only_its_own_names_are_served(host, access, served):
    assert access.serves(host) is served


def test_a_page_of_another_site_is_refused_and_one_behind_a_tls_proxy_is_not(runner):
    client = guarded(runner, Access(("127.0.0.1", "media.example.org"), origins=("media.example.org",)))
    for origin, status in (
        ("https://media.example.org", 200), ("http://127.0.0.1:7860", 200), ("http://127.0.0.1:9999", 403),
        ("https://evil.example", 403), ("null", 403), ("https://media.example.org.evil.example", 403),
    ):  # fmt: skip
        assert client.get("/v1/health", headers={**HERE, "Origin": origin}).status_code == status, origin


def test_without_the_token_nothing_but_health_is_told(locked):
    assert locked.get("/v1/health").status_code == 200
    for path in ("/v1/about", "/v1/jobs", "/v1/openapi.json", "/static/home.js", "/job/x", "/"):
        answer = locked.get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["status"] == 401


@pytest.mark.parametrize("word", ["", "wrong", TOKEN[:-1], TOKEN + "x", "ü" * 20])
def test_a_wrong_token_is_refused(locked, word):
    assert locked.get("/v1/about", headers={"Authorization": f"Bearer {word}".encode()}).status_code == 401
    assert locked.get("/", params={"token": word}).status_code == 401


def test_a_program_brings_the_token_as_a_bearer(locked):
    assert locked.get("/v1/about", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_link_with_the_token_becomes_a_cookie_that_other_sites_can_not_use(locked):
    answer = locked.get("/", params={"token": TOKEN})
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert locked.get("/v1/about").status_code == 200


def test_a_token_in_an_address_of_the_service_is_not_taken(locked):
    assert locked.get("/v1/about", params={"token": TOKEN}).status_code == 401


def test_a_person_without_the_token_gets_a_page_that_asks_for_it(locked):
    page = locked.get("/", headers={"Accept": "text/html"})
    assert page.status_code == 401
    assert 'name="token"' in page.text
    assert locked.get("/static/style.css").status_code == 200


def test_the_session_s_cookie_is_strict_and_out_of_reach_of_scripts(client):
    cookie = client.post("/v1/session").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert "set-cookie" not in client.get("/").headers  # a link from elsewhere would come without the old one
    client.cookies.clear()


@pytest.mark.parametrize("path", ["/v1/about", "/sonomask/v1/about"], ids=["cut off by the proxy", "left on"])
def test_a_proxy_may_show_it_under_a_path(runner, path):
    client = guarded(runner, Access(root="/sonomask"))
    assert client.get(path).status_code == 200
    assert client.get(path.replace("v1/about", "")).text.startswith("<!doctype html>")
    assert client.get(path.replace("v1/about", "v1/openapi.json")).json()["servers"] == [{"url": "/sonomask"}]
    assert "Path=/sonomask" in client.post(path.replace("v1/about", "v1/session")).headers["set-cookie"]


def test_an_ipv6_client_is_its_network():
    assert client_of({"client": ("2001:db8::1", 1)}) == client_of({"client": ("2001:db8::ffff:2", 1)})
    assert client_of({"client": ("2001:db8:0:1::1", 1)}) != client_of({"client": ("2001:db8::1", 1)})
    assert client_of({"client": ("::ffff:1.2.3.4", 1)}) == "1.2.3.4"
    assert client_of({"client": None}) == "unknown"


def test_web_sockets_are_not_served():
    import asyncio

    said = []

    async def send(message):
        said.append(message)

    asyncio.run(Guard(None)({"type": "websocket"}, None, send))
    assert said == [{"type": "websocket.close", "code": 1008}]


def test_a_door_to_others_makes_a_token_and_one_to_this_machine_does_not():
    assert ListenOptions().access().token is None
    made = ListenOptions("0.0.0.0").access()  # noqa: S104
    assert len(made.token) >= 32
    assert made.token != ListenOptions("0.0.0.0").access().token  # noqa: S104
    assert ListenOptions("192.168.1.5").access().serves("192.168.1.5:7860")
    assert ListenOptions("127.0.0.1", allowed_hosts=("media.example.org",)).access().serves("media.example.org")


@pytest.mark.parametrize(
    "options", [{"port": 99999}, {"port": -1}, {"token": "short"}, {"root_path": "x"}, {"root_path": "/"},
                {"allowed_hosts": ("http://x",)}, {"allowed_hosts": ("*",)}],
)  # fmt: skip
def test_a_door_that_can_not_be_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ListenOptions(**options)
