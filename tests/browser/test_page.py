"""The page in a real Chromium: what a person does with it, with a mouse, with a keyboard, on a phone.

`make browser` runs it; it needs Chromium (Debian's package `chromium`) and puts playwright into a folder of its own.
Pictures of the page are written where MLSHIP_PICTURES says.
"""
import csv
import io
import json
import os
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
from page_models import KINDS, ship_all
from PIL import Image
from served import MLSHIP, Served

from mlship.function_cell import rows_from
from mlship.kinds import Audio, Video
from mlship.media import from_base64

pytest.importorskip("playwright", reason="make browser installs it")
from playwright.sync_api import expect, sync_playwright  # noqa: E402

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]    # a microphone that beeps
PHONE = {"width": 390, "height": 800}
# a model that streams is not asked before somebody asks, and one of files has none before somebody chooses
QUIET = ("docs", "?model=write", "?model=shapes", *(f"?model={f.__name__}" for f in KINDS))
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")


def of_film(film: Video): ...


FILM = rows_from(of_film)[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("MLSHIP_HOME", str(home))
        flats = ship_all()
        served = Served("flats", "digits", "iris", "search", "write", "tone", "turn", "evil", "weather", "shapes",
                        "odd", "sizes", *(f.__name__ for f in KINDS), "--workers", "1", "--max-streams", "1")
        served.flats, served.home = flats, home
        yield served
        served.end()


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def answered(page, before=0):
    "Wait for an answer (not by wait_for_function: it evaluates text, which the page's policy forbids)"
    for _ in range(300):
        if page.evaluate("answers") > before:
            return
        page.wait_for_timeout(30)
    raise AssertionError("no answer came")


@pytest.fixture
def visit(chromium, site):
    "Opens pages; none may ask another host, break a rule of the page's policy, or raise"
    contexts, wrong = [], []

    def start(path="", **options):
        contexts.append(context := chromium.new_context(**{"viewport": {"width": 1200, "height": 900}, **options}))
        context.add_init_script("window.answers = 0; document.addEventListener('answered', () => answers++)")
        page = context.new_page()
        page.on("request", lambda r: r.url.startswith((site.url, "data:", "blob:")) or wrong.append(r.url))
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on("console", lambda m: wrong.append(m.text) if "Content Security Policy" in m.text else None)
        page.goto(f"{site.url}/{path}")
        if path not in QUIET:
            answered(page)
        return page
    yield start
    for c in contexts:
        c.close()
    assert not wrong


def picture(page, name, **options):
    if folder := os.environ.get("MLSHIP_PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.evaluate("[...document.querySelectorAll('p.small')].find(p => p.textContent.startsWith('Also'))?.remove()")
        page.wait_for_timeout(400)
        page.mouse.move(0, 0)
        taken = Image.open(io.BytesIO(page.screenshot(**options))).convert("RGB")
        taken.quantize(96, dither=Image.Dither.NONE).save(Path(folder) / f"page-{name}.png", optimize=True)


def answer(page):
    return page.locator("#answer .answer-main")


def asked(page, act):
    "Do something, and wait for the answer that it brings"
    before = page.evaluate("answers")
    act()
    answered(page, before)


def test_fill_and_predict(visit, site):
    page = visit()
    expect(page.locator("h1").first).to_have_text("What is this flat worth?")
    asked(page, lambda: page.get_by_role("spinbutton", name="area").fill("120"))
    asked(page, lambda: page.get_by_label("district", exact=True).select_option("Hills"))
    row = page.evaluate("import('./demo/try.js').then(m => m.currentRow())")
    assert row["area"] == 120 and row["district"] == "Hills"
    want = site.flats.predict(pd.DataFrame([row]))[0]
    expect(answer(page)).to_have_text(f"{want:,.0f} €")
    expect(page.locator("#answer svg")).to_have_count(1)          # the answers in training behind it
    expect(page.locator("#answer")).to_contain_text("of the answers in training")
    picture(page, "try")
    page.emulate_media(color_scheme="dark")
    picture(page, "try-dark")


def test_wrong_values_are_said_beside_their_field(visit):
    page = visit()
    expect(answer(page)).to_be_visible()
    box = page.get_by_role("spinbutton", name="rooms")
    box.fill("2.5")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator(".is-number", has=box).locator(".problem")).to_contain_text("whole number")
    expect(box).to_have_attribute("aria-invalid", "true")
    box.fill("")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator(".is-number", has=box).locator(".problem")).to_contain_text("A number is needed")
    box.fill("3")
    expect(box).not_to_have_attribute("aria-invalid", "true")


