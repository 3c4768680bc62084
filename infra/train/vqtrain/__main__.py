"""The command line: one command per stage (see README.md)."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from .config import Config
from .output.evaluate import evaluate
from .output.export import export
from .output.pack import pack
from .output.image_source import ImageSource
from .output.plot import plot_logs
from .output.sheet import make_sheet
from .output.snapshot import restore, snapshot
from .scenes.sprites import prepare
from .training.team import in_processes
from .training.tokens import make_tokens
from .training.train_decoder import train_decoder
from .training.train_denoiser import train_transformer
from .training.train_reader import train_reader
from .training.train_vqvae import train_vqvae
from .words.synonyms import make_words


def main() -> None:
    parser = argparse.ArgumentParser(prog="vqtrain", description="Trains a small VQ-Diffusion model; stages in order.")
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return stages.add_parser(name, help=text, description=text, parents=[common()])

    add("prepare", "fetch icons and labels, render the sprites")
    add("words", "find words that mean a subject without being its name")
    vqvae = add("vqvae", "train the VQ-VAE")
    vqvae.add_argument("--warm-start", type=Path, metavar="FILE", help="a VQModel's safetensors file to begin with")
    add("tokens", "encode the sprites with the averaged VQ-VAE")
    add("decoder", "train the decoder alone, on composed latents; these stay as they are")
    transformer = add("transformer", "train denoiser, text encoder and empty-text embedding")
    transformer.add_argument(
        "--warm-start", type=Path, metavar="FOLDER", help="a checkpoint of the same widths to begin with"
    )
    transformer.add_argument(
        "--processes", type=int, default=1, help="that train together, each with a batch of its own [1]"
    )
    exporting = add("export", "write the averaged weights as a checkpoint in the diffusers layout")
    exporting.add_argument("folder", type=Path, help="where to")
    add("reader", "train the network that judges images")
    evaluating = add("evaluate", "measure a checkpoint folder: figures as JSON")
    evaluating.add_argument("folder", type=Path, help="the checkpoint")
    evaluating.add_argument("output", type=Path, help="path of the report, without its ending")
    evaluating.add_argument("--scenes", type=int, default=100, help="of each kind [100]")
    drawing = add("sheet", "draw a file of prompts, one a line, as one sheet of images")
    drawing.add_argument("folder", type=Path, help="the checkpoint")
    drawing.add_argument("prompts", type=Path, help="the file")
    drawing.add_argument("output", type=Path, help="the PNG file to write")
    for images in (evaluating, drawing):
        images.add_argument("--steps", type=int, help="denoising steps [16, or the service's default]")
        images.add_argument("--guidance-scale", type=float, help="[1, or the service's default]")
        images.add_argument("--api", metavar="URL", help="let a running service with this checkpoint make the images: "
                              "http://HOST:PORT/v1, its key in VQD_API_KEY")  # fmt: skip
        images.add_argument("--seed", type=int, default=0, help="[0]")
    add("plot", "draw the logs of the run").add_argument("folder", type=Path, help="where to")
    add("pack", "what the later stages need of the data, as one archive").add_argument(
        "archive", type=Path, help="the .tar to write"
    )
    for name, text in (
        ("snapshot", "keep the run's averaged weights in small files"),
        ("restore", "begin a run with the weights of a snapshot"),
    ):
        add(name, text).add_argument("folder", type=Path, help="of the snapshot")
    options = parser.parse_args()

    config = configure(options)
    torch.set_num_threads(config.run.threads)
    match options.stage:
        case "prepare":
            prepare(config)
        case "words":
            make_words(config)
        case "vqvae":
            train_vqvae(config, warm_start=options.warm_start)
        case "tokens":
            make_tokens(config)
        case "decoder":
            train_decoder(config)
        case "transformer":
            in_processes(options.processes, partial(train_transformer, config, options.warm_start))
        case "export":
            export(config, options.folder)
        case "reader":
            train_reader(config)
        case "evaluate":
            evaluate(config, source_of(options), options.output, scenes=options.scenes)
        case "sheet":
            make_sheet(source_of(options), options.prompts, options.output)
        case "pack":
            pack(config, options.archive)
        case "snapshot":
            snapshot(config, options.folder)
        case "restore":
            restore(config, options.folder)
        case "plot":
            plot_logs(config.run.run, options.folder)


def source_of(options: argparse.Namespace) -> ImageSource:
    return ImageSource(
        options.folder, steps=options.steps, guidance_scale=options.guidance_scale, seed=options.seed, api=options.api
    )


def common() -> argparse.ArgumentParser:
    """The options that every stage has."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--home", type=Path, help="folder of data and runs [VQD_TRAIN_HOME, else vqd-train]")
    parser.add_argument("--name", help="name of the run [first]")
    parser.add_argument("--threads", type=int, help="threads of torch [1]")
    parser.add_argument("--max-images", type=int, help="images that the VQ-VAE is trained on [28000]")
    parser.add_argument("--max-samples", type=int, help="samples that the denoiser is trained on [1000000]")
    parser.add_argument(
        "--token-share",
        type=share,
        help="of the latents that the denoiser sees of an image, but for the last samples [1/3]",
    )
    parser.add_argument("--max-renders", type=int, help="images that the reader is trained on [120000]")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where torch computes [cpu]")
    parser.add_argument("--max-seconds", type=float, help="stop and save after so many seconds of work")
    parser.add_argument("--compile", action="store_true", default=None, help="torch.compile the denoiser")
    parser.add_argument(
        "--schedule-seconds", type=float, help="finish the stage after so many seconds of work, however far it comes"
    )
    parser.add_argument(
        "--workers", type=int, help="processes that draw the denoiser's batches [0, or 12 with --large]"
    )
    parser.add_argument("--large", action="store_true", help="settings for a GPU: a larger denoiser and larger batches")
    parser.add_argument("--smoke", action="store_true", help="tiny settings: shows that the chain works")
    return parser


def share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("must be above 0, and at most 1")
    return value


def configure(options: argparse.Namespace) -> Config:
    config = Config().large() if options.large else Config()
    config = config.smoke() if options.smoke else config

    def given(*names: str) -> dict[str, object]:
        return {name: getattr(options, name) for name in names if getattr(options, name) is not None}

    return replace(
        config,
        run=replace(
            config.run,
            **given("home", "name", "threads", "device", "max_seconds", "schedule_seconds", "workers", "compile"),
        ),
        vq=replace(config.vq, **given("max_images")),
        reader=replace(config.reader, **given("max_renders")),
        transformer=replace(config.transformer, **given("max_samples", "token_share")),
    )


if __name__ == "__main__":
    main()
