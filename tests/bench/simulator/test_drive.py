"""Whole runs against small servers of the test."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import Request, Response, ServerConnection

from bench.simulator.calls import Scenario
from bench.simulator.drive import CallOutcome, End, Lateness, Run
from bench.simulator.peer import Unreachable, parse_url
from bench.simulator.voices import Voices, synthetic_voices

FAST = 200.0


@pytest.fixture(scope="module")
def voices() -> Voices:
    return synthetic_voices(16_000, 0)


async def play(url: str, scenario: Scenario, voices: Voices, speed: float = FAST) -> Run:
    run = Run(parse_url(url), None, scenario, voices, speed)
    async with asyncio.timeout(30):
        await run.play()
    return run


async def play_to(heard: Any, url: str, scenario: Scenario, voices: Voices) -> Run:
    """The run, once the server has read all of it."""
    run = await play(url, scenario, voices)
    await heard.settle()
    return run


def pcm_of(texts: list[str], participant: str | None) -> np.ndarray:
    """What a participant said, put together from the packets by plain `json`."""
    out = b""
    for text in texts:
        audio = json.loads(text).get("audioData")
        if audio is not None and audio.get("participantRawID") == participant:
            pcm = base64.b64decode(audio["data"], validate=True)
            assert audio["silent"] is not any(pcm)
            out += pcm
    return np.frombuffer(out, "<i2")


def kinds(texts: list[str]) -> list[str]:
    return [json.loads(text)["kind"] for text in texts]


async def test_every_call_sends_what_its_plan_says(
    serving: Any, heard: Any, voices: Voices
) -> None:
    scenario = Scenario(calls=5, participants=3, ticks=70, dtmf=True, jitter_ms=15)
    run = await play_to(heard, await serving(heard.listen), scenario, voices)
    assert len(heard.texts) == 5
    for outcome in run.outcomes:
        texts = heard.texts[outcome.call_id]
        assert kinds(texts)[0] == "AudioMetadata"
        assert kinds(texts).count("DtmfData") == len(outcome.tones) == len(outcome.plan.tones)
        assert outcome.end is End.DONE
        assert outcome.sent == [70, 70, 70]
        for track in outcome.plan.tracks:
            expected = voices.sum_of(track.speakers, 0, 70 * 320)
            assert np.array_equal(expected, pcm_of(texts, track.participant))


async def test_mixed_call_sends_the_sum_without_an_id(
    serving: Any, heard: Any, voices: Voices
) -> None:
    run = await play_to(heard, await serving(heard.listen), Scenario(ticks=60, mixed=True), voices)
    (texts,) = heard.texts.values()
    assert kinds(texts).count("AudioData") == 60
    expected = voices.sum_of((0, 1), 0, 60 * 320)
    assert np.array_equal(expected, pcm_of(texts, None))
    assert all("participantRawID" not in text for text in texts)
    assert run.packets_sent == 60


async def test_stamps_are_at_real_speed_however_fast_it_is_sent(
    serving: Any, heard: Any, voices: Voices
) -> None:
    await play_to(heard, await serving(heard.listen), Scenario(participants=1, ticks=60), voices)
    (texts,) = heard.texts.values()
    stamps = [json.loads(text)["audioData"]["timestamp"] for text in texts[1:]]
    ms = np.array([stamp[:-1] for stamp in stamps], "datetime64[ms]").astype(int)
    assert np.diff(ms).tolist() == [20] * 59


async def test_two_runs_of_one_seed_are_two_calls_of_the_same_audio(
    serving: Any, heard: Any, voices: Voices
) -> None:
    url = await serving(heard.listen)
    runs = [await play_to(heard, url, Scenario(ticks=20), voices) for _ in range(2)]
    ids = {run.outcomes[0].call_id for run in runs} | set(heard.correlation_ids)
    assert len(ids) == 4
    one, two = heard.texts.values()
    participant = runs[0].outcomes[0].plan.tracks[0].participant
    assert np.array_equal(pcm_of(one, participant), pcm_of(two, participant))


async def test_refused_calls_are_counted_and_the_others_go_on(
    serving: Any, heard: Any, voices: Voices
) -> None:
    places: Iterator[bool] = iter([True, False, True, False])

    def admit(connection: ServerConnection, request: Request) -> Response | None:
        if next(places):
            return None
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "full")

    url = await serving(heard.listen, process_request=admit)
    run = await play(url, Scenario(calls=4, ticks=10), voices)
    ends = sorted((outcome.end, outcome.detail) for outcome in run.outcomes)
    assert ends == [(End.DONE, "")] * 2 + [(End.REFUSED, "HTTP 503")] * 2
    assert run.over == 4


async def test_close_in_mid_call_breaks_that_call_only(serving: Any, voices: Voices) -> None:
    connected = 0

    async def handler(connection: ServerConnection) -> None:
        nonlocal connected
        connected += 1
        is_first = connected == 1
        async for text in connection:
            if is_first and "AudioData" in text:
                await connection.close(1011)

    run = await play(await serving(handler), Scenario(calls=3, ticks=200), voices, speed=20)
    first, *others = run.outcomes
    assert (first.end, first.detail) == (End.BROKEN, "1011")
    assert first.sent < [200, 200]
    assert [outcome.end for outcome in others] == [End.DONE] * 2


async def test_what_waits_for_a_server_that_does_not_read_is_not_our_lateness(
    serving: Any, heard: Any, voices: Voices
) -> None:
    runs: list[Run] = []

    async def handler(connection: ServerConnection) -> None:
        # Nothing is read until the sender stands still: its buffer and the kernel's are full.
        sent = -1
        while sent != runs[0].packets_sent:
            sent = runs[0].packets_sent
            await asyncio.sleep(0.1)
        await heard.listen(connection)

    url = await serving(handler, max_queue=1)
    scenario = Scenario(participants=4, ticks=4000)
    runs.append(Run(parse_url(url), None, scenario, voices, 1000.0))
    async with asyncio.timeout(40):
        await runs[0].play()
    assert runs[0].outcomes[0].end is End.DONE
    await heard.settle()
    assert [len(texts) for texts in heard.texts.values()] == [16_001]
    assert runs[0].lateness.held > 0
    assert runs[0].lateness.held + runs[0].lateness.packets == 16_000


async def test_stop_ends_calls_properly_with_what_was_sent(
    serving: Any, heard: Any, voices: Voices
) -> None:
    is_under_way = asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        asyncio.get_running_loop().call_later(0.2, is_under_way.set)
        await heard.listen(connection)

    url = await serving(handler)
    run = Run(parse_url(url), None, Scenario(calls=3, ticks=100_000), voices, 10.0)
    playing = asyncio.create_task(run.play())
    async with asyncio.timeout(30):
        await is_under_way.wait()
        run.stop()
        outcomes: list[CallOutcome] = await playing
    await heard.settle()
    assert [outcome.end for outcome in outcomes] == [End.DONE] * 3
    for outcome in outcomes:
        assert kinds(heard.texts[outcome.call_id]).count("AudioData") == sum(outcome.sent)
        assert 0 < sum(outcome.sent) < 100_000


async def test_without_a_server_the_run_says_so(voices: Voices) -> None:
    with pytest.raises(Unreachable):
        await play("ws://127.0.0.1:1/", Scenario(calls=3), voices)


def test_lateness_has_percentiles_and_a_limit() -> None:
    lateness = Lateness()
    for ms in range(100):
        lateness.add(ms / 10_000)
    assert lateness.percentile_ms(0.5) == pytest.approx(5.0, abs=0.2)
    assert lateness.percentile_ms(0.99) == pytest.approx(9.9, abs=0.2)
    assert lateness.max_ms == pytest.approx(9.9)
    assert not lateness.is_generator_limited
    lateness.add(30.0)
    lateness.add(-1.0)
    assert lateness.max_ms == 30_000
    for _ in range(10):
        lateness.add(0.05)
    assert lateness.is_generator_limited


def test_lateness_of_nothing_is_nothing() -> None:
    assert Lateness().percentile_ms(0.99) == 0.0
    assert not Lateness().is_generator_limited
