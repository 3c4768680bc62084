// The settings that a PNG file of this service holds, in AUTOMATIC1111's format (shared/metadata/settings.ts writes them).

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/** Fields by their names in the file. @type {Record<string, string>} */
const FIELDS = {
  Steps: "num_inference_steps",
  Sampler: "order",
  "Schedule type": "scheduler",
  "Infer speed": "infer_speed",
  "CFG scale": "guidance_scale",
  Seed: "seed",
  Model: "model",
  Temperature: "temperature",
  "Truncation rate": "truncation_rate",
  Remasking: "remasking",
  "Prior rule": "prior_rule",
  "Prior weight": "prior_weight",
};
/** What files leave out because it is neutral. */
const NEUTRAL = {
  temperature: "1",
  truncation_rate: "1",
  remasking: "0",
  prior_rule: "0",
  prior_weight: "0",
};

/** The text of the chunk with that keyword: tEXt in Latin-1, or iTXt in UTF-8. @param {Uint8Array} file @param {string} keyword */
function textOf(file, keyword) {
  const latin1 = new TextDecoder("latin1");
  if (file.length < 8 || SIGNATURE.some((byte, i) => file[i] !== byte)) return undefined;
  const view = new DataView(file.buffer, file.byteOffset);
  for (let at = 8; at + 12 <= file.length;) {
    const length = view.getUint32(at);
    const type = latin1.decode(file.subarray(at + 4, at + 8));
    const data = file.subarray(at + 8, at + 8 + length);
    if (latin1.decode(data.subarray(0, keyword.length + 1)) === `${keyword}\0`) {
      if (type === "tEXt") return latin1.decode(data.subarray(keyword.length + 1));
      // Two bytes about compression, and two empty texts.
      if (type === "iTXt") return new TextDecoder().decode(data.subarray(keyword.length + 5));
    }
    at += 12 + length;
  }
  return undefined;
}

/**
 * The settings of a file, for the form; undefined for any other file.
 * @param {Blob} file
 * @returns {Promise<Record<string, string> | undefined>}
 */
export async function settingsOfPng(file) {
  const text = textOf(new Uint8Array(await file.arrayBuffer()), "parameters");
  const lines = text?.split("\n") ?? [];
  const last = lines.at(-1) ?? "";
  if (!/(?:^|, )Version: vqd$/.test(last)) return undefined;
  /** @type {Record<string, string>} */
  const settings = { ...NEUTRAL };
  for (const part of last.split(", ")) {
    const [name = "", ...value] = part.split(": ");
    const field = FIELDS[name];
    if (field !== undefined) settings[field] = value.join(": ");
  }
  const rest = lines.slice(0, -1);
  const negative = rest.findIndex((line) => line.startsWith("Negative prompt: "));
  settings["prompt"] = (negative < 0 ? rest : rest.slice(0, negative)).join("\n");
  if (negative >= 0) {
    settings["negative_prompt"] = rest.slice(negative).join("\n").replace("Negative prompt: ", "");
  }
  return settings;
}
