"""Small words of messages."""

from tpn.words import counted, first_of


def test_one_is_singular_and_all_else_plural():
    assert [counted(number, "class") for number in (0, 1, 2)] == ["0 classes", "1 class", "2 classes"]
    assert counted(21, "video") == "21 videos"


def test_names_beyond_the_first_are_counted():
    assert first_of("abc", 3) == "a, b, c"
    assert first_of({"a": 1, "b": 2, "c": 3}, 2) == "a, b and 1 more"