def test_examples_and_what_if(visit):
    page = visit("?model=iris")
    page.locator("#examples button").nth(2).click()
    expect(answer(page)).to_have_text("virginica")
    expect(page.locator("#answer .bars .name").first).to_have_text("virginica")
    page.locator("#along").select_option(label="petal width")
    expect(page.locator("#curve path")).to_have_count(3)
    before = page.locator("#curve path").first.get_attribute("d")
    slider = page.get_by_role("slider", name="petal length")
    slider.focus()
    for _ in range(12):
        page.keyboard.press("PageDown")
    expect(answer(page)).not_to_have_text("virginica")             # it predicted as the slider moved
    expect(page.locator("#along")).to_have_value("2")              # and the chart follows what is moved
    expect(page.locator("#curve path").first).not_to_have_attribute("d", before)


@pytest.mark.parametrize("digit, strokes", [
    ("1", [[(140, 30), (140, 250)]]),
    ("0", [[(140, 40), (90, 70), (70, 140), (90, 210), (140, 240), (190, 210), (210, 140), (190, 70), (140, 40)]]),
    ("7", [[(70, 50), (210, 50), (120, 245)]]),
])
def test_draw_a_digit(visit, digit, strokes):
    page = visit("?model=digits")
    expect(answer(page)).to_be_visible()
    box = page.locator("[data-draw]").bounding_box()
    for stroke in strokes:
        page.mouse.move(box["x"] + stroke[0][0], box["y"] + stroke[0][1])
        page.mouse.down()
        for x, y in stroke[1:]:
            page.mouse.move(box["x"] + x, box["y"] + y, steps=8)
        page.mouse.up()
    expect(answer(page)).to_have_text(digit)
    if digit == "7":
        picture(page, "draw")
    page.get_by_role("button", name="Clear").click()
    expect(answer(page)).to_have_count(0)


def test_an_image_is_drawn_or_uploaded(visit, tmp_path):
    page = visit("?model=tone")
    box = page.locator("[data-draw]").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    for y in range(20, 280, 18):
        page.mouse.move(box["x"] + 260, box["y"] + y)
        page.mouse.move(box["x"] + 20, box["y"] + y + 9)
    page.mouse.up()
    expect(answer(page)).to_have_text("light")
    page = visit("?model=turn")
    expect(page.get_by_role("radiogroup", name="How much to ask")).to_have_count(0)     # a table of pictures is none
    Image.new("RGB", (40, 20), (200, 0, 0)).save(tmp_path / "red.png")
    asked(page, lambda: page.locator("input[type=file]").set_input_files(tmp_path / "red.png"))
    shown = page.locator("#answer img")
    expect(shown).to_be_visible()
    assert shown.evaluate("i => [i.naturalWidth, i.naturalHeight]") == [20, 40]
    (tmp_path / "no.png").write_bytes(b"no picture")
    page.locator("input[type=file]").set_input_files(tmp_path / "no.png")
    expect(page.locator(".problem")).to_contain_text("no picture")


def test_what_comes_from_a_bundle_or_a_user_is_text(visit):
    page = visit("?model=evil")
    page.get_by_label("note").fill("<script>window.hacked = 1</script>")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#answer")).to_contain_text("<img src=x onerror")
    for name in ("API", "About", "Watch"):
        page.get_by_role("tab", name=name).click()
        page.wait_for_timeout(200)
    page.get_by_role("tab", name="Try").click()
    page.get_by_text("A table", exact=True).click()
    page.get_by_role("button", name="Predict all").click()
    expect(page.locator("#rows-state")).to_contain_text("rows in")
    assert page.evaluate("window.hacked") is None and page.locator("main img").count() == 0


