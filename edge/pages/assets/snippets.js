// Code that reproduces the images, for curl and the two npm clients.

/** @typedef {import("./settings.js").Settings} Input */

const KEY = "VQD_API_KEY";
const BASE = new URL("v1", document.baseURI).href;

/** @param {unknown} value @param {string} indent */
const literal = (value, indent) => JSON.stringify(value, null, 2).replaceAll("\n", `\n${indent}`);

/** @param {string} model @param {Input} input */
function curl(model, input) {
  const body = JSON.stringify({ model, input }, null, 2).replaceAll("'", String.raw`'\''`);
  return `curl -sS ${BASE}/predictions \\
  -H "authorization: Bearer $${KEY}" \\
  -H "content-type: application/json" -H "prefer: wait" \\
  -d '${body}'
`;
}

/** @param {string} model @param {Input} input */
function openai(model, { num_outputs: n, ...rest }) {
  if (rest["image"] || rest["from"]) {
    return "// What images start from has other names in OpenAI's API: see images.edit in the reference.\n";
  }
  // The client requires one, which is empty where the model takes none.
  const body = { model, prompt: "", ...rest, ...(n === undefined ? {} : { n }), response_format: "b64_json" };
  const format = rest["output_format"] ?? "png";
  return `import { writeFileSync } from "node:fs";
import OpenAI from "openai";

const openai = new OpenAI({ apiKey: process.env.${KEY}, baseURL: "${BASE}" });
const { data } = await openai.images.generate(${literal(body, "")});
data.forEach(({ b64_json }, i) => writeFileSync(\`image-\${i}.${String(format)}\`, b64_json, "base64"));
`;
}

/** @param {string} model @param {Input} input */
function replicate(model, input) {
  return `import Replicate from "replicate";

const replicate = new Replicate({ auth: process.env.${KEY}, baseUrl: "${BASE}" });
const created = await replicate.predictions.create({
  model: ${JSON.stringify(model)},
  input: ${literal(input, "  ")},
});
const prediction = await replicate.wait(created);
console.log(prediction.output); // URLs of the images
`;
}

/** @type {Record<string, (model: string, input: Input) => string>} */
export const SNIPPETS = { curl, openai, replicate };
