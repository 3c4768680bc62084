"""The peer on the same GPU: the transformer of a checkpoint's shape in torch, bf16, with scaled_dot_product_attention, compiled.

Argument: JSON with the shape and the number of rows and repeats. Prints JSON: ms of a pass, or why there is none.
"""

import json
import sys
import time

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError:
    print(json.dumps({"missing": "no torch"}))
    sys.exit(0)
if not torch.cuda.is_available():
    print(json.dumps({"missing": "torch sees no GPU", "torch": torch.__version__}))
    sys.exit(0)

case = json.loads(sys.argv[1])
width, heads = case["width"], case["heads"]
rows, pixels, text_length = case["rows"], case["pixels"], case["text_length"]


class Attention(nn.Module):
    def __init__(self, context: int):
        super().__init__()
        self.q, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.k, self.v = nn.Linear(context, width), nn.Linear(context, width)

    def forward(self, x, context):
        def split(y):
            return y.unflatten(-1, (heads, -1)).transpose(1, 2)

        mixed = F.scaled_dot_product_attention(split(self.q(x)), split(self.k(context)), split(self.v(context)))
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.own, self.cross = Attention(width), Attention(case["text_width"])
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, text):
        y = self.norms[0](x)
        x = x + self.own(y, y)
        x = x + self.cross(self.norms[1](x), text)
        y = self.up(self.norms[2](x))
        return x + self.down(y * torch.sigmoid(1.702 * y))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(case["classes"] + 1, width)
        self.blocks = nn.ModuleList(Block() for _ in range(case["layers"]))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, case["classes"])

    def forward(self, tokens, text):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, text)
        return F.log_softmax(self.head(self.norm(x)).float(), -1)


with torch.inference_mode():
    model = Transformer().to("cuda", torch.bfloat16).eval()
    tokens = torch.randint(0, case["classes"], (rows, pixels), device="cuda")
    text = torch.randn(rows, text_length, case["text_width"], device="cuda", dtype=torch.bfloat16)
    result = {"torch": torch.__version__, "device": torch.cuda.get_device_name()}
    for name, call in (("eager_ms", model), ("compiled_ms", torch.compile(model))):
        for _ in range(3):
            call(tokens, text)
        best = float("inf")
        for _ in range(case["repeats"]):
            torch.cuda.synchronize()
            started = time.perf_counter()
            call(tokens, text)
            torch.cuda.synchronize()
            best = min(best, (time.perf_counter() - started) * 1000)
        result[name] = round(best, 2)
print(json.dumps(result))
