"""Pipelines of several tasks with random weights, shipped; truth.json keeps what they say in the notebook."""
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
import transformers as tf
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from mlship import ship
from mlship.adapters.transformers import from_hub

torch.manual_seed(0)
truth = {}
words = "[PAD] [UNK] [CLS] [SEP] [MASK] a the film was good bad fine poor".split()
made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
made.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = tf.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
                                       sep_token="[SEP]", mask_token="[MASK]")
small = {"vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
         "intermediate_size": 16}
names = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
bert = tf.BertConfig(**small, **names)
texts = ["the film was good", "bad", "a fine film was the good poor film"]


def pipeline(task, model, **kw):
    return tf.pipeline(task, model=model.eval(), device="cpu", **kw)


def keep(name, model, X, said):
    bundle = ship(model, X, name=name)
    truth[name] = {"rows": bundle.examples["rows"], "said": said, "files": sorted(bundle.manifest["files"])}


film = pipeline("text-classification", tf.BertForSequenceClassification(bert), tokenizer=tokenizer)
keep("film", film, texts, [film(t)[0]["label"] for t in texts])
truth["film"]["top"] = [film(t)[0]["score"] for t in texts]
parts = pipeline("token-classification", tf.BertForTokenClassification(bert), tokenizer=tokenizer,
                 aggregation_strategy="simple")
keep("parts", parts, texts, [[{k: v.item() if hasattr(v, "item") else v for k, v in d.items()} for d in parts(t)]
                             for t in texts])
mask = pipeline("fill-mask", tf.BertForMaskedLM(bert), tokenizer=tokenizer, top_k=2)
masked = ["the film was [MASK]", "a [MASK] film"]
keep("mask", mask, masked, [mask(t) for t in masked])
pair = (tf.BertModel(bert).eval(), tokenizer)
with torch.inference_mode():
    vectors = [pair[0](**tokenizer(t, return_tensors="pt")).last_hidden_state[0].tolist() for t in texts]
keep("vectors", pair, texts, vectors)
gpt = tf.GPT2Config(vocab_size=len(words), n_embd=16, n_layer=1, n_head=2, n_positions=32, bos_token_id=2,
                    eos_token_id=3, pad_token_id=0)
story = pipeline("text-generation", tf.GPT2LMHeadModel(gpt), tokenizer=tokenizer, max_new_tokens=4, do_sample=False)
keep("story", story, texts[:2], [story(t)[0]["generated_text"] for t in texts[:2]])
vit = tf.ViTConfig(image_size=16, patch_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                   intermediate_size=16, **names)
size = {"height": 16, "width": 16}
look = pipeline("image-classification", tf.ViTForImageClassification(vit),
                image_processor=tf.ViTImageProcessor(size=size))
pictures = [Image.fromarray(np.random.default_rng(i).integers(0, 255, (20, 20, 3), "uint8")) for i in range(3)]
keep("look", look, pictures, [look(p)[0]["label"] for p in pictures])

# the hub's cache, laid out as huggingface_hub lays it out
commit = "0123456789" * 4
cache = Path(os.environ["HF_HOME"]) / "hub" / "models--owner--film"
snapshot, blobs = cache / "snapshots" / commit, cache / "blobs"
snapshot.mkdir(parents=True)
blobs.mkdir()
film.save_pretrained("film")
for file in Path("film").iterdir():
    blob = blobs / hashlib.sha256(file.read_bytes()).hexdigest()
    shutil.copy(file, blob)
    (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
keep("far", from_hub(film, "owner/film", revision=commit), texts, truth["film"]["said"])
json.dump(truth, open(sys.argv[1], "w"))
