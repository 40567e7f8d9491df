"""Bodies, addresses and heads of the REST service: an answer below 500, and no file outside of the server's folder."""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sonomask"]):
    from fastapi.testclient import TestClient

    from sonomask.server.guard import Access
    from sonomask.server.jobs import Runner
    from sonomask.server.limits import ServerLimits
    from sonomask.server.serve import application
    from sonomask.server.work import Segment

MODEL = "avs_mini.synthetic"
ROOT = Path(tempfile.mkdtemp())
(ROOT / "server").mkdir()
RUNNER = Runner(Segment({MODEL: MODEL}, "cpu"), ROOT / "server", ServerLimits(bytes=2**16, seconds=5, queue=2))
ACCESS = Access(("testserver", "localhost", "127.0.0.1"))
CLIENT = TestClient(application(RUNNER, {MODEL: "Drawn things."}, ACCESS), raise_server_exceptions=True)
PATHS = (
    "jobs", "jobs/{}", "jobs/{}/events", "jobs/{}/preview", "jobs/{}/files/{}", "jobs/{}/archive", "jobs/{}/view/{}",
    "jobs/{}/cancel", "uploads", "uploads/{}", "about", "health", "{}", "../{}", "../static/{}", "../job/{}", "session",
)  # fmt: skip
METHODS = ("GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS")
KINDS = ("application/json", "video/mp4", "text/plain", "multipart/form-data; boundary=x")


def text(provider, most):
    """Some letters that a client of HTTP can send."""
    return provider.ConsumeBytes(provider.ConsumeIntInRange(0, most)).decode("latin-1")


def one(data):
    """One request with a drawn method, path, body and heads."""
    provider = atheris.FuzzedDataProvider(data)
    method, kind = provider.PickValueInList(list(METHODS)), provider.PickValueInList(list(KINDS))
    path = provider.PickValueInList(list(PATHS)).format(text(provider, 12), text(provider, 12))
    heads = {"Content-Type": kind, "X-Name": text(provider, 20), "Range": text(provider, 12)}
    body = provider.ConsumeBytes(provider.remaining_bytes())
    if path == "events":  # never ends
        return
    if kind == "application/json" and body[:1] != b"{":
        body = b'{"upload": "' + body.replace(b'"', b"") + b'", "model": "' + MODEL.encode() + b'"}'
    try:
        request = CLIENT.build_request(method, "/v1/" + path, content=body, headers=heads)
    except Exception:  # the client itself refuses to send it
        return
    answer = CLIENT.send(request)
    assert answer.status_code < 500 or answer.status_code == 503, (answer.status_code, answer.text)
    assert sorted(p.name for p in ROOT.iterdir()) == ["server"]


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