def test_attacks_as_names_labels_and_every_kind_of_answer(visit):
    page = visit("?model=odd")
    expect(answer(page)).to_contain_text("window.hacked")
    page.locator("#along").select_option(index=1)
    page.get_by_role("button", name="This is wrong").click()
    for name in ("API", "About", "Watch"):
        page.get_by_role("tab", name=name).click()
        page.wait_for_timeout(200)
    expect(page.locator("#code")).to_contain_text("onerror")
    page.get_by_role("tab", name="Try").click()
    page.get_by_text("A table", exact=True).click()
    page.get_by_role("button", name="Predict all").click()
    expect(page.locator("#rows-state")).to_contain_text("rows in")
    page.locator("#table input").first.fill("x")
    page.locator("#table input").first.press("Tab")
    expect(page.locator("#table tr.wrong")).to_contain_text("onerror")
    assert page.evaluate("window.hacked") is None and page.locator("main img").count() == 0
    assert page.locator("main script").count() == 0
    page = visit("?model=shapes")
    kind = page.get_by_label("Input", exact=True)
    assert kind.locator("option").count() == 8
    for name in kind.locator("option").all_text_contents():
        asked(page, lambda name=name: kind.select_option(name))
        page.wait_for_timeout(150)
        assert page.evaluate("window.hacked") is None, name
        assert page.locator("main script, main iframe").count() == 0, name
        assert page.locator("main img").count() == (name == "picture"), name
    expect(page.locator("#answer")).to_contain_text("answer.bin")        # a page in an answer is a file to be saved


def loaded(what):
    "What a player knows, once it has read the beginning"
    return ("e => new Promise(done => { const said = () => done(e." + what + ");"
            "e.readyState ? said() : e.addEventListener('loadedmetadata', said); })")


def test_sounds_films_and_files_go_in_and_come_out(visit, tmp_path):
    (tmp_path / "tone.wav").write_bytes(Audio.of([.1] * 4000, 8000))
    (tmp_path / "film.webm").write_bytes(FILM)
    page = visit("?model=louder")
    assert page.get_by_role("spinbutton", name="by").input_value() == "2"          # the function's default
    asked(page, lambda: page.locator("input[type=file]").set_input_files(tmp_path / "tone.wav"))
    expect(page.locator("#answer audio")).to_be_visible()
    assert page.locator("#answer audio").evaluate(loaded("duration")) == pytest.approx(.5)
    page.get_by_role("tab", name="API").click()
    expect(page.locator("#send-note")).to_contain_text("200, after")               # a quick model is asked at once
    command = page.locator("#code").text_content()
    assert "-F 'sound=@tone.wav'" in command
    said = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    loud, rate = Audio(from_base64(json.loads(said)["predictions"][0])).samples()
    assert rate == 8000 and loud[9] == pytest.approx(.2, abs=1e-3)
    for language, run in (("Python", ["python3", "-c"]), ("JavaScript", ["node", "--input-type=module", "-e"])):
        page.get_by_text(language, exact=True).click()
        if shutil.which(run[0]):
            said = subprocess.run([*run, page.locator("#code").text_content()], capture_output=True, text=True,
                                  cwd=tmp_path, check=True).stdout
            assert "data:audio/wav;base64," in said
    page.get_by_role("tab", name="Try").click()
    (tmp_path / "no.wav").write_bytes(b"no sound")
    page.locator("input[type=file]").set_input_files(tmp_path / "no.wav")
    expect(page.locator(".problem").first).to_have_text("This is no sound that can be read.")
    page.get_by_role("button", name="Record").click()
    expect(page.locator("[data-recording]")).to_have_text("0:01")
    asked(page, lambda: page.get_by_role("button", name="Stop").click())
    assert page.locator("[data-preview] audio").evaluate(loaded("duration")) > .5
    picture(page, "sound")
    page = visit("?model=film")
    asked(page, lambda: page.locator("input[type=file]").set_input_files(tmp_path / "film.webm"))
    assert page.locator("#answer video").evaluate(loaded("videoWidth")) == 16
    page = visit("?model=letter")
    (tmp_path / "my letter.txt").write_text("hello")
    asked(page, lambda: page.locator("input[type=file]").set_input_files(tmp_path / "my letter.txt"))
    expect(page.locator("#answer")).to_contain_text("copy of my letter.txt6 bytes")
    with page.expect_download() as got:
        page.get_by_role("button", name="Save").click()
    assert got.value.suggested_filename == "copy of my letter.txt" and Path(got.value.path()).read_text() == "hello!"


