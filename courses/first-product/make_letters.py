"""Makes lessons/nets/letters.safetensors: a small network that has read Latin letters in print, and nothing else.

    python courses/first-product/make_letters.py

It draws them with lesson 6's own functions and trains lesson 6's own network: about a minute on one core. It needs
what the lesson needs: pip install 'mlship-jupyter[fastai,course]'. The same versions make the same file.
"""
import json
import random
from pathlib import Path

HERE = Path(__file__).parent
EACH, EPOCHS, BATCH, TOP = 300, 10, 64, 0.006


def from_lesson():
    "What lesson 6 sets up: how letters are drawn, and the network."
    book, space = json.loads((HERE / "lessons" / "06_why_a_framework.ipynb").read_text(encoding="utf-8")), {"seed": 0}
    for cell in book["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and source.startswith("#| setup"):
            exec(source, space)
    return space


def main():
    "Draw, train, save in half precision."
    lesson = from_lesson()
    np, torch, letters, rng = lesson["np"], lesson["torch"], lesson["LATIN"], random.Random(0)
    from safetensors.torch import save_file
    torch.manual_seed(0)
    pictures = [lesson["drawn"](k, rng) for k in letters for _ in range(EACH)]
    X, y = lesson["as_tensor"](pictures), torch.arange(len(letters)).repeat_interleave(EACH)
    print(f"{len(X):,} pictures of {len(letters)} letters", flush=True)
    order = torch.randperm(len(X))
    train, test = order[1000:], order[:1000]
    net, steps = lesson["letters_network"](), EPOCHS * (len(train) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), TOP, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, TOP, steps)
    for epoch in range(EPOCHS):
        for rows in train[torch.randperm(len(train))][:steps // EPOCHS * BATCH].split(BATCH):
            loss = torch.nn.functional.cross_entropy(net(X[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            right = np.mean(net(X[test]).argmax(1).numpy() == y[test].numpy())
        print(f"epoch {epoch + 1}: right on {right:.1%} of {len(test)} pictures that it never saw", flush=True)
    out = HERE / "lessons" / "nets" / "letters.safetensors"
    out.parent.mkdir(exist_ok=True)
    save_file({k: v.half() for k, v in net.state_dict().items()}, out)
    out.chmod(0o644)
    print(f"{out.name}: {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
