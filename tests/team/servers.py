"""Real servers on loopback: OpenSSH with keys of its own, S3 (moto), HTTP that counts, and fails on order."""

import functools
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.warm import LONGEST

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
BUCKET = "lab"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen) -> None:
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the server does not answer")


@contextmanager
def ssh_server(folder: Path) -> Iterator[dict[str, str]]:
    """OpenSSH on loopback; yields the environment in which the host `lab` is reached: HOME has the keys."""
    if SSHD is None:
        pytest.skip("no sshd here")
    home, port = folder / "home", free_port()
    keys = home / ".ssh"
    keys.mkdir(parents=True, mode=0o700)
    for name in ("host", "id_ed25519"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
    shutil.copy(keys / "id_ed25519.pub", keys / "authorized_keys")
    host = " ".join((keys / "host.pub").read_text().split()[:2])
    (keys / "known_hosts").write_text(f"[127.0.0.1]:{port} {host}\n")
    (keys / "config").write_text(
        f"Host lab\n  HostName 127.0.0.1\n  Port {port}\n  User {_user()}\n"
        f"  IdentityFile {keys / 'id_ed25519'}\n  UserKnownHostsFile {keys / 'known_hosts'}\n"
    )
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {keys / 'host'}\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {keys / 'authorized_keys'}\nPasswordAuthentication no\nStrictModes no\n"
        "MaxStartups 100\nMaxSessions 100\nSubsystem sftp internal-sftp\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it separates its privileges
    log = (folder / "sshd.log").open("wb")
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        wait_for(port, server)
        yield {"HOME": str(home), "PORT": str(port)}
    finally:
        server.kill()
        server.wait()


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """moto's S3 with one bucket, `lab`; yields the environment that leads there."""
    port = free_port()
    log = (folder / "moto.log").open("wb")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=log, stderr=log)
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "member",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        wait_for(port, server)
        s3_client(environment).create_bucket(Bucket=BUCKET)
        yield environment
    finally:
        server.kill()
        server.wait()


def s3_client(environment: dict[str, str]) -> Any:
    """boto3's client of a server that `s3_server` started."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    )


class Web:
    """An HTTP server over a folder.

    Attributes:
        asked: how often each path was asked for.
        faults: path -> what befalls its next answers, in turn: a status, `cut` (half of it, then the
            connection is closed), or bytes to be sent instead.
        always: the same for every answer, whatever is asked for.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder, self.asked = folder, Counter[str]()
        self.faults: dict[str, list[int | str | bytes]] = {}
        self.always: int | str | None = None
        handler = functools.partial(_Handler, self, directory=str(folder))
        self._server = _Server(("127.0.0.1", port), handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that had enough hung up."""


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, web: Web, *arguments: object, **options: object) -> None:
        self.web = web
        super().__init__(*arguments, **options)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.web.asked[name] += 1
        left = self.web.faults.get(name)
        fault = left.pop(0) if left else self.web.always
        if fault is None:
            super().do_GET()
        elif isinstance(fault, int):
            self.send_error(fault)
        elif isinstance(fault, bytes):
            self._answer(fault, len(fault))
        else:
            content = (self.web.folder / name).read_bytes()
            self._answer(content[: len(content) // 2], len(content))
            self.close_connection = True

    def _answer(self, content: bytes, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass
