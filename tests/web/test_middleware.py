"""By which names a real server may be asked."""

import http.client
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.test_server import ask, begin, end


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    process, address = begin(home / "model.onnx", "--allowed-host", "Ears.example", "--allowed-host", "bücher.example")
    yield address
    assert end(process) == (0, "")


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST:8000", "a.localhost:1", "localhost.", "127.0.0.1:8000", "[::1]:8000", "10.1.2.3"),
        *("ears.example", "EARS.example:443", "ears.example.", "xn--bcher-kva.example", ""),
    ],
)
def test_it_answers_to_addresses_and_its_names(address: str, host: str) -> None:
    assert ask(f"{address}/health", Host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "ears.example.evil.example", "xlocalhost", "127.0.0.1.evil.example", "[x"],
)
def test_a_page_whose_name_was_led_here_is_refused(address: str, host: str) -> None:
    said = f"asked as {host}, which is no name of this server; where it is, pass --allowed-host NAME"
    for path, body in (("/", None), ("/api/openapi.json", None), ("/absent", None), ("/api/predict", b"x")):
        status, headers, told = ask(address + path, body, Host=host)
        assert (status, told) == (421, {"error": said})
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_who_names_no_host_is_no_browser(address: str) -> None:
    probe = http.client.HTTPConnection(address.removeprefix("http://"))
    probe._http_vsn_str = "HTTP/1.0"  # type: ignore[attr-defined]  # as haproxy's checks are
    probe.putrequest("GET", "/health", skip_host=True)
    probe.endheaders()
    assert probe.getresponse().status == 200


def test_a_server_that_others_reach_answers_to_any_name_until_it_is_told_which(home: Path) -> None:
    for more, status in (((), 200), (("--allowed-host", "ears.example"), 421)):
        process, address = begin(home / "model.onnx", "--host", "0.0.0.0", *more)
        address = address.replace("0.0.0.0", "127.0.0.1")
        assert ask(f"{address}/health", Host="earsight.default.svc")[0] == status
        assert ask(f"{address}/health")[0] == 200  # by its address, as probes of Kubernetes ask
        assert end(process) == (0, "")


@pytest.mark.parametrize("name", ["https://ears.example", "ears.example:443", "*.example", "a..b", "x" * 64])
def test_what_is_no_name_is_refused(home: Path, name: str) -> None:
    command = [sys.executable, "-m", "earsight", "serve", home / "model.onnx", "--port", "0", "--allowed-host", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"--allowed-host {name} is not the name of a host" in done.stderr
