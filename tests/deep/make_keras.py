"""Keras models of every kind and a SavedModel, shipped; truth.json keeps what they say in the notebook."""
import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mlship import ship

keras.utils.set_random_seed(0)
truth, X = {}, np.random.default_rng(0).random((30, 4)).astype("float32")


class Twice(keras.layers.Layer):   # the notebook's own
    def call(self, x): return 2 * x


def keep(name, model, rows, say):
    bundle = ship(model, rows, name=name)
    truth[name] = {"rows": bundle.examples["rows"][:6], "said": say,
                   "files": sorted(f for f in bundle.manifest["files"] if f.startswith("model/"))}


def listed(y):
    if not isinstance(y, dict):
        return np.asarray(y).tolist()[:6]
    return [dict(zip(y, row)) for row in zip(*(np.asarray(v).tolist() for v in y.values()))][:6]


plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.BatchNormalization(),
                          keras.layers.Dropout(.5), keras.layers.Dense(3, "softmax")])
plain.compile("adam", "sparse_categorical_crossentropy")
plain.fit(X, np.arange(30) % 3, epochs=3, verbose=0)
keep("plain", plain, X, listed(plain(X, training=False)))
own = keras.Sequential([keras.Input((4,)), Twice(), keras.layers.Lambda(lambda x: x + 1)])
keep("own", own, X, listed(own(X)))
a, b = keras.Input((2,), name="a"), keras.Input((), name="b")
two = keras.Model({"a": a, "b": b}, {"sum": keras.ops.sum(a, 1) + b, "double": 2 * a})
rows = {"a": X[:, :2], "b": X[:, 0]}
keep("two", two, rows, listed(two(rows)))
pictures = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3), keras.layers.Flatten(),
                             keras.layers.Dense(2)])
keep("pictures", pictures, np.random.default_rng(1).random((10, 8, 8, 1)).astype("float32"), [])
truth["pictures"]["said"] = listed(pictures(np.array(truth["pictures"]["rows"], "float32")))
plain.export("exported", verbose=False)
keep("saved", Path("exported"), X, listed(plain(X, training=False)))


class Module(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def size(self, text): return {"letters": tf.strings.length(text)}


module = Module()
tf.saved_model.save(module, "words", signatures=module.size)
texts = ["a", "four", "seven's"]
keep("words", Path("words"), texts, [1, 4, 7])
json.dump(truth, open(sys.argv[1], "w"))
