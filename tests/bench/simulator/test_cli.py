"""The command as a user meets it: output, exit status, one clear line for what went wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import resource
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.server import Request, Response, ServerConnection, serve

from bench.simulator.checker import SentCall, SentTone
from bench.simulator.cli import simulate
from bench.simulator.compare import SentTrack

Start = Callable[..., str]
QUICK = ("--speed", "200", "--seconds", "1")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(simulate, [str(argument) for argument in arguments])


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers beside the test's own thread, which the command needs for itself."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    servers: list[Any] = []

    async def begin(handler: Any, **settings: Any) -> str:
        server = await serve(handler, "127.0.0.1", 0, compression=None, **settings)
        servers.append(server)
        scheme = "wss" if "ssl" in settings else "ws"
        return f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/media"

    def wait(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(20)

    yield lambda handler, **settings: wait(begin(handler, **settings))
    for server in servers:
        server.close()
        wait(server.wait_closed())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def ignore(connection: ServerConnection) -> None:
    async for _ in connection:
        pass


class Recorder:
    """A server that records what it hears, by plain `json`; `spoil` may damage a recording."""

    def __init__(self, data: Path, record: Any, spoil: Callable[[Any], None]) -> None:
        self._data = data
        self._record = record
        self._spoil = spoil

    async def __call__(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        headers = connection.request.headers
        packets: dict[str | None, list[bytes]] = {}
        tones, rate = [], 0
        async for text in connection:
            packet = json.loads(text)
            if audio := packet.get("audioData"):
                pcm = base64.b64decode(audio["data"])
                packets.setdefault(audio.get("participantRawID"), []).append(pcm)
            elif tone := packet.get("dtmfData"):
                tones.append(SentTone(tone["data"], tone.get("participantRawID")))
            else:
                rate = packet["audioMetadata"]["sampleRate"]
        tracks = [
            SentTrack(
                participant,
                np.frombuffer(b"".join(pcm), "<i2"),
                packets=len(pcm),
                silent=sum(not any(packet) for packet in pcm),
            )
            for participant, pcm in packets.items()
        ]
        call_id = headers["x-ms-call-connection-id"]
        sent = SentCall(call_id, rate, tracks, headers["x-ms-call-correlation-id"], tones)
        self._spoil(self._record(self._data / "recordings" / call_id, sent, "open"))


@pytest.fixture
def recording_server(tmp_path: Path, start: Start, record: Any) -> Callable[..., str]:
    def finish(recording: Any) -> None:
        recording.change(state="complete")

    return lambda spoil=finish: start(Recorder(tmp_path, record, spoil))


def test_run_that_went_well_prints_its_figures(start: Start) -> None:
    result = run(start(ignore), *QUICK, "--calls", "3", "--dtmf")
    assert result.exit_code == 0
    assert "packets sent        300" in result.stdout
    assert "broken              0" in result.stdout


def test_json_is_one_object_and_nothing_else(start: Start) -> None:
    result = run(start(ignore), *QUICK, "--mixed", "--json")
    facts = json.loads(result.stdout)
    assert (facts["calls"], facts["packets"], facts["audio_s"]) == (1, 50, 1.0)
    assert (facts["refused"], facts["broken"]) == ({}, {})


@pytest.mark.parametrize("rate", ["16000", "24000"])
def test_recordings_that_are_right_verify(
    tmp_path: Path, recording_server: Callable[..., str], rate: str
) -> None:
    url = recording_server()
    options = ("--rate", rate, "--calls", "3", "--dtmf", "--jitter-ms", "15", "--verify", tmp_path)
    result = run(url, *QUICK, *options)
    assert "3 of 3 right" in result.stdout
    assert result.exit_code == 0


def test_audio_of_a_file_verifies(tmp_path: Path, recording_server: Callable[..., str]) -> None:
    noise = np.random.default_rng(1).integers(-9000, 9000, 16_000).astype(np.int16)
    soundfile.write(tmp_path / "a.flac", noise, 16_000)
    result = run(
        recording_server(), *QUICK, "--audio", tmp_path / "a.flac", "--verify", tmp_path, "--json"
    )
    assert json.loads(result.stdout)["verify"]["right"] == 1
    assert result.exit_code == 0


def test_recording_that_differs_is_told_and_exits_1(
    tmp_path: Path, recording_server: Callable[..., str]
) -> None:
    def spoil(recording: Any) -> None:
        pcm = recording.pcm(0)
        pcm[4000] += 1
        recording.write(0, pcm)
        recording.change(state="complete")

    result = run(recording_server(spoil), *QUICK, "--verify", tmp_path)
    assert "0 of 1 right" in result.stdout
    assert "track 1: 0 samples lost, 1 altered" in result.stdout
    assert result.exit_code == 1


def test_recording_that_never_comes_exits_1(start: Start, tmp_path: Path) -> None:
    result = run(start(ignore), *QUICK, "--verify", tmp_path, "--verify-timeout", "0.1")
    assert "no manifest of the call after 0.1 s" in result.stdout
    assert result.exit_code == 1


def test_refused_call_exits_1_and_shows_the_status(start: Start, tmp_path: Path) -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus.FORBIDDEN, "no")

    url = start(ignore, process_request=refuse)
    result = run(url, *QUICK, "--verify", tmp_path)
    assert "1 (HTTP 403: 1)" in result.stdout
    assert "nothing to verify" in result.stderr
    assert result.exit_code == 1


def test_broken_call_exits_1_and_shows_the_close_code(start: Start) -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.close(1008)

    result = run(start(handler), "--seconds", "60")
    assert "1 (1008: 1)" in result.stdout
    assert result.exit_code == 1


def test_no_server_is_one_line_without_the_secret_in_the_url() -> None:
    result = run("ws://127.0.0.1:1/media?token=secret", "--calls", "3")
    assert result.exit_code == 69
    assert result.stderr == (
        "Error: no server at ws://127.0.0.1:1: connection refused. Start one with `acs-ingest up`\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["http://127.0.0.1/"],
        ["ws://127.0.0.1:1/", "--rate", "8000"],
        ["ws://127.0.0.1:1/", "--calls", "0"],
        ["ws://127.0.0.1:1/", "--verify", "/nowhere"],
        ["ws://127.0.0.1:1/", "--insecure-tls"],
        ["wss://127.0.0.1:1/", "--insecure-tls", "--tls-ca", __file__],
        ["wss://127.0.0.1:1/", "--tls-ca", __file__],
        ["ws://127.0.0.1:1/", "--audio", __file__],
        [],
    ],
)
def test_what_is_given_wrongly_is_a_usage_error(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Error: " in result.stderr


def test_too_few_descriptors_are_told_before_the_first_call() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    try:
        result = run("ws://127.0.0.1:1/", "--calls", "1000")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert result.exit_code == 69
    assert "`ulimit -n 1064`" in result.stderr


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of its own for 127.0.0.1, and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "tls.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def tls_url(start: Start, certificate: Path) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return start(ignore, ssl=context)


def test_tls_with_its_authority_given_is_accepted(tls_url: str, certificate: Path) -> None:
    assert run(tls_url, *QUICK, "--tls-ca", certificate).exit_code == 0


def test_tls_is_not_checked_if_told_so(tls_url: str) -> None:
    assert run(tls_url, *QUICK, "--insecure-tls").exit_code == 0


def test_tls_that_is_not_trusted_is_told(tls_url: str) -> None:
    result = run(tls_url, *QUICK)
    assert result.exit_code == 69
    assert "its certificate is not trusted" in result.stderr


def test_interrupt_ends_a_call_properly(start: Start) -> None:
    is_under_way, is_over = threading.Event(), threading.Event()
    codes: list[int | None] = []

    async def handler(connection: ServerConnection) -> None:
        async for text in connection:
            if "AudioData" in text:
                is_under_way.set()
        codes.append(connection.close_code)
        is_over.set()

    code = "from bench.simulator.cli import simulate; simulate()"
    command = [sys.executable, "-c", code, start(handler), "--seconds", "600", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert is_under_way.wait(30)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert err == b""
    assert json.loads(out)["broken"] == {}
    assert is_over.wait(10)
    assert codes == [1000]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from bench.simulator.cli import simulate; "
        "simulate(['--help'], standalone_mode=False); "
        "assert not {'numpy', 'uvloop', 'websockets', 'rich'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0
    assert b"--verify" in done.stdout
