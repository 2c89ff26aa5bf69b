"""Models of several kinds, for the tests of their pages."""
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from PIL import Image

from mlship import Label
from mlship.kinds import Audio, File, Plot, Table, Video


def find(text):
    return [{"title": f"{text} {i}", "score": 1 / (i + 2), "where": "<b>here</b>"} for i in range(3)]


def tone(image):
    a = np.asarray(image) / 255
    return {"dark": 1 - float(a.mean()), "light": float(a.mean())}


def turn(image):
    import base64
    import io
    out = io.BytesIO()
    image.rotate(90, expand=True).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def evil(choice, note):
    return f"<img src=x onerror='window.hacked = 1'>{note}"


def weather(sky: Literal["clear", "grey"], hours: float) -> Label:
    rain = min(1, hours / 24) * (sky == "grey")
    return {"dry": 1 - rain / 2, "rain": rain, "wind": .3}   # each on its own: no sum of one


def louder(sound: Audio, by: float = 2.0) -> Audio:
    "Makes a sound louder."
    samples, rate = sound.samples()
    return Audio.of(samples * by, rate)


def film(film: Video) -> Video:
    "Gives a film back."
    return film


def letter(letter: File) -> File:
    "Gives a file back, under another name."
    return File(letter + b"!", f"copy of {letter.name}")


def curve(sales: Table, kind: Literal["line", "points", "bar"] = "line") -> Plot:
    "Draws the columns of a table."
    numbers = sales.select_dtypes("number")
    names = sales.drop(columns=numbers.columns)
    x = names.iloc[:, 0] if len(names.columns) else sales.index
    return Plot(x, {c: numbers[c] for c in numbers}, kind, title="All columns", x_label="row", y_label="as entered")


def sums(sales: pd.DataFrame) -> pd.DataFrame:
    "Adds up the columns of a table."
    return sales.sum(numeric_only=True).to_frame("sum").rename_axis("column").reset_index()


def deep(settings: dict) -> dict:
    "Gives JSON back."
    return {"given": settings, "nested": {"a": [1, "x", {"b": None}]}, "sound": Audio.of([0.0] * 800, 8000)}


def histogram(values: list[float]):
    "Draws with matplotlib's way of showing itself."
    class Drawn:
        def _repr_svg_(self):
            bars = "".join(f"<rect x='{20 * i}' y='{90 - v}' width='16' height='{v}' fill='teal'/>"
                           for i, v in enumerate(values))
            return f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 200 100' width='400'>{bars}</svg>"
    return Drawn()


def wide(picture: Image) -> str:
    "Is a picture wide?"
    return f"{picture.width} by {picture.height}"


BAD = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\"'"


def shapes(kind: Literal["table", "plot", "file", "pairs", "results", "picture", "bars", "link"]):
    "An attack as each kind of answer"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg'><script>window.hacked = 1</script><text>{BAD}</text></svg>"

    class Drawn:
        def _repr_svg_(self):
            return svg
    plot = Plot([BAD, "b"], {BAD: [1, 2], "c": [2, 1]}, "bar", BAD, BAD, BAD)
    return {"table": [{BAD: BAD, "n": 1}, {BAD: None, "n": BAD}], "plot": plot,
            "file": File(svg.encode(), BAD), "pairs": {BAD: BAD, "b": [BAD, 1, {BAD: BAD}]},
            "results": [{"title": BAD, "score": 1, BAD: BAD}], "picture": Drawn(), "bars": {BAD: .6, "b": .4},
            "link": "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg=="}[kind]


KINDS = (louder, film, letter, curve, sums, deep, histogram, wide)


def write(about, words):
    import time
    yield {"progress": 0, "message": "Reading about it"}
    text = ""
    for i in range(words):
        time.sleep(.02)
        text += f"{about} " if i % 5 == 0 else "and so on "
        yield {"progress": i / words, "message": "Writing"}
        yield text


