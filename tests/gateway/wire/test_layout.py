from gateway.wire.layout import make_private


def test_every_folder_that_is_made_is_for_our_eyes_only(tmp_path):
    make_private(tmp_path / "a" / "b")

    assert [0o700] * 2 == [
        path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "a" / "b")
    ]


def test_a_folder_of_ours_that_is_open_to_others_is_closed(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir(mode=0o755)
    make_private(folder)

    assert 0o700 == folder.stat().st_mode & 0o777
