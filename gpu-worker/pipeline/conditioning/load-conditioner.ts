// Loads what conditions a checkpoint's images.

import type { DiffusersCheckpoint } from "../../checkpoint/diffusers-layout.ts";
import type { SessionOptions } from "../../runtime/session.ts";
import { ClassConditioner, NoConditioner } from "./class-conditioner.ts";
import type { Conditioner } from "./prompt-conditioning.ts";
import { TextConditioner } from "./text-conditioner.ts";

/** `cacheBytes`: memory for the conditionings of the most recently used prompts. */
export async function loadConditioner(
  checkpoint: DiffusersCheckpoint,
  graphs: string,
  options: SessionOptions & { readonly cacheBytes: number; readonly takesIds: boolean },
): Promise<Conditioner> {
  switch (checkpoint.prompts.kind) {
    case "text":
      return TextConditioner.load(checkpoint, graphs, options);
    case "class":
      return new ClassConditioner(checkpoint, options.cacheBytes);
    case "none":
      return new NoConditioner();
  }
}
