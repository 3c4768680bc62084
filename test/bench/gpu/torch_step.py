"""The peers on the same device: the published shape's transformer in torch, with scaled_dot_product_attention, eager and compiled,
and in diffusers where that is installed; bf16 on a GPU, fp32 on a CPU.

Argument: JSON with layers, rows, repeats and device. Prints JSON: ms of a pass, or why there is none.
"""

import json
import sys
import time

case = json.loads(sys.argv[1])

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError:
    print(json.dumps({"missing": "no torch"}))
    sys.exit(0)
if case["device"] == "cuda" and not torch.cuda.is_available():
    print(json.dumps({"missing": "torch sees no GPU", "torch": torch.__version__}))
    sys.exit(0)

HEADS, HEAD_DIM, PIXELS, CLASSES, TEXT_LENGTH, TEXT_WIDTH = 16, 88, 1024, 4096, 77, 512
WIDTH = HEADS * HEAD_DIM
rows, device = case["rows"], case["device"]
dtype = torch.bfloat16 if device == "cuda" else torch.float32


class Attention(nn.Module):
    def __init__(self, context: int):
        super().__init__()
        self.q, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.k, self.v = nn.Linear(context, WIDTH), nn.Linear(context, WIDTH)

    def forward(self, x, context):
        def split(y):
            return y.unflatten(-1, (HEADS, -1)).transpose(1, 2)

        mixed = F.scaled_dot_product_attention(split(self.q(x)), split(self.k(context)), split(self.v(context)))
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.own, self.cross = Attention(WIDTH), Attention(TEXT_WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x, text):
        y = self.norms[0](x)
        x = x + self.own(y, y)
        x = x + self.cross(self.norms[1](x), text)
        y = self.up(self.norms[2](x))
        return x + self.down(y * torch.sigmoid(1.702 * y))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(CLASSES + 1, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(case["layers"]))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, tokens, text):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, text)
        return F.log_softmax(self.head(self.norm(x)).float(), -1)


def wait():
    if device == "cuda":
        torch.cuda.synchronize()


def best_ms(call):
    for _ in range(3):
        call()
    best = float("inf")
    for _ in range(case["repeats"]):
        wait()
        started = time.perf_counter()
        call()
        wait()
        best = min(best, (time.perf_counter() - started) * 1000)
    return round(best, 2)


def of_diffusers(tokens, text):
    """ms of its own class, and the version; why there is none if it cannot be made."""
    try:
        import diffusers

        model = diffusers.Transformer2DModel(
            num_attention_heads=HEADS,
            attention_head_dim=HEAD_DIM,
            num_layers=case["layers"],
            cross_attention_dim=TEXT_WIDTH,
            attention_bias=True,
            sample_size=32,
            num_vector_embeds=CLASSES + 1,
            activation_fn="geglu-approximate",
            num_embeds_ada_norm=100,
        )
    except Exception as error:
        return {"diffusers": f"{type(error).__name__}: {error}"}
    model = model.to(device, dtype).eval()
    step = torch.tensor(50, device=device)
    ms = best_ms(lambda: model(tokens, encoder_hidden_states=text, timestep=step))
    return {"diffusers": diffusers.__version__, "diffusers_ms": ms}


with torch.inference_mode():
    tokens = torch.randint(0, CLASSES, (rows, PIXELS), device=device)
    text = torch.randn(rows, TEXT_LENGTH, TEXT_WIDTH, device=device, dtype=dtype)
    model = Transformer().to(device, dtype).eval()
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    result = {"torch": torch.__version__, "device": name, "type": str(dtype).removeprefix("torch.")}
    result["eager_ms"] = best_ms(lambda: model(tokens, text))
    try:
        compiled = torch.compile(model)
        result["compiled_ms"] = best_ms(lambda: compiled(tokens, text))
    except Exception as error:
        result["compiled"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    del model
    result |= of_diffusers(tokens, text)
print(json.dumps(result))
