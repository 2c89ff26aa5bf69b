"""Modules of every kind, shipped; truth.json keeps what they say in the notebook."""
import dataclasses
import json
import sys

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from mlship import ship

torch.manual_seed(0)
truth = {}


class Net(nn.Module):   # dropout and batch norm: what it says depends on its mode
    def __init__(self, inputs, outputs):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(.5))
        self.head = nn.Linear(32, outputs)

    def forward(self, x): return self.head(self.body(x))


class Words(nn.Module):   # several inputs of several types, several outputs
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 8)

    def forward(self, words, weight):
        found = self.table(words).mean(1) * weight[:, None]
        return {"vector": found, "length": found.norm(dim=1)}


@dataclasses.dataclass
class Found:
    near: torch.Tensor
    far: torch.Tensor


class Both(nn.Module):   # what torch.nn takes one after another, and a dataclass as the answer
    def __init__(self):
        super().__init__()
        self.join = nn.Bilinear(4, 3, 2)

    def forward(self, left, right): return Found(self.join(left, right), left.sum(1))


class Whole(nn.Module):   # takes the dict itself; remembers a device, and a tensor that is no buffer
    def __init__(self):
        super().__init__()
        self.line, self.mean, self.device = nn.Linear(4, 3), torch.full((4,), .5), torch.device("cpu")

    def forward(self, batch): return self.line(batch["a"].to(self.device) - self.mean) + batch["b"][:, None]


class Narrow(nn.Module):   # one row loses its dimension; weight_norm's class has no pickle
    def __init__(self):
        super().__init__()
        self.line = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))

    def forward(self, x): return self.line(x).squeeze()


class Slow(nn.Module):   # of what it does in Python at every call an exported program has the outcome
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(4, 2)

    def forward(self, x): return self.line(x) * (sum(range(300_000)) / 1e10)


def plain(y):
    if dataclasses.is_dataclass(y):
        y = vars(y)
    if isinstance(y, (tuple, list)):
        y = {f"output_{i}": v for i, v in enumerate(y)}
    if isinstance(y, dict):
        columns = {k: v.tolist() for k, v in y.items()}
        return [dict(zip(columns, row)) for row in zip(*columns.values())]
    return y.tolist()


def keep(name, module, X, dtype=None, **kw):
    was = module.training
    bundle = ship(module, X, name=name, **kw)
    assert module.training == was, "shipping changed the notebook's model"
    module.eval()
    ready = kw["before"](X) if "before" in kw else X
    with torch.inference_mode():
        y = (module(*ready) if isinstance(ready, tuple) else module(ready.to(dtype or ready.dtype))
             if not isinstance(ready, dict) else module(ready) if name == "whole" else module(**ready))
    y = kw["after"](y) if "after" in kw else y
    truth[name] = {"rows": bundle.examples["rows"][:6], "said": plain(y)[:6], "plan": bundle.manifest["plan"]["kind"]}


X, y = load_digits(return_X_y=True)
X = torch.tensor(X[:80] / 16, dtype=torch.float32)
net = Net(64, 10)
best = torch.optim.Adam(net.parameters(), .01)
for _ in range(30):
    loss = nn.functional.cross_entropy(net(X), torch.tensor(y[:80]))
    best.zero_grad()
    loss.backward()
    best.step()
keep("net", net, X)
keep("double", Net(5, 2).double(), torch.randn(20, 5, dtype=torch.float64))
keep("half", nn.Linear(4, 2).to(torch.bfloat16), torch.randn(9, 4), dtype=torch.bfloat16)
keep("words", Words(), {"words": torch.randint(0, 50, (12, 6)), "weight": torch.rand(12)})
keep("both", nn.LSTM(4, 3, batch_first=True, num_layers=2), torch.randn(10, 7, 4), after=lambda y: y[0][:, -1])
keep("pair", Both(), (torch.randn(10, 4), torch.randn(10, 3)))
keep("whole", Whole(), {"a": torch.randn(10, 4), "b": torch.randn(10)})
keep("narrow", torch.compile(Narrow(), backend="eager"), torch.randn(10, 4))
keep("slow", Slow(), torch.randn(10, 4))
keep("script", torch.jit.script(nn.Sequential(nn.Linear(6, 4), nn.ReLU())), torch.randn(15, 6))
keep("traced", torch.jit.trace(nn.Conv2d(1, 2, 3).eval(), torch.rand(1, 1, 8, 8)), torch.rand(10, 1, 8, 8))
pictures = [Image.fromarray((row.reshape(8, 8) * 255).astype("uint8")) for row in X.numpy()]


def ready(images): return torch.tensor(np.stack([np.asarray(i, "float32") for i in images]) / 255).flatten(1)


keep("digit", net, pictures, before=ready, after=lambda y: y.argmax(1))
json.dump(truth, open(sys.argv[1], "w"))
