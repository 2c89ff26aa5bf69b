"""Learners of every kind, trained on what scikit-learn ships, shipped; truth.json keeps what learn.predict says."""
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastai.collab import CollabDataLoaders, collab_learner
from fastai.tabular.all import Categorify, FillMissing, Normalize, TabularDataLoaders, tabular_learner
from fastai.text.all import AWD_LSTM, TextDataLoaders, text_classifier_learner
from fastai.vision.all import (BCEWithLogitsLossFlat, CategoryBlock, CrossEntropyLossFlat, DataBlock, ImageBlock,
                               ImageDataLoaders, Learner, MultiCategoryBlock, PILImageBW, RandomSplitter,
                               RegressionBlock, Resize)
from PIL import Image
from sklearn.datasets import load_diabetes, load_digits, load_wine
from torch import nn

from mlship import ship

torch.manual_seed(0)
np.random.seed(0)
truth, place = {}, Path("pictures")
place.mkdir()


def quiet(learn, epochs=1, rate=.01):
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, rate)
    return learn


def ask_one(learn, item): return learn.predict(item)


def keep(name, learn, rows, items=None, ask=ask_one):
    "Ship a learner, and write down what it says of a few of the notebook's items, one at a time"
    rows = rows[:60]
    bundle = ship(learn, rows, name=name)
    few = list(range(0, min(len(rows), 12), 3))
    said = []
    for i in few:
        item = items[i] if items is not None else rows.iloc[i]
        with learn.no_bar(), learn.no_logging():
            label, index, p = ask(learn, item)
        if hasattr(getattr(label, "items", None), "iloc"):   # of tables it gives the row back, with no label in it
            label = learn.dls.vocab[int(index)] if len(p) > 1 else p
        plain = label.tolist() if hasattr(label, "tolist") else list(label) if not isinstance(label, str) else label
        said.append([plain, p.tolist()])
    truth[name] = {"rows": [bundle.examples["rows"][i] for i in few], "said": said}


# tables: a classifier with missing values and categories; a regression
wine = load_wine(as_frame=True).frame.rename(columns={"od280/od315_of_diluted_wines": "od"})
wine["region"] = pd.cut(wine.alcohol, 3, labels=["north", "middle", "south"]).astype(str)
wine.loc[::9, "ash"] = np.nan
wine["target"] = wine.target.map({0: "red", 1: "white", 2: "rose"})
names = ["region", "alcohol", "ash", "hue", "proline"]
dls = TabularDataLoaders.from_df(wine, procs=[Categorify, FillMissing, Normalize], cat_names=names[:1],
                                 cont_names=names[1:], y_names="target", y_block=CategoryBlock(), bs=32)
keep("wine", quiet(tabular_learner(dls, layers=[20]), 4), wine[names])
sick = load_diabetes(as_frame=True).frame.astype("float32")
dls = TabularDataLoaders.from_df(sick, procs=[Normalize], cont_names=["age", "bmi", "bp"], y_names="target", bs=64)
keep("sick", quiet(tabular_learner(dls, layers=[20], y_range=(0, 400))), sick[["age", "bmi", "bp"]])

# pictures: files labelled by a function of this script; a data block with records; several labels
digits = load_digits()
for i in range(120):
    Image.fromarray((digits.images[i] * 15.9).astype("uint8")).save(place / f"{digits.target[i]}_{i:03}.png")
files = sorted(place.glob("*.png"))


def parity(path): return "odd" if int(Path(path).name[0]) % 2 else "even"


def small_net(outputs, channels=3):
    return nn.Sequential(nn.Conv2d(channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
                         nn.Flatten(), nn.Linear(32, outputs))


dls = ImageDataLoaders.from_path_func(place, files, parity, item_tfms=Resize(16), bs=16, num_workers=0)
keep("parity", quiet(Learner(dls, small_net(2), loss_func=CrossEntropyLossFlat()), 2), files, files)


def where(record): return place / record["file"]
def facts(record): return record["facts"].split()


digit = [int(f.name[0]) for f in files]
records = pd.DataFrame({"file": [f.name for f in files],
                        "facts": [" ".join(["odd"] * (d % 2) + ["large"] * (d > 4)) for d in digit]})
block = DataBlock((ImageBlock(PILImageBW), MultiCategoryBlock), get_x=where, get_y=facts, item_tfms=Resize(16),
                  splitter=RandomSplitter(seed=0))
dls = block.dataloaders(records, bs=16, num_workers=0)
learn = quiet(Learner(dls, small_net(2, 1), loss_func=BCEWithLogitsLossFlat()))
keep("facts", learn, records, [r for _, r in records.iterrows()])
block = DataBlock((ImageBlock, RegressionBlock), get_y=lambda p: float(Path(p).name[0]), item_tfms=Resize(16),
                  get_items=lambda _: files, splitter=RandomSplitter(seed=0))
keep("height", quiet(Learner(block.dataloaders(place, bs=16, num_workers=0), small_net(1))), files, files)

# text
words = {"good": "fine great lovely superb".split(), "bad": "awful poor sad horrid".split()}
texts = pd.DataFrame([{"text": " ".join(np.random.choice(words[k] + "a the film was".split(), 8)), "label": k}
                      for k in ("good", "bad") for _ in range(60)])
dls = TextDataLoaders.from_df(texts, text_col="text", label_col="label", bs=16, seq_len=20, num_workers=0)
small = {"emb_sz": 8, "n_hid": 12, "n_layers": 2, "pad_token": 1, "bidir": False, "output_p": 0.1, "hidden_p": .1,
         "input_p": .1, "embed_p": .02, "weight_p": .1}
learn = quiet(text_classifier_learner(dls, AWD_LSTM, config={**small}, pretrained=False), 1)
keep("film", learn, texts.text.tolist(), texts.text.tolist())

# who likes what
ratings = pd.DataFrame({"user": np.repeat([f"u{i}" for i in range(12)], 10), "film": [f"f{i}" for i in range(10)] * 12})
ratings["stars"] = np.random.randint(1, 6, len(ratings)).astype("float32")
dls = CollabDataLoaders.from_df(ratings, bs=16)


def stars_of(learn, row):   # its learner has no predict that works, and get_preds trips over one row
    p, _, decoded = learn.get_preds(dl=learn.dls.test_dl(pd.DataFrame([row, row])), with_decoded=True)
    return decoded[0], None, p[0]


keep("stars", quiet(collab_learner(dls, n_factors=4, y_range=(0, 5.5)), 2), ratings[["user", "film"]], ask=stars_of)

json.dump(truth, open(sys.argv[1], "w"))
