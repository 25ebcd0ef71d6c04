from gateway.log.opens import Opens
from gateway.log.ticks import controls_of


def opened(opens, make, number=9):
    snapshot = opens.before(make.tick(number))
    return {(each.session, each.stream) for each in controls_of(snapshot)}


def test_what_was_opened_and_not_closed_is_what_a_segment_begins_with(make):
    opens = Opens()
    opens.note(make.tick(1, make.open(), make.open(1), make.open(2), make.audio()))
    opens.note(make.tick(2, make.open(session=8), make.open(1, 8), make.close(2)))
    opens.note(make.tick(3, make.close(1), make.close()))

    assert {(8, 0), (8, 1)} == opened(opens, make)


def test_a_snapshot_says_it_all(make):
    opens = Opens()
    opens.note(make.tick(1, make.open(), make.open(1)))
    opens.note(make.tick(2, make.open(session=8), snapshot=True))

    assert {(8, 0)} == opened(opens, make)


def test_the_snapshot_before_a_tick_has_the_number_before_it(make):
    snapshot = Opens().before(make.tick(5))

    assert (4, True, 0) == (snapshot.number, snapshot.snapshot, snapshot.frames)
