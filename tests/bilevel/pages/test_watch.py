"""The live page: its token, its address, runs that are half written, and news."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bilevel.experiments import RunFolder, configured, create_run, default_config, train
from bilevel.methods import Metrics
from bilevel.pages import Watcher


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Watcher]:
    (tmp_path / "runs").mkdir()
    with Watcher(tmp_path / "runs", rest=0.0) as serving:
        thread = threading.Thread(target=serving.serve)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def ask(
    watcher: Watcher, path: str = "/", token: str | None = None, host: str | None = None, method: str = "GET"
) -> tuple[int, str]:
    address = urlsplit(watcher.address)
    connection = http.client.HTTPConnection("127.0.0.1", address.port or 0, timeout=60)
    target = f"{path}?token={watcher.token if token is None else token}"
    connection.request(method, target, headers={"Host": host or address.netloc})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def stopped_run(path: Path) -> RunFolder:
    """A run that was stopped after 4 of 9 outer steps."""
    settings = {"seeds": 3, "outer_steps": 9, "checkpoint_every": 2}
    folder = create_run(configured(default_config("chicken", "tos"), settings), path)

    def stop(done: int, metrics: Metrics) -> None:
        if done == 5:
            raise OSError("The disk is full.")

    with pytest.raises(OSError, match="The disk is full"):
        train(folder, listener=stop)
    return folder


def test_the_page_follows_a_run_from_nothing_to_its_end(watcher: Watcher) -> None:
    assert "No run is finished yet." in ask(watcher)[1]
    folder = stopped_run(watcher.folder / "tos")
    status, text = ask(watcher)
    assert status == 200
    assert "tos is saved after 4 of 9 outer steps." in " ".join(text.split())
    assert "tos (in progress)" in text
    assert '"x":[1,2,3,4]' in text
    before = ask(watcher, "/state")[1]
    assert f'data-state="{before}"' in text
    train(folder)
    assert ask(watcher, "/state")[1] != before
    text = ask(watcher)[1]
    assert "in progress" not in text
    assert "chicken, 3 seeds" in text


@pytest.mark.parametrize("size", [0, 10, 60, 100])
def test_a_half_written_file_breaks_nothing(watcher: Watcher, size: int) -> None:
    folder = stopped_run(watcher.folder / "tos")
    for path in (folder.metrics, folder.config):
        path.write_bytes(path.read_bytes()[:size])
        assert ask(watcher)[0] == 200


@pytest.mark.parametrize("token", ["", "wrong", "%C3%A9"])
def test_without_the_token_nothing_is_told(watcher: Watcher, token: str) -> None:
    for path in ("/", "/state", "/else"):
        status, text = ask(watcher, path, token)
        assert (status, text) == (403, "The address needs its token.\n")


def test_another_name_of_the_host_is_refused(watcher: Watcher) -> None:
    assert ask(watcher, host="evil.example:80")[0] == 403
    assert ask(watcher, host="localhost:80")[0] == 200


def test_nothing_else_is_served(watcher: Watcher) -> None:
    stopped_run(watcher.folder / "tos")
    for path in ("/tos/config.json", "/../", "/page.html"):
        assert ask(watcher, path)[0] == 404
    assert ask(watcher, method="POST")[0] == 501


def test_a_page_that_takes_long_is_not_built_at_once_again(tmp_path: Path) -> None:
    with Watcher(tmp_path, rest=1e6) as watcher:
        before, state = watcher.page(), watcher.state()
        stopped_run(tmp_path / "tos")
        assert watcher.state() == state
        assert watcher.page() == before


def test_it_listens_on_the_loopback_address_alone(watcher: Watcher) -> None:
    assert watcher.address.startswith("http://127.0.0.1:")
    with pytest.raises(OSError, match="in use"):
        Watcher(watcher.folder, urlsplit(watcher.address).port or 0)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no folder .*nothing"):
        Watcher(tmp_path / "nothing")
