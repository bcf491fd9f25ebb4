"""Review sheets: what stands in them, what does not, and which answers are refused."""

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.review import read_review_sheet, write_review_sheet

ROWS = [4, 0, 2]


def make_bunch(n=6, **fields):
    images = np.random.default_rng(0).random((n, 9, 7))
    return ImageBunch(images, groups=[f"SECRET{row}" for row in range(n)], **fields)


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text of scripts."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.text = [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def edit(path, change):
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(change(lines))


def answer(path, answers):
    edit(path, lambda lines: [lines[0]] + [[r, answers.get(int(r), ""), b, d] for r, _, b, d in lines[1:]])


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "sheet.csv"
    write_review_sheet(path, make_bunch(), ROWS, pool="p")
    return path


def test_pixels_of_the_page_are_those_of_the_rows(tmp_path):
    path = tmp_path / "sheet.html"
    bunch = make_bunch()
    write_review_sheet(path, bunch, ROWS)
    pictures = [element["src"] for element in Page(path).all("img")]
    assert len(pictures) == 3
    for row, source in zip(ROWS, pictures):
        kind, content = source.split(",")
        assert kind == "data:image/png;base64"
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))), dtype=float) / 255
        image = bunch[row]
        wanted = (image - image.min()) / (image.max() - image.min())
        np.testing.assert_allclose(shown, wanted, atol=0.5 / 255 + 1e-9)


def test_value_range_is_shared_and_gaps_are_black(tmp_path):
    images = np.stack([np.full((8, 8), 10.0), np.full((8, 8), 30.0)])
    images[1, 0, 0] = np.nan
    images[1, 0, 1] = np.inf
    path = tmp_path / "sheet.html"
    write_review_sheet(path, images, [0, 1], value_range=(0, 40))
    first, second = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(element["src"].split(",")[1]))))
        for element in Page(path).all("img")
    )
    assert np.unique(first).tolist() == [64]
    assert [second[0, 0], second[0, 1], second[1, 1]] == [0, 255, 191]


def test_three_channels_are_colors_and_large_images_shrink(tmp_path):
    path = tmp_path / "sheet.html"
    images = np.zeros((1, 3, 1024, 512))
    images[0, 0] = 1
    write_review_sheet(path, images, [0])
    content = Page(path).all("img")[0]["src"].split(",")[1]
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    assert picture.size == (256, 512)
    assert picture.getpixel((5, 5)) == (255, 0, 0)


def test_traces_keep_the_spike_and_leave_gaps(tmp_path):
    signals = np.zeros((1, 2, 5000))
    signals[0, 1, 3210] = 5
    signals[0, 0, 1000:2000] = np.nan
    path = tmp_path / "sheet.html"
    write_review_sheet(path, ImageBunch(signals, signal=True), [0])
    lines = [
        np.array([pair.split(",") for pair in element["points"].split()], dtype=float)
        for element in Page(path).all("polyline")
    ]
    assert len(lines) == 3  # the first channel in two pieces
    spike = lines[2][lines[2][:, 1].argmin()]
    assert spike[0] == pytest.approx(600 * 3210 / 4999, abs=0.1)
    assert np.ptp(lines[2][:, 1]) == pytest.approx(0.9 * 36, abs=0.11)
    assert np.ptp(lines[0][:, 1]) == 0
    assert lines[0][:, 0].max() < 600 * 1000 / 4999
    assert lines[1][:, 0].min() > 600 * 1990 / 4999


def test_the_page_needs_no_network_and_names_nobody(tmp_path):
    path = tmp_path / "sheet.html"
    bunch = make_bunch(metadata=pd.DataFrame({"patient_id": [f"SECRET{i}" for i in range(6)], "age": range(40, 46)}))
    write_review_sheet(path, bunch, ROWS)
    text = path.read_text(encoding="utf-8")
    assert "SECRET" not in text
    assert "http:" not in text
    assert "https:" not in text
    policy = next(element for element in Page(path).all("meta") if "http-equiv" in element)
    assert policy["content"].startswith("default-src 'none'; img-src data:;")
    assert not [element for element in Page(path).all("script") if "src" in element]
    assert not Page(path).all("link")


