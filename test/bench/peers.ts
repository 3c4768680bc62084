// The peer: diffusers' transformer under torch, where a Python has both.

import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import type { TransformerConfig } from "../../gpu-worker/checkpoint/config.ts";

const run = promisify(execFile);

/** Milliseconds of single steps. */
export interface PeerDurations {
  readonly fp32: number[];
  readonly bf16: number[];
}

type PeerResult = ({ readonly torch: string } & PeerDurations) | { readonly skipped: string };

/** One guided image's step; skipped, with the reason, where Python, torch or diffusers is missing. */
export async function measureDiffusers(
  python: string,
  config: TransformerConfig,
  { textLength, threads, repeats }: { textLength: number; threads: number; repeats: number },
): Promise<PeerResult> {
  const settings = {
    config: {
      num_attention_heads: config.num_attention_heads,
      attention_head_dim: config.attention_head_dim,
      num_layers: config.num_layers,
      sample_size: config.sample_size,
      num_vector_embeds: config.num_vector_embeds,
      cross_attention_dim: config.cross_attention_dim,
      attention_bias: true,
      num_embeds_ada_norm: config.num_embeds_ada_norm,
      activation_fn: "geglu-approximate",
    },
    text_length: textLength,
    threads,
    repeats,
  };
  try {
    const script = join(import.meta.dirname, "diffusers_step.py");
    const { stdout } = await run(python, [script, JSON.stringify(settings)], {
      env: { ...process.env, OMP_NUM_THREADS: String(threads) },
    });
    const result = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as {
      torch: string;
      fp32_ms: number[];
      bf16_ms: number[];
    };
    return { torch: result.torch, fp32: result.fp32_ms, bf16: result.bf16_ms };
  } catch (error) {
    const { stderr = "", message } = error as Error & { stderr?: string };
    return { skipped: stderr.trim().split("\n").at(-1) || message };
  }
}
