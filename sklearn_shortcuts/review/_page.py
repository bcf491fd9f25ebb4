"""The page of a review sheet: pictures, three answers each, and a button that saves them; it needs no network."""

import html
import json

_STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; }
body { margin: 0 auto; max-width: 1500px; padding: 0 1rem 3rem; }
header { position: sticky; top: 0; z-index: 1; background: Canvas; padding: .6rem 0; }
header { border-bottom: 1px solid GrayText; }
h1 { font-size: 1.15rem; margin: 0 0 .3rem; }
kbd { border: 1px solid GrayText; border-radius: 3px; padding: 0 .3em; }
main { display: grid; gap: 1rem; margin-top: 1rem; }
main { grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--column)), 1fr)); }
fieldset { border: 2px solid GrayText; border-radius: 6px; margin: 0; padding: .5rem; }
fieldset { min-width: 0; scroll-margin: 7rem; }
fieldset:focus { outline: 3px solid Highlight; }
fieldset[data-answer="artifact"] { border-color: #d55e00; }
fieldset[data-answer="no artifact"] { border-color: #0072b2; }
fieldset[data-answer="unsure"] { border-style: dashed; }
img { display: block; width: 100%; background: black; }
svg { display: block; width: 100%; background: white; }
polyline { fill: none; stroke: black; stroke-width: .8; }
label { display: inline-block; margin: .4rem .7rem 0 0; }
dl { margin: .4rem 0 0; font-size: .85rem; } dt, dd { display: inline; margin: 0 .3rem 0 0; }
button { font: inherit; padding: .3rem .8rem; }
"""

_SCRIPT = """
"use strict";
const sheet = JSON.parse(document.getElementById("sheet").textContent);
const rows = Array.from(document.querySelectorAll("fieldset"));
let unsaved = false;
function count() {
  const n = rows.filter((row) => row.dataset.answer).length;
  document.getElementById("progress").textContent = n + " of " + rows.length + " answered";
}
function go(place) {
  const row = rows[Math.max(0, Math.min(rows.length - 1, place))];
  row.focus();
  row.scrollIntoView({block: "nearest"});
}
function answer(row, value) {
  if (value) { row.dataset.answer = value; } else { delete row.dataset.answer; }
  row.querySelectorAll("input").forEach((box) => { box.checked = box.value === value; });
  unsaved = true;
  count();
}
rows.forEach((row, place) => {
  row.querySelectorAll("input").forEach((box) => {
    box.addEventListener("change", () => answer(row, box.checked ? box.value : ""));
  });
  row.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) { return; }
    const value = {"1": "artifact", "2": "no artifact", "3": "unsure", "0": ""}[event.key];
    if (value !== undefined) { answer(row, value); if (value) { go(place + 1); } }
    else if (event.key === "ArrowRight" || event.key === "ArrowDown") { go(place + 1); }
    else if (event.key === "ArrowLeft" || event.key === "ArrowUp") { go(place - 1); }
    else { return; }
    event.preventDefault();
  });
});
document.getElementById("save").addEventListener("click", () => {
  const lines = rows.map((row) => [row.dataset.row, row.dataset.answer || "", sheet.batch, sheet.digest].join(","));
  const text = [sheet.header].concat(lines).join("\\r\\n") + "\\r\\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
  link.download = sheet.file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  unsaved = false;
});
window.addEventListener("beforeunload", (event) => { if (unsaved) { event.preventDefault(); } });
count();
if (rows.length) { go(0); }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{style}</style>
</head>
<body style="--column: {column}px">
<header>
<h1>{title}</h1>
<kbd>1</kbd> artifact <kbd>2</kbd> no artifact <kbd>3</kbd> unsure <kbd>0</kbd> no answer <kbd>&larr;</kbd> \
<kbd>&rarr;</kbd> other row &emsp; <span id="progress" role="status"></span> \
<button id="save" type="button">Save answers</button>
<noscript>Answering on this page needs JavaScript; the CSV form of the sheet does not.</noscript>
</header>
<main>
{rows}
</main>
<script type="application/json" id="sheet">{sheet}</script>
<script>{script}</script>
</body>
</html>
"""

_ROW = """<fieldset tabindex="0" data-row="{row}"{answered}>
<legend>row {row}</legend>
{picture}
{boxes}
{details}</fieldset>"""


def make_page(rows, pictures, details, answers, *, title, sheet, wide):
    """Write the page.

    Parameters
    ----------
    rows : sequence of int
        Numbers of the rows.
    pictures : iterable of str
        HTML of each row's picture.
    details : sequence of dict of str to object
        What else is shown of each row; escaped here.
    answers : sequence of str
        Answers that are filled in, empty where there is none.
    title : str
        Heading; escaped here.
    sheet : dict of str to str
        What the script writes into the answers: ``batch``, ``digest``, ``header``, and the name ``file``.
    wide : bool
        Whether the pictures need wide columns.

    Returns
    -------
    str
        The page.
    """
    parts = []
    for row, drawn, known, answered in zip(rows, pictures, details, answers):
        boxes = "\n".join(
            f'<label><input type="checkbox" tabindex="-1" value="{value}"{" checked" * (value == answered)}> '
            f"{value}</label>"
            for value in ("artifact", "no artifact", "unsure")
        )
        listed = "".join(
            f"<div><dt>{html.escape(str(name))}:</dt><dd>{html.escape(str(value))}</dd></div>"
            for name, value in known.items()
        )
        parts.append(
            _ROW.format(
                row=int(row),
                answered=f' data-answer="{answered}"' if answered else "",
                picture=drawn,
                boxes=boxes,
                details=f"<dl>{listed}</dl>\n" if listed else "",
            )
        )
    return _PAGE.format(
        title=html.escape(title),
        style=_STYLE,
        column=520 if wide else 240,
        rows="\n".join(parts),
        # A script element ends at "</", whatever its type.
        sheet=json.dumps(sheet).replace("<", "\\u003c"),
        script=_SCRIPT,
    )
