"""The command line: one command per stage (see README.md)."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from .config import STYLES, Config
from .evaluate import GUIDANCE_SCALE, STEPS, WORDINGS, Sampling, evaluate
from .export import export
from .plot import plot_logs
from .prepare import prepare
from .service import Service
from .tokens import make_tokens
from .train_transformer import train_transformer
from .train_vqvae import train_vqvae


def main() -> None:
    parser = argparse.ArgumentParser(prog="vqtrain", description="Trains a small VQ-Diffusion model; stages in order.")
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return stages.add_parser(name, help=text, description=text, parents=[common()])

    add("prepare", "fetch icons and labels, render the pictures")
    vqvae = add("vqvae", "train the VQ-VAE")
    vqvae.add_argument("--warm-start", type=Path, metavar="FILE", help="a VQModel's safetensors file to begin with")
    vqvae.add_argument("--decoder-only", action="store_true", help="keep encoder and codebook (tokens stay valid)")
    add("tokens", "encode the pictures with the averaged VQ-VAE")
    transformer = add("transformer", "train denoiser, text encoder and empty-text embedding")
    transformer.add_argument("--warm-start", type=Path, metavar="FOLDER", help="a checkpoint of the same widths to begin with")
    exporting = add("export", "write the averaged weights as a checkpoint in the diffusers layout")
    exporting.add_argument("folder", type=Path, help="where to")
    evaluating = add("evaluate", "measure a checkpoint folder: figures as JSON, and grids of pictures")
    evaluating.add_argument("folder", type=Path, help="the checkpoint")
    evaluating.add_argument("output", type=Path, help="path of the report, without its ending")
    evaluating.add_argument("--subjects", type=int, default=300, help="how many subjects [300]")
    evaluating.add_argument("--wordings", nargs="+", choices=tuple(WORDINGS), default=["label"], help="kinds of prompts [label]")
    evaluating.add_argument("--steps", type=int, help=f"denoising steps [{STEPS}, or the service's default]")
    evaluating.add_argument("--guidance-scale", type=float, help=f"[{GUIDANCE_SCALE}, or the service's default]")
    evaluating.add_argument("--api", metavar="URL", help="let a running service with this checkpoint make the pictures: "
                            "http://HOST:PORT/v1, its key in VQD_API_KEY")  # fmt: skip
    evaluating.add_argument("--seed", type=int, default=0, help="[0]")
    add("plot", "draw the logs of the run").add_argument("folder", type=Path, help="where to")
    options = parser.parse_args()

    config = configure(options)
    torch.set_num_threads(config.run.threads)
    match options.stage:
        case "prepare":
            prepare(config)
        case "vqvae":
            train_vqvae(config, warm_start=options.warm_start, decoder_only=options.decoder_only)
        case "tokens":
            make_tokens(config)
        case "transformer":
            train_transformer(config, warm_start=options.warm_start)
        case "export":
            export(config, options.folder)
        case "evaluate":
            service = Service(options.api) if options.api else None
            steps, guidance_scale = (None, None) if service else (STEPS, GUIDANCE_SCALE)
            sampling = Sampling(options.steps or steps, options.guidance_scale or guidance_scale, options.seed, service)
            evaluate(config, options.folder, options.output, subjects=options.subjects,
                     kinds=tuple(options.wordings), sampling=sampling)  # fmt: skip
        case "plot":
            plot_logs(config.run.run, options.folder)


def common() -> argparse.ArgumentParser:
    """The options that every stage has."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--home", type=Path, help="folder of data and runs [VQD_TRAIN_HOME, else vqd-train]")
    parser.add_argument("--name", help="name of the run [first]")
    parser.add_argument("--threads", type=int, help="threads of torch [1]")
    parser.add_argument("--styles", nargs="+", choices=tuple(STYLES), help="icon sets, a style each, the default one first [flat noto]")
    parser.add_argument("--resolution", type=int, help="side of the pictures in pixels [96]")
    parser.add_argument("--channels", type=int, nargs="+", help="of the VQ-VAE; f = 2^(their number - 1) [32 64 128]")
    parser.add_argument("--max-images", type=int, help="pictures that the VQ-VAE is trained on [28000]")
    parser.add_argument("--max-samples", type=int, help="samples that the denoiser is trained on [90000]")
    parser.add_argument("--token-share", type=share, help="of the latents that the denoiser sees of a picture, but for the last samples [0.5]")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where torch computes [cpu]")
    parser.add_argument("--max-seconds", type=float, help="stop and save after so many seconds of work")
    parser.add_argument("--no-compile", dest="compile", action="store_false", default=None, help="do not torch.compile")
    parser.add_argument("--smoke", action="store_true", help="tiny settings: shows that the chain works")
    return parser


def share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("must be above 0, and at most 1")
    return value


def configure(options: argparse.Namespace) -> Config:
    config = Config().smoke() if options.smoke else Config()

    def given(*names: str) -> dict[str, object]:
        values = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
        return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}

    return replace(
        config,
        run=replace(config.run, **given("home", "name", "threads", "device", "max_seconds", "compile")),
        data=replace(config.data, **given("styles", "resolution")),
        vq=replace(config.vq, **given("channels", "max_images")),
        transformer=replace(config.transformer, **given("max_samples", "token_share")),
    )


if __name__ == "__main__":
    main()