def test_tables_json_and_plots_go_in_and_come_out(visit, tmp_path):
    page = visit("?model=curve")
    (tmp_path / "sales.csv").write_text("month,seen,expected\nJan,3,4\nFeb,5.5,5\nMar,9,7\nApr,4,6\n")
    asked(page, lambda: page.locator("[data-rows] input[type=file]").set_input_files(tmp_path / "sales.csv"))
    expect(page.locator("[data-count]")).to_have_text("4 rows of 3 columns.")
    spoken = "All columns: seen from 3 to 9; expected from 4 to 7, over row"
    expect(page.get_by_role("img", name=spoken)).to_be_visible()
    for kind, shape, many in (("points", "circle", 8), ("bar", "rect", 8), ("line", "path", 2)):
        asked(page, lambda kind=kind: page.get_by_label("kind").select_option(kind))
        assert page.locator(f"#answer svg {shape}").count() == many
    asked(page, lambda: page.get_by_label("kind").select_option("bar"))
    picture(page, "plot")
    page.get_by_label("sales").fill("month,seen")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator(".problem").first).to_have_text("The first line names the columns, and rows follow.")
    page = visit("?model=sums")
    asked(page, lambda: page.get_by_label("Table", exact=True).fill("a;b\n1;2\n3;007"))      # 007 is no number
    expect(page.locator("#answer table")).to_contain_text("columnsuma4")
    asked(page, lambda: page.get_by_label("Table", exact=True).fill("a,b\n1,2\n3,7"))
    with page.expect_download() as got:
        page.get_by_role("button", name="Save as CSV").click()
    assert Path(got.value.path()).read_text() == "column,sum\na,4\nb,9\n"
    page = visit("?model=deep")
    asked(page, lambda: page.get_by_label("settings").fill('{"a": [1, {"b": 2}]}'))
    expect(page.locator("#answer pre").first).to_contain_text('"b": 2')
    expect(page.locator("#answer audio")).to_be_visible()
    page.get_by_label("settings").fill("{")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator(".problem").first).to_have_text("This is no JSON.")
    page = visit("?model=histogram")
    asked(page, lambda: page.get_by_label("JSON", exact=True).fill("[10, 50, 80]"))
    assert page.locator("#answer img").evaluate("i => i.decode().then(() => i.naturalWidth)") == 400


def test_a_picture_of_any_size_is_chosen_or_drawn(visit, tmp_path):
    page = visit("?model=wide")
    Image.new("RGB", (90, 20), (200, 0, 0)).save(tmp_path / "red.png")
    asked(page, lambda: page.locator("input[type=file]").set_input_files(tmp_path / "red.png"))
    expect(answer(page)).to_have_text("90 by 20")
    page.get_by_text("Draw it instead").click()
    box = page.locator("[data-draw]").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 90)
    asked(page, page.mouse.up)
    expect(answer(page)).to_have_text("280 by 280")
    page = visit("?model=sizes")                                   # training had pictures of several sizes
    expect(answer(page)).to_have_text("50")


def test_drop_a_csv(visit, site, tmp_path):
    page = visit()
    page.get_by_text("A table", exact=True).click()
    rows = pd.DataFrame({"id": ["=1+1", "b", "c"], "district": ["Hills", "North", "Atlantis"], "rooms": [3, 2, 4],
                         "area": [80.5, 55, 90], "garden": [True, False, True], "year_built": [1990, 2001, 1950]})
    text = rows.to_csv(index=False)
    page.evaluate("""text => {
        const data = new DataTransfer();
        data.items.add(new File([text], "flats.csv", {type: "text/csv"}));
        document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true}));
    }""", text)
    expect(page.locator("#rows-state")).to_contain_text("3 rows in")
    expect(page.locator("#rows-state")).to_contain_text("not used: id")
    picture(page, "table")
    with page.expect_download() as got:
        page.get_by_role("button", name="Download").click()
    got.value.save_as(tmp_path / "answers.csv")
    back = list(csv.DictReader(open(tmp_path / "answers.csv", encoding="utf-8")))
    expect(page.locator("#table tr.wrong")).to_contain_text("unknown categories")     # one row is refused, not all
    want = site.flats.predict(rows[["area", "rooms", "district", "year_built", "garden"]].head(2))
    assert [float(r["prediction"]) for r in back[:2]] == pytest.approx(want) and back[2]["id"] == "c"
    page.locator("#table input").nth(0).fill("many")               # a wrong cell spoils its own row alone
    page.locator("#table input").nth(0).press("Tab")
    expect(page.locator("#rows-state")).to_contain_text("2 could not be answered")
    expect(page.locator("#table tr.wrong").first).to_contain_text("area: expected number")


def test_a_csv_that_does_not_fit_says_why(visit, tmp_path):
    page = visit()
    page.get_by_text("A table", exact=True).click()
    (tmp_path / "a.csv").write_text("area;rooms\n1;2\n")
    page.locator("#file").set_input_files(tmp_path / "a.csv")
    expect(page.locator("#rows-state")).to_contain_text("no column district, year_built, garden")
    (tmp_path / "b.csv").write_text("")
    page.locator("#file").set_input_files(tmp_path / "b.csv")
    expect(page.locator("#rows-state")).to_contain_text("no rows")


