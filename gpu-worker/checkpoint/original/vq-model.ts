// The original's VQ models (its own patch VQ-VAE, taming-transformers' VQGANs) in the layout of diffusers' VQModel.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { CheckpointError } from "../errors.ts";
import type { OriginalConfig } from "./config.ts";
import type { Tensors } from "./files.ts";
import { conv, norm, type PlannedWeight, pointwise, same } from "./plan.ts";

const CODEBOOKS = ["quantize.embedding.weight", "quantize.embedding", "quantize.embed.weight"];
/** Of all group norms. */
const GROUPS = 32;

/** One half of the VQ model, as its tensors' names and shapes tell. */
interface Half {
  readonly name: "encoder" | "decoder";
  /** Channels by level, the largest image first. */
  readonly widths: readonly number[];
  readonly blocks: number;
  /** Levels whose blocks are each followed by attention. */
  readonly attends: readonly boolean[];
}

function readHalf(tensors: Tensors, name: Half["name"]): Half {
  const start = `${name}.${name === "encoder" ? "down" : "up"}.`;
  const depth = tensors.countOf(start);
  const fail = (reason: string): never => {
    throw new CheckpointError(tensors.path, reason, { remedy: "give a VQ model of the original's kinds" });
  };
  if (depth === 0) fail(`holds no ${name} of a VQ model (${start}0...)`);
  const counts = Array.from({ length: depth }, (_, i) => tensors.countOf(`${start}${i}.block.`));
  const [blocks = 0] = counts;
  if (counts.some((count) => count !== blocks) || blocks === 0)
    fail(`${start}: has levels of ${counts.join(", ")} blocks`);
  const widths = counts.map(
    (_, i) => tensors.shape(`${start}${i}.block.0.conv1.weight`, 4)[0] ?? outOfBounds(),
  );
  const attends = counts.map((_, i) => tensors.countOf(`${start}${i}.attn.`) > 0);
  return { name, widths, blocks, attends };
}

