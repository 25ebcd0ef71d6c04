import json
import os
import signal
import subprocess
import sys
import time
import wave

import numpy as np
import pytest
from hand_gateway import (
    HandGateway,
    audio,
    close_session,
    close_stream,
    open_session,
    open_stream,
    ramp,
)

from gateway.bus.rendezvous import Endpoint
from gateway.bus.zmq import ZmqHub
from gateway.wire.layout import Layout
from gateway.wire.messages import Ack, Bye, Gone, Hello

COMMAND = [sys.executable, "-c", "from workers.cli import worker; worker()"]
WAIT_S = 20
TAP = '[pools.tap]\ndelivery = "replay"\nprocessors = ["level"]\nsinks = ["wav"]\n'


def until(condition):
    """Wait for what another process brings about."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def refused(*arguments):
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    return done.returncode, done.stderr


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "ingest.toml"
    path.write_text(TAP)
    return path


@pytest.fixture
def start(tmp_path, config):
    """Starts a worker of the pool `tap`; ends what is left of it."""
    started = []

    def start(*more, **options):
        arguments = ["--pool", "tap", "--data", str(tmp_path / "data"), "--config", str(config)]
        process = subprocess.Popen(
            [*COMMAND, *arguments, *more], stderr=subprocess.PIPE, text=True, **options
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(WAIT_S)
        process.stderr.close()


@pytest.fixture
def gateway(tmp_path):
    endpoint = Endpoint(Layout(tmp_path / "data"), "g1")
    hub = ZmqHub(endpoint.address)
    yield HandGateway(hub)
    hub.close()
    endpoint.close()


def linked(gateway):
    until(lambda: gateway.listen() or gateway.peer)
    gateway.beat()


def test_worker_taps_a_call_and_leaves_on_sigterm(tmp_path, start, gateway):
    process = start()
    linked(gateway)

    gateway.send(open_session(), open_stream(), *[audio(seq) for seq in range(10)])
    gateway.send(close_stream(), close_session())
    until(lambda: gateway.listen() and Ack(link=1, safe=2, taken=2) in gateway.heard)
    process.send_signal(signal.SIGTERM)
    until(lambda: gateway.listen() and gateway.of(Bye))
    gateway.say(Gone(link=1, reason="bye"))

    assert 0 == process.wait(WAIT_S)
    path = tmp_path / "data" / "taps" / "tap" / "call-1" / "00000000000000a1-1.wav"
    with wave.open(str(path)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert ramp(0, 3200).tolist() == pcm.tolist()
    log = [json.loads(line) for line in process.stderr]
    assert ["worker started", "stream level", "worker stopped"] == [e["message"] for e in log]
    assert {"tap-0"} == {entry["process"] for entry in log}


def test_second_signal_ends_a_worker_at_once(start, gateway):
    process = start()
    linked(gateway)

    process.send_signal(signal.SIGTERM)
    until(lambda: gateway.listen() and gateway.of(Bye))
    process.send_signal(signal.SIGTERM)

    assert -signal.SIGTERM == process.wait(WAIT_S)


def test_worker_that_is_replaced_hands_over_and_leaves(start, gateway):
    process = start()
    linked(gateway)

    process.send_signal(signal.SIGUSR1)
    until(lambda: gateway.listen() and gateway.of(Bye))
    gateway.say(Gone(link=1, reason="bye"))

    assert 0 == process.wait(WAIT_S)


def test_instance_names_pool_and_index(start, gateway):
    process = start("--instance", "tap-3")
    linked(gateway)

    assert ["tap-3"] == [hello.name for hello in gateway.of(Hello)]
    process.kill()


def test_end_of_the_parents_pipe_is_a_sigterm(start):
    read, write = os.pipe()
    process = start("--parent-fd", str(read), pass_fds=[read])
    os.close(read)
    assert "worker started" in process.stderr.readline()

    os.close(write)

    assert 0 == process.wait(WAIT_S)


def test_fault_of_ours_ends_the_worker_with_70_and_one_line(tmp_path, config):
    code = (
        "import workers.worker as w\n"
        "def turn(self): raise AssertionError('ours')\n"
        "w.Worker.turn = turn\n"
        "from workers.cli import worker; worker()"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, "--pool", "tap", "--config", config, "--data", tmp_path],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )

    assert 70 == done.returncode
    _, entry = [json.loads(line) for line in done.stderr.splitlines()]
    assert "worker failed" == entry["message"]
    assert "AssertionError: ours" in entry["exception"]


def test_fault_of_the_configuration_ends_it_with_78_and_one_line(tmp_path):
    path = tmp_path / "ingest.toml"
    path.write_text('[pools.tap]\nprocessors = ["nothing"]\n')

    code, said = refused("--pool", "tap", "--config", str(path), "--data", str(tmp_path))

    expected = f"Error: {path}: [processors] nothing: no such plug-in; installed are: level\n"
    assert (78, expected) == (code, said)


def test_data_folder_that_is_not_to_be_had_ends_it_with_69(tmp_path):
    (tmp_path / "data").write_text("a file")
    folder = tmp_path / "data" / "inside"

    code, said = refused("--pool", "record", "--data", str(folder))

    assert (69, f"Error: cannot use the data folder {folder}: Not a directory\n") == (
        code,
        said,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--pool", "record", "--parent-fd", "999"],
        ["--pool", "x", "--index", "-1"],
        ["--instance", "record"],
        ["--instance", "-1"],
        ["--instance", "record-x"],
    ],
)
def test_wrong_usage_ends_it_with_2(arguments, tmp_path):
    code, said = refused(*arguments, "--data", str(tmp_path))

    assert 2 == code
    assert "Error: " in said
