"""Reads and writes safetensors files: an 8-byte header length, a JSON header, then the raw tensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch

_DTYPES = {"F16": torch.float16, "F32": torch.float32}


def load(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of the file, as float32."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    body = memoryview(bytearray(content[8 + length :]))
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            flat = torch.frombuffer(body[start:end], dtype=_DTYPES[entry["dtype"]])
            tensors[name] = flat.reshape(entry["shape"]).float()
    return tensors


def require_fit(
    source: Path, found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], *, but: tuple[str, ...] = ()
) -> None:
    """
    Ends the program if tensors `found` in `source` are not of the names and shapes of those `wanted`, and names one that is
    not. Names that begin like one of `but` do not count.
    """
    if odd := {name for name in found.keys() ^ wanted.keys() if not name.startswith(but)}:
        name = min(odd)
        raise SystemExit(f"cannot begin with {source}: {name} is {'not needed' if name in found else 'missing'} there")
    for name, value in wanted.items():
        if not name.startswith(but) and found[name].shape != value.shape:
            shapes = f"{list(found[name].shape)}, and {list(value.shape)} in this run"
            raise SystemExit(f"cannot begin with {source}: {name} is {shapes}")


def rounded(values: torch.Tensor, bits: int) -> torch.Tensor:
    """To `bits` significant bits, the leading one included: the rest are zeros, which files are packed without."""
    mantissa, exponent = torch.frexp(values.float())
    return torch.ldexp((mantissa * 2**bits).round() / 2**bits, exponent)


def save_half(path: Path, tensors: dict[str, torch.Tensor], bits: int = 11) -> None:
    """
    Writes `tensors` as float16 of `bits` significant bits, sorted by name; raises ValueError for one that float16 cannot hold.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    chunks, offset = [], 0
    for name in sorted(tensors):
        half = rounded(tensors[name].detach().cpu(), bits).to(torch.float16).contiguous()
        if not torch.isfinite(half).all():
            raise ValueError(f"{name} does not fit float16")
        chunks.append(half.numpy().tobytes())
        end = offset + len(chunks[-1])
        header[name] = {"dtype": "F16", "shape": list(half.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(chunks))
