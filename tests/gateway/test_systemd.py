"""What systemd hands over, by hand: descriptor 3 and the environment."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import systemd

#: Becomes the command that follows, with descriptor argv[1] as 3 and LISTEN_PID its own.
HAND_OVER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True);"
    "os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[2], sys.argv[2:])"
)
TAKE = (
    "from gateway.systemd import listener; s = listener();print(s.getsockname()[1], s.gettimeout())"
)


def handed(handed_over: socket.socket, *command: str) -> list[str]:
    return [sys.executable, "-c", HAND_OVER, str(handed_over.fileno()), sys.executable, *command]


def take(handed_over: socket.socket, fds: str = "1") -> tuple[str, str]:
    """What a process makes of a socket: its port, or the last line of what is wrong."""
    done = subprocess.run(
        handed(handed_over, "-c", TAKE),
        env={**os.environ, "LISTEN_FDS": fds},
        pass_fds=[handed_over.fileno()],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout, done.stderr.strip().rpartition("\n")[2]


def test_listening_socket_is_taken_and_does_not_block() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert f"{listener.getsockname()[1]} 0.0\n" == take(listener)[0]


@pytest.mark.parametrize("fds", ["0", "2", "x"])
def test_one_socket_is_needed(fds: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert f"one socket is needed, {fds} were handed over" in take(listener, fds)[1]


def test_socket_that_does_not_listen_is_refused() -> None:
    with socket.socket() as plain:
        assert "does not listen" in take(plain)[1]


def test_environment_of_another_process_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", "1")
    with pytest.raises(Exception, match="one socket is needed"):
        systemd.listener()


@pytest.mark.parametrize("name", [str, lambda path: f"@{path.parent.name}"])
def test_state_is_told(
    name: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = name(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0", 1))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        systemd.tell("READY=1")
        assert b"READY=1" == manager.recv(64)


def test_nobody_who_wants_to_hear_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.tell("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    systemd.tell("READY=1")


def test_gateway_takes_the_socket_and_says_that_it_is_ready(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        command = ["-m", "gateway", "gateway", "--listen", "systemd", "--data", str(tmp_path / "d")]
        process = subprocess.Popen(
            handed(listener, *command),
            env={**os.environ, "LISTEN_FDS": "1", "NOTIFY_SOCKET": str(tmp_path / "notify")},
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            assert b"READY=1" == manager.recv(64)
            with socket.create_connection(listener.getsockname(), timeout=10) as peer:
                peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
                assert b"HTTP/1.1 404" == peer.recv(12)
            process.terminate()
            process.communicate(timeout=20)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
    assert 0 == process.returncode