def test_columns_and_titles_are_shown_as_text(tmp_path):
    path = tmp_path / "sheet.html"
    evil = '</script><script>alert("x")</script>'
    bunch = make_bunch(metadata=pd.DataFrame({"note": [evil] * 6, "age": range(40, 46)}))
    write_review_sheet(path, bunch, ROWS, columns=["age", "note"], title=evil)
    page = Page(path)
    assert len(page.all("script")) == 2
    assert page.text.count(evil) == 2 + len(ROWS)  # in title, heading and details, as text
    assert [text for text in page.text if text in ("40", "42", "44")] == ["44", "40", "42"]
    with pytest.raises(ValueError, match="columns='weight' is neither a field"):
        write_review_sheet(path, bunch, ROWS, columns=["weight"])
    with pytest.raises(ValueError, match="columns='age': give a list of names"):
        write_review_sheet(path, bunch, ROWS, columns="age")


def test_what_the_page_saves_can_be_read(tmp_path):
    """The lines that the script builds, built here from what it builds them of."""
    path = tmp_path / "sheet.html"
    labels = np.array([0, -1, -1, 1, 1, 1])
    batch = write_review_sheet(path, make_bunch(), ROWS, labels=labels, pool="p")
    page = Page(path)
    text = path.read_text(encoding="utf-8")
    sheet = json.loads(re.search(r'<script type="application/json" id="sheet">(.*?)</script>', text)[1])
    assert sheet["batch"] == batch
    rows = page.all("fieldset")
    assert [row["data-row"] for row in rows] == ["4", "0", "2"]
    checked = [box["value"] for box in page.all("input") if "checked" in box]
    assert checked == ["artifact", "no artifact"]
    lines = [sheet["header"]]
    lines += [",".join([row["data-row"], row.get("data-answer", ""), sheet["batch"], sheet["digest"]]) for row in rows]
    saved = tmp_path / sheet["file"]
    saved.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")
    found, answers = read_review_sheet(saved, n_rows=6, pool="p", batch=batch)
    assert found.tolist() == [4, 0]
    assert answers.tolist() == [1, 0]


@pytest.mark.parametrize("form", ["comma", "semicolon", "tab", "byte order mark", "shuffled", "more columns"])
def test_answers_come_back_from_table_programs(table, form):
    answer(table, {4: "Artifact", 0: " no artifact ", 2: "UNSURE"})
    if form == "shuffled":
        edit(table, lambda lines: [lines[0], *lines[:0:-1]])
    if form == "more columns":
        edit(table, lambda lines: [["note", *lines[0]], *(["x, y", *line] for line in lines[1:])])
    text = table.read_text(encoding="utf-8") + "\n,,,\n"
    text = text.replace(",", {"semicolon": ";", "tab": "\t"}.get(form, ","))
    table.write_text(("\ufeff" if form == "byte order mark" else "") + text, encoding="utf-8")
    rows, labels = read_review_sheet(table, n_rows=6, pool="p")
    assert dict(zip(rows.tolist(), labels.tolist())) == {4: 1, 0: 0, 2: -1}
    assert rows.tolist() == ([2, 0, 4] if form == "shuffled" else ROWS)


def test_lines_without_answer_are_no_answers(table):
    rows, labels = read_review_sheet(table, n_rows=6, pool="p")
    assert len(rows) == len(labels) == 0
    assert rows.dtype == labels.dtype == np.int64


def test_the_same_answer_twice_counts_once(table):
    answer(table, {4: "1", 0: "no"})
    edit(table, lambda lines: [*lines, lines[1]])
    rows, labels = read_review_sheet(table, n_rows=6, pool="p")
    assert rows.tolist() == [4, 0]
    assert labels.tolist() == [1, 0]


def set_cell(line, column, value):
    def change(lines):
        lines[line][column] = value
        return lines

    return change


