"""A CSV file is read as people have them; what is wrong with one is said in a line that names it and the place."""

import gzip

import polars as pl
import pytest

from ignite_recipes.data.csv_file import read_csv

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def written(tmp_path, content, name="table.csv"):
    path = tmp_path / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


SOUND = {
    "commas": "a,b\n1,x\n2,y\n",
    "semicolons": "a;b\n1;x\n2;y\n",
    "tabs": "a\tb\n1\tx\n2\ty\n",
    "bars": "a|b\n1|x\n2|y\n",
    "a mark at the start": "\ufeffa,b\n1,x\n2,y\n",
    "lines of Windows": "a,b\r\n1,x\r\n2,y\r\n",
    "no end of the last line": "a,b\n1,x\n2,y",
}


@pytest.mark.parametrize("content", SOUND.values(), ids=SOUND)
@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_what_is_common_is_read(tmp_path, content, name):
    assert read_csv(written(tmp_path, content, name)).to_dict(as_series=False) == {"a": [1, 2], "b": ["x", "y"]}


def test_a_decimal_comma_is_read_in_a_file_of_semicolons(tmp_path):
    frame = read_csv(written(tmp_path, "a;b\n1,5;x\n2,25;y\n"))
    assert frame["a"].to_list() == [1.5, 2.25]


def test_what_stands_for_nothing_is_missing(tmp_path):
    frame = read_csv(written(tmp_path, "a,b\n1,x\nNA,\n?,nan\n"))
    assert frame.to_dict(as_series=False) == {"a": [1, None, None], "b": ["x", None, None]}


def test_a_quoted_value_may_hold_separators_and_lines(tmp_path):
    frame = read_csv(written(tmp_path, 'a,b\n1,"x, y"\n2,"two\nlines"\n'))
    assert frame["b"].to_list() == ["x, y", "two\nlines"]


def test_codes_keep_their_zeros_where_a_column_is_known_as_text(tmp_path):
    path = written(tmp_path, "code,b\n01,1\n02,2\n")
    assert read_csv(path)["code"].to_list() == [1, 2]
    assert read_csv(path, ["code", "no such"])["code"].to_list() == ["01", "02"]


def test_a_type_that_shows_late_is_found(tmp_path):
    rows = "".join(f"{k},{k}\n" for k in range(11_000))
    frame = read_csv(written(tmp_path, f"a,b\n{rows}1.5,text\n"))
    assert (frame.schema["a"], frame.schema["b"]) == (pl.Float64, pl.String)
    assert (frame["a"][-1], frame["b"][-1]) == (1.5, "text")


WRONG = {
    "longer row": ("a,b\n1,2\n1,2,3\n", "must have 2 values in every row.*line 3 has 3"),
    "shorter row": ("a,b,c\n1,2,3\n1,2\n", "must have 3 values in every row.*line 3 has 2"),
    "latin-1": ("a,b\n1,café\n".encode("latin-1"), "must be UTF-8 text; got the byte 0xe9 in line 2"),
    "utf-16": ("a,b\n1,2\n".encode("utf-16"), "must be UTF-8 text; it holds zero bytes"),
    "empty": ("", "it is empty"),
    "blank": ("\n\n", "it is empty"),
    "header only": ("a,b\n", "must hold rows below"),
    "name twice": ("a,b,a\n1,2,3\n", "must name each column once; got 'a' twice"),
}


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
@pytest.mark.parametrize(("content", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_a_line_with_the_file(tmp_path, content, said, name):
    with pytest.raises(ValueError, match=said) as told:
        read_csv(written(tmp_path, content, name))
    assert name in str(told.value)
    assert "\n" not in str(told.value)


def test_a_cut_gzip_file_is_said(tmp_path):
    path = written(tmp_path, "a,b\n" + "1,2\n" * 50_000, "table.csv.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"table\.csv\.gz"):
        read_csv(path)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(ValueError, match="must be a whole gzip file"):
        read_csv(path)
