"""A file is either there whole, with the right hash, or not at all; every way to fail is one clear error."""

import hashlib
import io
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from ignite_recipes.data.download import DownloadError, fetch

GOOD = bytes(range(256)) * 1000
MD5 = hashlib.md5(GOOD).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/silent":  # closes without a word
            return
        body = {"/wrong": b"<html>Please log in</html>", "/empty": b""}.get(self.path, GOOD)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/half" else body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def url(server, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.requests.clear()
    return f"http://127.0.0.1:{server.server_port}"


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_good_file_comes_whole_into_a_folder_that_is_made(url, tmp_path):
    path = tmp_path / "deep" / "folder" / "file.gz"
    fetch(f"{url}/good", path, MD5)
    assert path.read_bytes() == GOOD
    assert files(tmp_path) == ["file.gz"]


def test_a_path_may_be_a_string(url, tmp_path):
    fetch(f"{url}/good", str(tmp_path / "file"), MD5)
    assert files(tmp_path) == ["file"]


def test_a_file_that_is_there_is_left_as_it_is_and_nothing_is_asked_for(url, server, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    fetch(f"{url}/good", path, MD5)
    assert path.read_bytes() == b"mine"
    assert server.requests == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("half", "128000 bytes came whose MD5 is .*, not .*: cut short, or another file", id="half"),
        pytest.param("wrong", "26 bytes came whose MD5", id="another file"),
        pytest.param("empty", "0 bytes came whose MD5", id="an empty file"),
        pytest.param("missing", "HTTP Error 404: Not Found", id="not there"),
        pytest.param("silent", "Remote end closed connection without response", id="no answer"),
    ],
)
def test_a_failure_says_what_was_fetched_what_happened_and_what_to_do_and_leaves_nothing(url, tmp_path, name, reason):
    message = f"could not fetch {url}/{name}: {reason}.*; try again, or put the file at {tmp_path}/file.gz by hand"
    with pytest.raises(DownloadError, match=message):
        fetch(f"{url}/{name}", tmp_path / "file.gz", MD5)
    assert files(tmp_path) == []


def test_a_server_that_refuses_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as closed:  # bound, but not listening
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/file"
        with pytest.raises(DownloadError, match=f"could not fetch {url}: .*refused"):
            fetch(url, tmp_path / "file", MD5)
    assert files(tmp_path) == []


@pytest.mark.parametrize("url", ["nonsense", "", "nonsense://x/y", "http:///x", "http://a b/", "file:///nowhere/x"])
def test_an_address_that_is_none_is_a_download_error_too(tmp_path, url):
    with pytest.raises(DownloadError, match="could not fetch"):
        fetch(url, tmp_path / "file", MD5)
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_a_download_error_too(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(DownloadError, match=r"could not fetch http://127.0.0.1:1/: .*file"):
        fetch("http://127.0.0.1:1/", tmp_path / "file" / "inner", MD5)
    assert files(tmp_path) == ["file"]


def test_an_interrupt_in_the_middle_leaves_nothing(url, tmp_path, monkeypatch):
    def interrupted(url, part, progress):
        whole(url, part, progress=progress)
        raise KeyboardInterrupt

    whole = torch.hub.download_url_to_file
    monkeypatch.setattr(torch.hub, "download_url_to_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(f"{url}/good", tmp_path / "file", MD5)
    assert files(tmp_path) == []


def test_two_that_fetch_the_same_file_at_once_do_not_disturb_each_other(url, tmp_path):
    threads = [threading.Thread(target=fetch, args=(f"{url}/good", tmp_path / "file", MD5)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == GOOD


@pytest.mark.parametrize("is_terminal", [False, True])
def test_progress_is_shown_on_a_terminal_only(url, tmp_path, monkeypatch, is_terminal):
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stderr", stream)
    fetch(f"{url}/good", tmp_path / "file", MD5)
    assert ("100%" in stream.getvalue()) is is_terminal
    assert is_terminal or stream.getvalue() == ""


def test_without_a_standard_error_it_is_silent(url, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    fetch(f"{url}/good", tmp_path / "file", MD5)
    assert files(tmp_path) == ["file"]
