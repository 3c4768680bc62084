"""A running vqd service as a source of images: what its users get, quantization and all, in place of this recipe's own sampler."""

from __future__ import annotations

import json
import os
import time
from io import BytesIO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image
from torch import Tensor

from ..training.train_vqvae import to_float

API_KEY = "VQD_API_KEY"
RUNNING = ("starting", "processing")
WAIT_SECONDS = 60
"""The longest that the API answers late for `Prefer: wait`."""
POLL_SECONDS = 1


class Service:
    """The predictions of an API (`http://host:port/v1`), with the key in VQD_API_KEY."""

    BATCH = 10
    """Images of one prediction, at most."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.key = os.environ.get(API_KEY) or None
        if self.key is None:
            raise SystemExit(f"{API_KEY} must hold the key of {url}")

    def generate(self, prompts: list[str], *, steps: int | None, guidance_scale: float | None, seed: int) -> Tensor:
        """Images [B, 3, H, W] in -1 .. 1. What is None is left to the service; steps that are given are strided."""
        wanted = {"prompt": prompts, "seed": seed, "output_format": "png"}
        if steps is not None:
            wanted |= {"num_inference_steps": steps, "scheduler": "strided"}
        if guidance_scale is not None:
            wanted["guidance_scale"] = guidance_scale
        prediction = self._json("/predictions", {"input": wanted})
        while prediction["status"] in RUNNING:
            time.sleep(POLL_SECONDS)
            prediction = self._json(f"/predictions/{prediction['id']}")
        if prediction["status"] != "succeeded":
            raise SystemExit(f"prediction {prediction['id']}: {prediction['status']}: {prediction['error']}")
        return to_float(np.stack([image(url) for url in prediction["output"]]))

    def _json(self, path: str, body: dict | None = None) -> dict:
        data = None if body is None else json.dumps(body).encode()
        headers = {
            "authorization": f"Bearer {self.key}",
            "prefer": f"wait={WAIT_SECONDS}",
            "content-type": "application/json",
        }
        return json.loads(read(Request(self.url + path, data, headers)))


def image(url: str) -> np.ndarray:
    """[H, W, 3], uint8. An image's address needs no key, and may be another host's, which must not get it."""
    return np.array(Image.open(BytesIO(read(Request(url)))).convert("RGB"))


def read(request: Request) -> bytes:
    try:
        with urlopen(request, timeout=2 * WAIT_SECONDS) as answer:
            return answer.read()
    except HTTPError as error:
        raise SystemExit(f"{request.full_url}: {error.code}: {error.read().decode(errors='replace')}") from error