def test_the_code_on_the_page_runs(visit):
    page = visit()
    asked(page, lambda: page.get_by_role("spinbutton", name="area").fill("77"))
    shown = answer(page).text_content()
    page.get_by_role("tab", name="API").click()
    command = page.locator("#code").text_content()
    said = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout
    assert f"{json.loads(said)['predictions'][0]:,.0f} €" == shown
    picture(page, "api")
    page.get_by_text("Python", exact=True).click()
    said = subprocess.run(["python3", "-c", page.locator("#code").text_content()], capture_output=True, text=True,
                          check=True).stdout
    assert f"{json.loads(said)[0]:,.0f} €" == shown
    page.get_by_text("JavaScript", exact=True).click()
    if shutil.which("node"):
        said = subprocess.run(["node", "--input-type=module", "-e", page.locator("#code").text_content()],
                              capture_output=True, text=True, check=True).stdout
        assert f"{json.loads(said)[0]:,.0f} €" == shown
    page.get_by_role("button", name="Send it").click()
    expect(page.locator("#send-note")).to_contain_text("200, after")
    expect(page.locator("#reply")).to_contain_text('"version": 1')


def test_about_and_watch(visit, site):
    page = visit("#about")
    expect(page.locator("#about")).to_contain_text("Ada Example, Bo Sample")
    expect(page.get_by_role("link", name="The paper")).to_have_attribute("href", "https://arxiv.org/abs/1706.03762")
    notebook = page.frame_locator("iframe.notebook")
    expect(notebook.get_by_text("LogisticRegression").first).to_be_visible()
    picture(page, "about")
    site.ask({"area": 9000.0, "rooms": 3, "district": "Hills", "year_built": 1990, "garden": False})
    page.get_by_role("tab", name="Watch").click()
    expect(page.locator("#totals")).to_contain_text("requests")
    expect(page.locator("#outside")).to_contain_text("area")
    expect(page.locator("#rate svg")).to_have_count(1, timeout=10_000)
    for _ in range(5):
        site.ask({"area": 90.0, "rooms": 3, "district": "Hills", "year_built": 1990, "garden": False})
    page.wait_for_timeout(2500)
    picture(page, "watch")


def test_an_answer_that_is_a_list_of_results(visit):
    page = visit("?model=search")
    page.get_by_label("Text").fill("<i>x</i>")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator(".results article").first).to_contain_text("<i>x</i> 0")
    expect(page.locator(".results article").first).to_contain_text("where <b>here</b>")
    assert page.locator(".results b, .results i").count() == 0


def test_hints_make_a_dropdown_and_bars(visit):
    page = visit("?model=weather")
    assert page.get_by_label("sky").locator("option").all_text_contents() == ["clear", "grey"]
    asked(page, lambda: page.get_by_label("sky").select_option("grey"))
    asked(page, lambda: page.get_by_role("spinbutton", name="hours").fill("24"))
    expect(answer(page)).to_have_text("rain")
    expect(page.locator("#answer")).to_contain_text("rain100.0%dry50.0%")
    picture(page, "weather")


def test_this_is_wrong(visit, site):
    page = visit("?model=iris")
    page.get_by_role("button", name="This is wrong").click()
    page.get_by_label("What would be right?").select_option("versicolor")
    page.get_by_label("Anything else").fill("=HYPERLINK(1)")
    picture(page, "wrong")
    with page.expect_response("**/feedback") as got:
        page.locator("#correct").get_by_role("button", name="Send").click()
    assert got.value.status == 201
    expect(page.locator("#thanks")).to_contain_text("Thank you")
    said = subprocess.run([MLSHIP, "feedback", "iris"], capture_output=True, text=True, check=True).stdout
    row = next(csv.DictReader(said.splitlines()))
    assert (row["prediction"], row["right"], row["note"]) == ("setosa", "versicolor", "'=HYPERLINK(1)")
    assert row["request_id"] and float(row["input.sepal length (cm)"]) == 5.1


