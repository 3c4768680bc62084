"""Times diffusers' own transformer, the peer: one step of an image with guidance, in fp32 and under bf16 autocast.

Arguments: JSON with the module's settings, pixels' side, text length, threads and repeats. Prints JSON.
"""

import json
import sys
import time
import warnings

warnings.filterwarnings("ignore")
import torch
from diffusers import Transformer2DModel

case = json.loads(sys.argv[1])
torch.set_num_threads(case["threads"])
torch.manual_seed(0)
model = Transformer2DModel(**case["config"]).eval()
pixels = case["config"]["sample_size"] ** 2
tokens = torch.randint(0, case["config"]["num_vector_embeds"], (2, pixels))
text = torch.randn(2, case["text_length"], case["config"]["cross_attention_dim"])


@torch.no_grad()
def step(autocast: bool) -> float:
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        started = time.perf_counter()
        model(tokens, encoder_hidden_states=text, timestep=torch.tensor(50))
    return (time.perf_counter() - started) * 1000


result = {"torch": torch.__version__}
for name, autocast in (("fp32", False), ("bf16", True)):
    step(autocast)
    result[f"{name}_ms"] = [step(autocast) for _ in range(case["repeats"])]
print(json.dumps(result))
