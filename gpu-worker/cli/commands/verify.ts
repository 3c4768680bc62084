// `vqd verify`: checks an image's receipt, by making one of its steps again or all.

import { openReceipt } from "@vqd/shared/receipts/receipt.ts";
import { MAX_TIMESTEPS } from "@vqd/shared/limits.ts";
import { readReceipt } from "../../receipts/file.ts";
import { readPublicKey } from "../../receipts/keys.ts";
import { verifyReceipt } from "../../receipts/verify.ts";
import { type Command, numberOption, readArguments, stringOptions, UsageError } from "../command.ts";
import { loadPipeline, MODEL_HELP, MODEL_OPTIONS } from "../model-options.ts";

const USAGE = "vqd verify RECEIPT --public-key FILE";

const help = `Usage: ${USAGE} [options]

Checks a receipt that \`vqd generate --receipt\` has written, or that a service has signed: its signature, the hashes of
its tokens, and that this model makes a step of it, with its settings and seed. Use the provider and quantization that
the image was made with.

Options:
  --public-key FILE        Ed25519 key in PEM that the receipt is signed with, or what the service has at
                           /.well-known/vqd-receipts.json
  --step N                 the step to make again                                      [all steps]
${MODEL_HELP}  -h, --help               this text
`;

export const verify: Command = {
  summary: "check an image's receipt",
  help,
  options: { ...stringOptions("public-key", "step"), ...MODEL_OPTIONS },
  async run(positionals, values) {
    const [file] = readArguments(positionals, USAGE, ["RECEIPT"]);
    const { "public-key": keyFile } = values;
    if (keyFile === undefined) throw new UsageError(`--public-key is missing: ${USAGE}`);
    const step = numberOption(values, "step", { min: 1, max: MAX_TIMESTEPS, integer: true });
    const { receipt: signed, states } = readReceipt(file);
    const receipt = await openReceipt(signed, readPublicKey(keyFile));
    const all = states.slice(1).map((_state, i) => receipt.firstStep + 1 + i);
    const pipeline = await loadPipeline(values);
    try {
      const startedAt = performance.now();
      const steps = step === undefined ? all : [step];
      await verifyReceipt(pipeline, receipt, states, steps);
      const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
      process.stdout.write(
        `${file}: signed, and ${steps.length} of ${all.length} steps made again, ${seconds} s\n`,
      );
    } finally {
      await pipeline.release();
    }
  },
};
