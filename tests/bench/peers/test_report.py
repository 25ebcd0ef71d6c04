from bench.load.rig import Load
from bench.peers.report import medians, ratios, result, table
from bench.peers.rounds import Opening, Settings, Turn


def turn(server: str, server_us: float, fault: str = "", **figures: float) -> Turn:
    values: dict[str, float | None] = {"worker_us": None, "log_us": None} | figures
    return Turn(
        server=server,
        round=1,
        load=Load(100, 0, 2.0, 0.5, 0.1, 0.2, 0.3),
        received=100,
        server_us=server_us,
        server_share=0.5,
        rig_share=0.25,
        elsewhere_share=0.1,
        fault=fault,
        **values,
    )


def test_median_is_of_the_valid_turns() -> None:
    turns = [turn("gateway", us) for us in (9.0, 10.0, 14.0)] + [turn("gateway", 99.0, "late")]

    figures = medians(turns)["gateway"]

    assert (10.0, 9.0, 14.0) == (
        figures["server_us"],
        figures["server_us_min"],
        figures["server_us_max"],
    )
    assert "log_us" not in figures


def test_server_without_a_valid_turn_has_no_figures() -> None:
    assert {} == medians([turn("gateway", 9.0, "late")])


def test_ratios_are_of_medians() -> None:
    turns = [
        turn("gateway", 10.0, log_us=1.0, worker_us=2.0),
        turn("do-nothing", 5.0),
        turn("gateway-recorder", 10.0, worker_us=4.0),
    ]

    found = {ratio["name"]: ratio["ratio"] for ratio in ratios(medians(turns))}

    assert {
        "gateway / do-nothing": 2.0,
        "log threads / do-nothing": 0.2,
        "recorder / do-nothing": 0.8,
    } == found


def test_table_names_the_turns_that_do_not_count() -> None:
    settings = Settings(4, 1.0, 1, ("gateway",))
    turns = [turn("gateway", 10.0, log_us=1.0), turn("gateway", 99.0, "the rig was late")]

    found = result(settings, turns)

    assert not found["valid"]
    assert "round 1 of gateway is invalid: the rig was late" in table(found)
    assert "of which log threads" in table(found)


def test_opening_a_session_is_told_without_its_packets() -> None:
    turns = [turn("gateway", 10.0, worker_us=2.0), turn("do-nothing", 5.0)]
    openings = [
        Opening("gateway", 4, 100, 0.003, 0.001, 0),
        Opening("do-nothing", 4, 100, 0.0006, None, 0),
        Opening("aiohttp", 4, 100, 0.0006, None, 0),
    ]

    found = result(Settings(4, 1.0, 1, ("gateway", "do-nothing")), turns, openings)

    assert {
        "gateway": {"server_us": 500.0, "worker_us": 200.0},
        "do-nothing": {"server_us": 25.0},
    } == {
        name: {figure: round(us, 6) for figure, us in figures.items()}
        for name, figures in found["opening"].items()
    }
    assert "to open a session, us: gateway 500, its worker 200" in table(found)


def test_what_is_compared_with_other_runs_are_the_ratios() -> None:
    turns = [turn("aiohttp", 40.0), turn("do-nothing", 5.0)]

    found = result(Settings(4, 1.0, 1, ("aiohttp", "do-nothing")), turns)

    assert {"aiohttp / do-nothing": 8.0} == found["figures"]
    assert "aim" not in table(found)
