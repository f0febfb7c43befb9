"""A real Label Studio, started unattended with a data directory of its own."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_SECONDS = 600.0  # the first start makes its database: a minute or two on a machine with nothing else to do
EMAIL = "kim@example.com"
QUIET = {
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "LATEST_VERSION_CHECK": "false",
    "COLLECT_ANALYTICS": "false",
}
# Webhooks to private addresses are refused by default. This lets them through to this machine, and to no other.
OPENED = {
    "USE_DEFAULT_BANNED_SUBNETS": "false",
    "USER_ADDITIONAL_BANNED_SUBNETS": "10.0.0.0/8,100.64.0.0/10,169.254.0.0/16,172.16.0.0/12,192.168.0.0/16,fc00::/7,"
    "fe80::/10",
}


@dataclass(frozen=True)
class Server:
    """A Label Studio and its one user, who has both kinds of token."""

    url: str
    personal_token: str
    legacy_token: str
    email: str = EMAIL


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]  # type: ignore[no-any-return]


@contextmanager
def running_label_studio(program: Path, folder: Path) -> Iterator[Server]:
    """Run `label-studio`, the program of that path, on a free port; its files and its log are in the folder."""
    port, token = free_port(), secrets.token_hex(20)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
        "LABEL_STUDIO_USERNAME": EMAIL,
        "LABEL_STUDIO_PASSWORD": secrets.token_urlsafe(),
        "LABEL_STUDIO_USER_TOKEN": token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        **QUIET,
        **OPENED,
    }
    command = [program, "start", "--no-browser", "--port", str(port), "--internal-host", "127.0.0.1"]
    log = folder / "log"
    with log.open("wb") as lines:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=lines, stderr=lines, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(process, url, log)
        made = httpx.post(f"{url}/api/token/", headers={"Authorization": f"Token {token}"}, timeout=60)
        made.raise_for_status()
        yield Server(url, made.json()["token"], token)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise RuntimeError(f"Label Studio did not start:\n{log.read_text(errors='replace')[-4000:]}")