def test_a_stream_is_read_along_and_cancelled(visit, site):
    page, other = visit("?model=write"), visit("?model=write")
    page.get_by_role("spinbutton", name="words").fill("400")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#progress")).to_be_visible()
    expect(page.locator("#answer")).to_contain_text("snow and so on")
    picture(page, "stream")
    other.get_by_role("button", name="Predict", exact=True).click()
    expect(other.locator("#state")).to_contain_text("You are next")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#state")).to_have_text("Cancelled.")
    expect(page.locator("#progress")).to_be_hidden()
    answered(other)                         # whose turn has come
    expect(other.locator("#answer")).to_contain_text("snow and so on")
    other.get_by_role("tab", name="API").click()
    said = subprocess.run(["bash", "-c", other.locator("#code").text_content()], capture_output=True, text=True).stdout
    assert said.count("event: partial") == 8 and "event: done" in said


def test_behind_a_key(chromium, site, tmp_path):
    add = [MLSHIP, "api-key", "add", "ann", "--file", tmp_path / "keys"]
    made = subprocess.run(add, capture_output=True, text=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLSHIP_HOME", str(site.home))
        served = Served("iris", "--workers", "1", "--api-key-file", str(tmp_path / "keys"))
    context = chromium.new_context(http_credentials={"username": "any", "password": made.stdout.strip()})
    page = context.new_page()
    page.goto(served.url)
    expect(answer(page)).to_have_text("setosa")
    page.get_by_role("tab", name="API").click()
    command = page.locator("#code").text_content()
    assert "Bearer YOUR_KEY" in command
    command = command.replace("YOUR_KEY", made.stdout.strip())
    said = subprocess.run(["bash", "-c", command], capture_output=True, text=True).stdout
    assert json.loads(said)["predictions"] == ["setosa"]
    page.get_by_role("tab", name="Watch").click()
    expect(page.locator("#watch-state")).to_contain_text("may not read")
    context.close()
    served.end()


def test_with_the_keyboard_alone(visit):
    page = visit()
    expect(answer(page)).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.get_by_role("tab", name="Try").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="API")).to_be_focused()
    expect(page.locator("#api")).to_be_visible()
    page.keyboard.press("End")
    expect(page.locator("#watch")).to_be_visible()
    page.keyboard.press("Home")
    box = page.get_by_role("spinbutton", name="area")
    box.focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("61")
    asked(page, lambda: page.keyboard.press("Enter"))
    page.locator("[name=how]").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#many")).to_be_visible()


def test_on_a_phone(visit):
    page = visit(viewport=PHONE, is_mobile=True, has_touch=True)
    expect(answer(page)).to_be_visible()
    for name in ("Try", "API", "About", "Watch"):
        page.get_by_role("tab", name=name).tap()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than the screen"
    page.get_by_role("tab", name="Try").tap()
    asked(page, lambda: page.locator("#examples button").nth(2).tap())
    picture(page, "phone", full_page=True)


def test_in_a_frame_of_another_page(chromium, site, tmp_path):
    for path, name in (("?embed=1", "embed.html"), ("", "whole.html")):
        (tmp_path / name).write_text(f'<iframe src="{site.url}/{path}" width="1000" height="700"></iframe>')
    blog = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path))
    threading.Thread(target=blog.serve_forever, daemon=True).start()
    page = chromium.new_page()
    page.goto(f"http://127.0.0.1:{blog.server_port}/embed.html")
    inner = page.frame_locator("iframe")
    expect(inner.locator("#answer .answer-main")).to_be_visible()
    expect(inner.get_by_role("tab")).to_have_count(0)
    picture(page, "embed")
    page.goto(f"http://127.0.0.1:{blog.server_port}/whole.html")
    page.wait_for_timeout(500)
    expect(page.frame_locator("iframe").locator("#answer")).to_have_count(0)      # the whole page may not be framed
    page.close()
    blog.shutdown()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["", "#api", "#about", "#watch", "?model=digits", "?model=search", "?model=tone",
                                  "?model=write", "?model=louder", "?model=curve", "?model=wide", "?embed=1", "docs"])
def test_axe_finds_nothing_serious(visit, path, scheme):
    import axe_playwright_python
    axe = next(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js")).read_text(encoding="utf-8")
    page = visit(path, color_scheme=scheme)
    page.wait_for_timeout(700)
    if path == "":
        page.get_by_text("A table", exact=True).click()
        page.wait_for_timeout(200)
        page.get_by_text("One", exact=True).click()
    page.evaluate(axe)
    found = page.evaluate("axe.run().then(r => r.violations)")
    bad = [(v["id"], v["impact"], [n["html"][:120] for n in v["nodes"]][:3]) for v in found
           if v["impact"] in ("serious", "critical")]
    assert not bad
