// The vocabulary that the edge is built with.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { REPO } from "../../../infra/stack/paths.ts";

export const CLIP_MERGES = readFileSync(join(REPO, "shared", "tokenizer", "clip-merges.txt"), "utf8");
export const CLIP_MERGES_SHA256 = createHash("sha256").update(CLIP_MERGES).digest("hex");
