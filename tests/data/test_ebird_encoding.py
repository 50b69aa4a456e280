"""UTF-8 stays as it is; only lines that are none are taken as Latin-1."""

from hypothesis import given
from hypothesis import strategies as st

from ignite_recipes.data.ebird_encoding import as_utf8

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=8)
LATIN = st.text(st.sampled_from("abcÀéñü§ "), max_size=8)


@given(st.lists(TEXTS, max_size=6))
def test_utf_8_is_left_as_it_is(lines):
    block = "\n".join(lines).encode()
    assert as_utf8(block) == (block, [])


@given(st.lists(st.tuples(TEXTS, LATIN, st.booleans()), max_size=6))
def test_each_line_is_read_in_its_own_encoding(lines):
    lines = [(text, latin + "é ", is_latin) for text, latin, is_latin in lines]  # é before a space is never UTF-8
    raw = [latin.encode("latin-1") if is_latin else text.encode() for text, latin, is_latin in lines]
    found, others = as_utf8(b"\n".join(raw))
    expected = [latin if is_latin else text for text, latin, is_latin in lines]
    assert found.decode().split("\n") == (expected or [""])
    assert others == [line for line, (*_, is_latin) in zip(raw, lines, strict=True) if is_latin]


@given(st.binary())
def test_any_bytes_become_utf_8_with_as_many_lines(block):
    found, _ = as_utf8(block)
    assert found.decode().count("\n") == block.count(b"\n")
