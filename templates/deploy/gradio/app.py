"""A page to try a model on. The model is in model/bundle, the key that signed it in keys/, mlship in lib/."""
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "lib"))
os.environ["MLSHIP_HOME"] = str(HERE / "home")

import gradio as gr  # noqa: E402

from mlship import MlshipError, load  # noqa: E402
from mlship.inputs import decode_rows  # noqa: E402
from mlship.outputs import answers, to_list  # noqa: E402

model = load(str(HERE / "model" / "bundle"))
bundle, signature = model.bundle, model.signature
seen = bundle.profile.get("fields", {}) if "profile.json" in bundle.manifest["files"] else {}
names = [f.name for f in signature.inputs]


def component(field):
    "What to type one input into"
    profile = seen.get(field.name, {})
    if field.shape or field.type == "json":
        return gr.JSON(label=field.name) if field.type == "json" else gr.Textbox(label=f"{field.name} (a list)")
    if field.type == "bool":
        return gr.Checkbox(label=field.name)
    if field.type == "string":
        known = [str(c) for c in profile.get("categories", [])]
        return gr.Dropdown(known, label=field.name, allow_custom_value=True) if known else gr.Textbox(label=field.name)
    return gr.Number(label=field.name, precision=0 if field.is_integer else None, info=field.expected)


def as_row(values):
    "One row, as /predict takes it"
    import json
    row = {}
    for field, value in zip(signature.inputs, values):
        if field.shape and isinstance(value, str):
            value = json.loads(value)
        row[field.name] = None if value == "" and field.nullable else value
    return row if signature.by_name or len(names) > 1 else row[names[0]]


def answer(*values):
    "What the model says to one row"
    try:
        batch = decode_rows(signature, [as_row(values)])
        got, proba = model.guarded(batch, model.has_proba)
    except MlshipError as e:
        raise gr.Error(f"{e.message} {e.fix}".strip(), print_exception=False) from None
    except ValueError as e:
        raise gr.Error(f"that is no JSON: {e}", print_exception=False) from None
    if model.has_proba and signature.classes:
        return {str(c): float(p) for c, p in zip(signature.classes, to_list(answers(proba, 1))[0])}
    return to_list(answers(got, 1))[0]


def example(row):
    "A kept row, as the form has it"
    import json
    values = [row.get(n) for n in names] if isinstance(row, dict) else row if len(names) > 1 else [row]
    return [json.dumps(v) if f.shape else v for f, v in zip(signature.inputs, values)]


page = gr.Interface(
    answer, [component(f) for f in signature.inputs],
    gr.Label(label="answer") if model.has_proba and signature.classes else gr.JSON(label="answer"),
    examples=[example(row) for row in bundle.examples["rows"][:5]] or None, cache_examples=False,
    title=bundle.manifest.get("title") or bundle.name, description=bundle.manifest["notes"],
    flagging_mode="never", api_name="predict")

if __name__ == "__main__":
    page.launch()
