import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workers.recordings.intervals import subtract, union

ROWS = st.lists(st.tuples(st.integers(-30, 30), st.integers(-30, 30)), max_size=8)


def array(rows):
    return np.array(rows, np.int64).reshape(-1, 2)


def points(rows):
    return {at for begin, end in rows for at in range(begin, end)}


@given(ROWS)
def test_a_union_covers_what_its_rows_cover_in_order_and_apart(rows):
    joined = union(array(rows)).tolist()
    assert points(rows) == points(joined)
    edges = [edge for row in joined for edge in row]
    assert sorted(set(edges)) == edges


@given(ROWS, ROWS)
def test_a_difference_covers_what_only_the_first_covers(these, those):
    left = subtract(union(array(these)), union(array(those)))
    assert points(these) - points(those) == points(left.tolist())
    assert (left[:, 1] > left[:, 0]).all()