def ship_all():
    "Models of several kinds"
    from sklearn.compose import make_column_transformer
    from sklearn.datasets import load_digits, load_iris
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder
    from sklearn.svm import SVC

    from mlship import ship
    from mlship.function_cell import ship_function

    rng, n = np.random.default_rng(0), 2000
    X = pd.DataFrame({"area": rng.gamma(6, 15, n).clip(18, 260).round(), "rooms": rng.integers(1, 8, n),
                      "district": rng.choice(["Altstadt", "Harbour", "Hills", "North", "University"], n),
                      "year_built": rng.integers(1890, 2024, n), "garden": rng.random(n) < .3})
    worth = X.district.map({"Altstadt": 1.35, "Harbour": 1.2, "Hills": 1.5, "North": .8, "University": 1.05})
    y = 3100 * X.area * worth + 300 * (X.year_built - 1950).abs() + 22000 * X.garden + rng.normal(0, 9000, n)
    flats = make_pipeline(make_column_transformer((OrdinalEncoder(), ["district"]), remainder="passthrough"),
                          HistGradientBoostingRegressor(random_state=0)).fit(X, y)
    ship(flats, X, y, name="flats", title="What is this flat worth?", authors=["Ada Example", "Bo Sample"],
         description="Estimates the price of a flat in our city from five facts about it.\n\nThe flats are invented.",
         paper="https://arxiv.org/abs/1706.03762", units={"area": "m²", "predict": "€"}, check=False,
         notebook=Path(__file__).parents[2] / "nbs/tutorials/01_first_model.ipynb",
         citation="@misc{flats,\n  title = {What is this flat worth?},\n  author = {Example, Ada and Sample, Bo}\n}")
    d = load_digits()
    ship(SVC(probability=True, gamma=.001, random_state=0).fit(d.data, d.target), d.data, d.target, name="digits",
         title="Which digit is this?", description="Draw a digit; the model says which one it is.", check=False)
    iris, kinds = load_iris(as_frame=True), load_iris().target_names
    ship(LogisticRegression(max_iter=500).fit(iris.data, kinds[iris.target]), iris.data, kinds[iris.target],
         name="iris", title="Which iris is this?", check=False)
    ship(find, ["night train", "a long walk"], name="search", title="Search", check=False)
    sizes = [Image.new("RGB", (w, 40)) for w in (50, 60)]          # of several sizes, so that none is the model's
    ship(lambda image: image.width, sizes, name="sizes", check=False)
    grey = [Image.fromarray(np.full((28, 28), v, "uint8")) for v in (0, 99)]
    ship(tone, grey, name="tone", title="Dark or light?", check=False)
    ship(turn, [Image.effect_mandelbrot((300, 200), (-2, -1, 1, 1), 50)], name="turn", title="Turn it", check=False)
    ship(weather, [{"sky": "clear", "hours": 3.0}], name="weather", title="Will it rain?", check=False)
    for f in KINDS:
        ship_function(f, f.__name__, check=False)
    bad = BAD
    ship_function(shapes, "shapes", check=False)
    odd = iris.data.iloc[:, :3].set_axis([bad, f"{bad} [cm]", "${7*7}{{7*7}}"], axis=1)
    ship(LogisticRegression(max_iter=500).fit(odd, np.array([bad, f"{bad}2", "c"])[iris.target]), odd, name="odd",
         check=False)
    rows = pd.DataFrame({"choice": [bad, "b"] * 15, "note": [f"{bad} {i}" for i in range(30)]})
    ship(evil, rows.to_dict("records"), name="evil", title=bad, description=bad, notes=bad, authors=[bad], citation=bad,
         paper="https://example.org/" + bad, units={"choice": bad, "predict": bad}, metrics={bad: bad}, check=False)
    ship(write, [{"about": "snow", "words": 8}, {"about": "a long winter", "words": 60}], name="write",
         title="A text about it", description="Writes a text, word by word.", check=False)
    return flats