SPOILED = {
    "unknown row": (set_cell(1, 0, "6"), "line 2: there is no row 6; the pool has 6 rows"),
    "negative row": (set_cell(1, 0, "-1"), "line 2: row '-1' is no whole number from 0"),
    "long row": (set_cell(1, 0, "9" * 5000), "line 2: row '9{40}' is no whole number"),
    "other digits": (set_cell(1, 0, "²"), "line 2: row '²' is no whole number"),
    "other row": (set_cell(1, 0, "5"), "rows of the file are not those of the sheet"),
    "missing line": (lambda lines: lines[:-1], "rows of the file are not those of the sheet"),
    "answer": (set_cell(2, 1, "maybe"), "line 3: answer 'maybe' is none of 'artifact', 'no artifact', 'unsure'"),
    "two answers": (
        lambda lines: [*lines, [lines[1][0], "no artifact", *lines[1][2:]]],
        "line 5: row 4 is answered 'no artifact', but 'artifact' in an earlier line",
    ),
    "two batches": (set_cell(3, 2, "b-other"), "the file holds lines of 2 batches"),
    "digest": (lambda lines: [lines[0], *([*line[:3], "d-0"] for line in lines[1:])], "are not those of the sheet"),
    "short line": (lambda lines: [lines[0], lines[1][:2], *lines[2:]], "line 2 has 2 columns of 4"),
    "header": (lambda lines: lines[1:], "needs one column 'row'"),
    "doubled column": (lambda lines: [[*line, line[1]] for line in lines], "needs one column 'answer'"),
    "no lines": (lambda lines: lines[:1], "holds no rows"),
    "nothing": (lambda lines: [], "needs one column 'row'"),
}


@pytest.mark.parametrize("problem", SPOILED)
def test_what_is_wrong_is_refused(table, problem):
    change, message = SPOILED[problem]
    answer(table, {4: "artifact"})
    edit(table, change)
    with pytest.raises(ValueError, match=message):
        read_review_sheet(table, n_rows=6, pool="p")


def test_other_pools_and_batches_are_refused(table, tmp_path):
    answer(table, {4: "artifact"})
    for options in ({"n_rows": 6}, {"n_rows": 6, "pool": "q"}, {"n_rows": 7, "pool": "p"}):
        with pytest.raises(ValueError, match="written for another pool"):
            read_review_sheet(table, **options)
    again = write_review_sheet(tmp_path / "again.csv", make_bunch(), ROWS, pool="p")
    with pytest.raises(ValueError, match="of another batch"):
        read_review_sheet(table, n_rows=6, pool="p", batch=again)


def test_files_that_are_no_table_are_refused(tmp_path):
    page = tmp_path / "sheet.html"
    write_review_sheet(page, make_bunch(), ROWS)
    with pytest.raises(ValueError, match="press 'Save answers'"):
        read_review_sheet(page, n_rows=6)
    binary = tmp_path / "sheet.csv"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match="no text in UTF-8"):
        read_review_sheet(binary, n_rows=6)
    binary.write_text("row,answer,batch,digest\n" + "x" * 200_000, encoding="utf-8")
    with pytest.raises(ValueError, match="no CSV: field larger"):
        read_review_sheet(binary, n_rows=6)


def test_what_cannot_be_written(tmp_path):
    bunch = make_bunch()
    for rows, error, message in (
        ([], ValueError, "no row is asked for"),
        ([1, 1], ValueError, "row 1 is asked for twice"),
        ([6], IndexError, "row 6 does not exist"),
        ([0.5], IndexError, "dtype float64"),
    ):
        with pytest.raises(error, match=message):
            write_review_sheet(tmp_path / "a.csv", bunch, rows)
    with pytest.raises(ValueError, match=r"must end in \.html, for a page, or in \.csv"):
        write_review_sheet(tmp_path / "a.txt", bunch, ROWS)
    with pytest.raises(ValueError, match=r"labels has shape \(2,\), but X has 6 rows"):
        write_review_sheet(tmp_path / "a.csv", bunch, ROWS, labels=[0, 1])
    with pytest.raises(ValueError, match="labels: row 5 has 2; labels are"):
        write_review_sheet(tmp_path / "a.csv", bunch, ROWS, labels=[0, 1, 0, 0, 0, 2])
    with pytest.raises(ValueError, match="two finite numbers"):
        write_review_sheet(tmp_path / "a.html", bunch, ROWS, value_range=(1, 1))
    assert not list(tmp_path.iterdir())