/** `vqvae/config.json`, and its tensors. `codeMap`: the content token of each code. Throws a CheckpointError. */
export function vqModel(tensors: Tensors, config: OriginalConfig, codeMap: readonly number[] | undefined) {
  const codebook = CODEBOOKS.find((name) => tensors.entry(name) !== undefined) ?? CODEBOOKS[0] ?? "";
  const [codes = 0, codeWidth = 0] = tensors.shape(codebook, 2);
  const [latent = 0] = tensors.shape("encoder.conv_out.weight", 4);
  const encoder = readHalf(tensors, "encoder");
  const decoder = readHalf(tensors, "decoder");
  const fail = (reason: string): never => {
    throw new CheckpointError(tensors.path, reason, {
      remedy: "take config and VQ model from the same model",
    });
  };
  if (encoder.widths.join() !== decoder.widths.join() || decoder.blocks !== encoder.blocks + 1) {
    fail("its encoder and decoder have different levels");
  }
  if (codeMap !== undefined && codeMap.length !== codes) {
    fail(`has ${codes} codes, but the map of codes has ${codeMap.length} entries`);
  }
  if (codeMap === undefined && codes !== config.codes) {
    fail(
      `has ${codes} codes, but the model has ${config.codes}: the config names no map from one to the other`,
    );
  }
  const [first = 0] = encoder.widths;
  const last = encoder.widths.at(-1) ?? outOfBounds();
  const weights = [
    ...conv(tensors, "encoder.conv_in", "encoder.conv_in", [first, 3, 3]),
    ...levels(tensors, encoder, first),
    ...ends(tensors, "encoder", last, last, latent),
    ...conv(tensors, "quant_conv", "quant_conv", [codeWidth, latent, 1]),
    same(tensors, "quantize.embedding.weight", codebook, [codes, codeWidth]),
    ...(config.isGumbel ? pointwise(tensors, "quantize.proj", "quantize.proj", [codes, codeWidth]) : []),
    ...conv(tensors, "post_quant_conv", "post_quant_conv", [latent, codeWidth, 1]),
    ...conv(tensors, "decoder.conv_in", "decoder.conv_in", [last, latent, 3]),
    ...levels(tensors, decoder, last),
    ...ends(tensors, "decoder", last, first, 3),
  ];
  const extension = {
    ...(config.isGumbel ? { quantizer: "gumbel" } : {}),
    ...(codeMap === undefined ? {} : { code_map: codeMap }),
  };
  const types = (attends: readonly boolean[], plain: string, attention: string): string[] =>
    attends.map((does) => (does ? attention : plain));
  const json = {
    _class_name: "VQModel",
    act_fn: "silu",
    block_out_channels: encoder.widths,
    down_block_types: types(encoder.attends, "DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
    in_channels: 3,
    latent_channels: latent,
    layers_per_block: encoder.blocks,
    norm_num_groups: GROUPS,
    num_vq_embeddings: codes,
    out_channels: 3,
    sample_size: config.side,
    up_block_types: types(decoder.attends.toReversed(), "UpDecoderBlock2D", "AttnUpDecoderBlock2D"),
    vq_embed_dim: codeWidth,
    ...(Object.keys(extension).length === 0 ? {} : { vqd: extension }),
  };
  return { json, weights };
}

function resnet(
  tensors: Tensors,
  name: string,
  from: string,
  inputs: number,
  outputs: number,
): PlannedWeight[] {
  return [
    ...norm(tensors, `${name}.norm1`, `${from}.norm1`, inputs),
    ...conv(tensors, `${name}.conv1`, `${from}.conv1`, [outputs, inputs, 3]),
    ...norm(tensors, `${name}.norm2`, `${from}.norm2`, outputs),
    ...conv(tensors, `${name}.conv2`, `${from}.conv2`, [outputs, outputs, 3]),
    ...(inputs === outputs
      ? []
      : conv(tensors, `${name}.conv_shortcut`, `${from}.nin_shortcut`, [outputs, inputs, 1])),
  ];
}

const ATTENTION = { to_q: "q", to_k: "k", to_v: "v", "to_out.0": "proj_out" } as const;

const attention = (tensors: Tensors, name: string, from: string, width: number): PlannedWeight[] => [
  ...norm(tensors, `${name}.group_norm`, `${from}.norm`, width),
  ...Object.entries(ATTENTION).flatMap(([own, theirs]) =>
    pointwise(tensors, `${name}.${own}`, `${from}.${theirs}`, [width, width]),
  ),
];

/** The original numbers both halves' levels from the largest image on; diffusers, the decoder's from the smallest. */
function levels(tensors: Tensors, { name, widths, blocks, attends }: Half, inputs: number): PlannedWeight[] {
  const isDecoder = name === "decoder";
  const order = widths.map((_, i) => (isDecoder ? widths.length - 1 - i : i));
  const weights: PlannedWeight[] = [];
  let channels = inputs;
  for (const [i, level] of order.entries()) {
    const width = widths[level] ?? outOfBounds();
    const own = `${name}.${isDecoder ? "up_blocks" : "down_blocks"}.${i}`;
    const theirs = `${name}.${isDecoder ? "up" : "down"}.${level}`;
    for (let j = 0; j < blocks; j++) {
      weights.push(...resnet(tensors, `${own}.resnets.${j}`, `${theirs}.block.${j}`, channels, width));
      channels = width;
      if (attends[level] === true) {
        weights.push(...attention(tensors, `${own}.attentions.${j}`, `${theirs}.attn.${j}`, width));
      }
    }
    if (i === widths.length - 1) break;
    const [sampler, theirSampler] = isDecoder ? ["upsamplers", "upsample"] : ["downsamplers", "downsample"];
    const size = [width, width, 3] as const;
    weights.push(...conv(tensors, `${own}.${sampler}.0.conv`, `${theirs}.${theirSampler}.conv`, size));
  }
  return weights;
}

/** The middle of a half, and its output. */
function ends(
  tensors: Tensors,
  name: Half["name"],
  middle: number,
  last: number,
  outputs: number,
): PlannedWeight[] {
  const [own, theirs] = [`${name}.mid_block`, `${name}.mid`];
  return [
    ...resnet(tensors, `${own}.resnets.0`, `${theirs}.block_1`, middle, middle),
    ...attention(tensors, `${own}.attentions.0`, `${theirs}.attn_1`, middle),
    ...resnet(tensors, `${own}.resnets.1`, `${theirs}.block_2`, middle, middle),
    ...norm(tensors, `${name}.conv_norm_out`, `${name}.norm_out`, last),
    ...conv(tensors, `${name}.conv_out`, `${name}.conv_out`, [outputs, last, 3]),
  ];
}
