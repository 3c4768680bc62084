// A checkpoint's model card: the YAML at the beginning of its README.md, as Hugging Face has it, with a section of our own.

import { MAX_EXAMPLES, type ModelCard, modelCardSchema } from "@vqd/shared/model.ts";
import { parse } from "yaml";
import { z } from "zod";
import { CheckpointError } from "./errors.ts";
import type { CheckpointFolder } from "./files/folder.ts";

const README = "README.md";
const MAX_README_BYTES = 256 * 1024;
const FRONT_MATTER = /^---\r?\n(.*?)\r?\n---(?:\r?\n|$)/s;

/** Keys besides these are Hugging Face's business. `widget` has the inputs that its pages offer, for tasks of all kinds. */
const frontMatterSchema = z.object({
  widget: z
    .array(z.looseObject({ text: z.string().optional().catch(undefined) }))
    .optional()
    .catch([]),
  vqd: modelCardSchema.optional(),
});

/**
 * The card; undefined if the README is missing or says nothing of the kind. `widget` gives the example prompts, unless `vqd` does.
 * Throws a CheckpointError if `vqd` is not as it should be, or the YAML is not valid.
 */
export function readModelCard(folder: CheckpointFolder): ModelCard | undefined {
  if (!folder.has(README)) return undefined;
  const yaml = FRONT_MATTER.exec(folder.text(README, MAX_README_BYTES))?.[1];
  if (yaml === undefined) return undefined;
  const refuse = (reason: string): never => {
    throw new CheckpointError(folder.path(README), reason, {
      remedy: "correct the lines between --- at its beginning, or delete them",
    });
  };
  const parsed = frontMatterSchema.safeParse(valueOf(yaml, refuse));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return refuse(`${issue?.path.join(".") || "front matter"}: ${issue?.message ?? "is invalid"}`);
  }
  const { widget = [], vqd = {} } = parsed.data;
  // Whatever is no prompt here is for other tasks.
  const prompts = widget.flatMap(
    ({ text }) => modelCardSchema.safeParse({ examples: [text] }).data?.examples ?? [],
  );
  const examples = prompts.slice(0, MAX_EXAMPLES);
  const card = { ...(examples.length === 0 ? {} : { examples }), ...vqd };
  return Object.keys(card).length === 0 ? undefined : card;
}

function valueOf(yaml: string, refuse: (reason: string) => never): unknown {
  try {
    return parse(yaml) as unknown;
  } catch (error) {
    return refuse(`the YAML at its beginning is not valid: ${(error as Error).message.split("\n")[0] ?? ""}`);
  }
}
