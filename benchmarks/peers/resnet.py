"""ResNet-18 (He et al. 2015, https://arxiv.org/abs/1512.03385) in plain torch, and a picture's way into it."""
import base64
import io

import numpy as np
import torch
from PIL import Image
from torch import nn


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.way = nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs),
                                 nn.ReLU(), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        same = stride == 1 and inputs == outputs
        self.short = nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                                                              nn.BatchNorm2d(outputs))

    def forward(self, x): return torch.relu(self.way(x) + self.short(x))


def resnet18(seed=0):
    torch.manual_seed(seed)
    stages = [Block(a, b, s) for a, b, s in ((64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2),
                                             (256, 256, 1), (256, 512, 2), (512, 512, 1))]
    return nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
                         *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)).eval()


def to_tensor(images):
    "PIL images as a batch of shape (n, 3, 224, 224)"
    arrays = [np.asarray(i.convert("RGB").resize((224, 224)), np.float32) for i in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) / 255


def decode(text): return Image.open(io.BytesIO(base64.b64decode(text)))


def best(logits): return logits.argmax(1)
