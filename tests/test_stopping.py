"""What signals may not cut in two is not cut, in a process with threads either."""

import subprocess
import sys

import pytest

from tests.conftest import environment

# Python runs a handler in the main thread, whichever thread of the process the system gave the signal to
SCRIPT = """
import os, signal, sys, threading, time
from stillroom import stopping

signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may ignore it
stopping.listen()
threading.Thread(target=threading.Event().wait, daemon=True).start()
done = []
try:
    with stopping.blocked():
        with stopping.blocked():
            os.kill(os.getpid(), signal.{name})
            time.sleep(0.2)
            done.append("inner")
        done.append("outer")
    done.append("after")
except KeyboardInterrupt:
    done.append("stopped")
print(*done, stopping.asked())
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_that_another_thread_gets_waits_too(name: str) -> None:
    script = SCRIPT.format(name=name)
    told = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["inner", "outer", "stopped", "True"]
