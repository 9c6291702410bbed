"""`bilevel watch`: the page of a folder, until Ctrl-C, and bad input."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.bilevel.cli.conftest import Call


def test_it_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bilevel", "watch", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.fullmatch(r"Open (http://127\.0\.0\.1:\d+/\?token=[\w-]+)\n", process.stdout.readline())
        assert found is not None
        with urllib.request.urlopen(found[1]) as answer:
            assert b"No run is finished yet." in answer.read()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_bad_input_gets_one_sentence(call: Call) -> None:
    assert "There is no folder nothing." in call("watch", "nothing").sentence()
    assert "port must be from 0 to 65535, not 70000." in call("watch", ".", "--port", "70000").sentence()
