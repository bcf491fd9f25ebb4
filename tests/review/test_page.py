"""The script of the page, run by Node on the few parts of a browser that it uses."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from sklearn_shortcuts.review import read_review_sheet, write_review_sheet

BROWSER = """
const text = require("fs").readFileSync(process.argv[2], "utf8");
const make = (parts) => Object.assign({dataset: {}, on: {}, textContent: "", focus() { focused = this; },
  addEventListener(kind, listener) { this.on[kind] = listener; }, scrollIntoView() {}}, parts);
let focused = null, saved = null;
const rows = Array.from(text.matchAll(/<fieldset[^>]*data-row="([0-9]+)"([^>]*)>([^]*?)<[/]fieldset>/g), (found) => {
  const boxes = Array.from(found[3].matchAll(/<input[^>]*value="([^"]*)"/g), (box) => make({value: box[1]}));
  const row = make({boxes, querySelectorAll: () => boxes});
  row.dataset.row = found[1];
  return row;
});
const sheet = text.match(/id="sheet">([^]*?)<[/]script>/)[1];
const parts = {sheet: make({textContent: sheet}), progress: make(), save: make()};
global.document = {getElementById: (name) => parts[name], querySelectorAll: () => rows,
  createElement: () => make({click() { saved.name = this.download; }})};
global.window = make();
global.Blob = class { constructor(pieces) { saved = {text: pieces.join("")}; } };
URL.createObjectURL = () => "blob:";
URL.revokeObjectURL = () => {};
new Function(text.match(/<script>([^]*?)<[/]script>/)[1])();
const asks = () => { let asked = false; window.on.beforeunload({preventDefault() { asked = true; }}); return asked; };
const press = (key) => focused.on.keydown({key, preventDefault() {}});
const log = {places: [], before: asks()};
for (const key of ["1", "ArrowRight", "3", "ArrowLeft", "2", "0", "ArrowLeft", "ArrowLeft", "ArrowLeft"]) {
  press(key);
  log.places.push(rows.indexOf(focused));
}
rows[1].boxes[1].checked = true;
rows[1].boxes[1].on.change();
rows[1].boxes[0].checked = true;
rows[1].boxes[0].on.change();
rows[1].boxes[1].checked = true;
rows[1].boxes[1].on.change();
log.checked = rows.map((row) => row.boxes.map((box) => Boolean(box.checked)));
log.progress = parts.progress.textContent;
log.unsaved = asks();
parts.save.on.click();
console.log(JSON.stringify({...log, ...saved, after: asks()}));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_answers_by_keys_and_boxes_are_saved(tmp_path):
    page, script = tmp_path / "sheet.html", tmp_path / "browser.js"
    batch = write_review_sheet(page, np.random.default_rng(0).random((6, 8, 8)), [4, 0, 2], pool="p")
    script.write_text(BROWSER, encoding="utf-8")
    done = subprocess.run(["node", script, page], check=True, capture_output=True, text=True)
    log = json.loads(done.stdout)
    # An answer goes on to the next row, taking one back does not; the ends of the page hold.
    assert log["places"] == [1, 2, 2, 1, 2, 2, 1, 0, 0]
    assert log["checked"] == [[True, False, False], [False, True, False], [False, False, False]]
    assert log["progress"] == "2 of 3 answered"
    assert [log["before"], log["unsaved"], log["after"]] == [False, True, False]
    saved = tmp_path / log["name"]
    saved.write_bytes(log["text"].encode())
    rows, labels = read_review_sheet(saved, n_rows=6, pool="p", batch=batch)
    assert dict(zip(rows.tolist(), labels.tolist())) == {4: 1, 0: 0}
