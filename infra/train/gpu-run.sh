#!/bin/sh
# gpu-run.sh ARCHIVE OUT [START]: everything after the data in ten minutes on one CUDA GPU, from what `vqtrain pack` wrote. OUT gets a snapshot of
# the weights, the logs and the reader. START is the safetensors file of a VQ-VAE to begin with. OPTIONS of the environment are given to every
# stage (`--smoke --device cpu` shows that it works).
set -e
archive=$(realpath "$1") out=$(realpath -m "$2") start=${3:+--warm-start $(realpath "$3")}
python=${PYTHON:-python3}
cd "$(dirname "$0")"
VQD_TRAIN_HOME=${VQD_TRAIN_HOME:-$(mktemp -d)}
export VQD_TRAIN_HOME
mkdir -p "$VQD_TRAIN_HOME" "$out"
tar -xf "$archive" -C "$VQD_TRAIN_HOME"
stage() { "$python" -m vqtrain "$@" --name gpu --large ${OPTIONS:---device cuda}; }
keep() { stage snapshot "$out/snapshot" && cp "$VQD_TRAIN_HOME"/runs/gpu/*.jsonl "$out"; }
# shellcheck disable=SC2086
stage vqvae --schedule-seconds "${VQVAE_SECONDS:-120}" $start
stage tokens
stage decoder --schedule-seconds "${DECODER_SECONDS:-60}"
stage transformer --schedule-seconds "${DENOISER_SECONDS:-330}" --compile
keep
stage reader --max-seconds "${READER_SECONDS:-60}"
cp "$VQD_TRAIN_HOME"/runs/gpu/reader.pt "$out"
