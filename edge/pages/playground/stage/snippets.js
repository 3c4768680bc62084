// Code that reproduces the images: for curl, for plain JavaScript and Python, and for two clients of other services.

import { literal, python, shellQuoted } from "../../assets/literals.js";

/** @typedef {import("../form/fields.js").Settings} Input */
/** @typedef {{ how: string, code: (model: string, input: Input) => string, withKey: (code: string, key: string) => string }} Snippet */

const KEY = "VQD_API_KEY";
const BASE = new URL("v1", document.baseURI).href;

/** @param {Input} input */
const extensionOf = ({ output_format: format }) => String(format ?? "png");

/** @type {Snippet} */
const curl = {
  how: "For a shell. It prints the prediction, whose output is the links to the images.",
  code: (model, input) => `curl -sS ${BASE}/predictions \\
  -H "authorization: Bearer $${KEY}" \\
  -H "content-type: application/json" -H "prefer: wait" \\
  -d ${shellQuoted(literal({ model, input }))}
`,
  withKey: (code, key) => `export ${KEY}=${shellQuoted(key)}\n${code}`,
};

/** @param {string} code @param {string} key */
const inJavaScript = (code, key) => code.replaceAll(`process.env.${KEY}`, JSON.stringify(key));

/** @type {Snippet} */
const javascript = {
  how: "For Node 20 or later, without packages: save it as image.mjs and run node image.mjs.",
  code: (model, input) => `import { writeFile } from "node:fs/promises";

const response = await fetch("${BASE}/predictions", {
  method: "POST",
  headers: {
    authorization: \`Bearer \${process.env.${KEY}}\`,
    "content-type": "application/json",
    prefer: "wait",
  },
  body: JSON.stringify(${literal({ model, input }, "  ")}),
});
const prediction = await response.json();
if (prediction.status !== "succeeded") throw new Error(prediction.detail ?? prediction.error ?? prediction.status);
for (const [i, url] of prediction.output.entries()) {
  const name = \`image-\${i}.${extensionOf(input)}\`;
  await writeFile(name, Buffer.from(await (await fetch(url)).arrayBuffer()));
  console.log(name);
}
`,
  withKey: inJavaScript,
};

/** @type {Snippet} */
const inPython = {
  how: "For Python 3.9 or later, without packages: save it as image.py and run python3 image.py.",
  code: (model, input) => `import json
import os
import urllib.request

request = urllib.request.Request(
    "${BASE}/predictions",
    json.dumps(${python({ model, input }, "    ")}).encode(),
    {
        "authorization": "Bearer " + os.environ["${KEY}"],
        "content-type": "application/json",
        "prefer": "wait",
    },
)
with urllib.request.urlopen(request) as response:
    prediction = json.load(response)
if prediction["status"] != "succeeded":
    raise SystemExit(prediction["error"] or prediction["status"])
for i, url in enumerate(prediction["output"]):
    urllib.request.urlretrieve(url, f"image-{i}.${extensionOf(input)}")
    print(f"image-{i}.${extensionOf(input)}")
`,
  withKey: (code, key) => code.replaceAll(`os.environ["${KEY}"]`, JSON.stringify(key)),
};

/** @type {Snippet} */
const openai = {
  how: "With the npm package openai.",
  code: (model, { num_outputs: n, ...rest }) => {
    if (rest["image"] || rest["from"]) {
      return "// What images start from has other names in OpenAI's API: see images.edit in the reference.\n";
    }
    // The client requires one, which is empty where the model takes none.
    const body = {
      model,
      prompt: "",
      ...rest,
      ...(n === undefined ? {} : { n }),
      response_format: "b64_json",
    };
    return `import { writeFileSync } from "node:fs";
import OpenAI from "openai";

const openai = new OpenAI({ apiKey: process.env.${KEY}, baseURL: "${BASE}" });
const { data } = await openai.images.generate(${literal(body)});
data.forEach(({ b64_json }, i) => writeFileSync(\`image-\${i}.${extensionOf(rest)}\`, b64_json, "base64"));
`;
  },
  withKey: inJavaScript,
};

/** @type {Snippet} */
const replicate = {
  how: "With the npm package replicate.",
  code: (model, input) => `import Replicate from "replicate";

const replicate = new Replicate({ auth: process.env.${KEY}, baseUrl: "${BASE}" });
const created = await replicate.predictions.create({
  model: ${JSON.stringify(model)},
  input: ${literal(input, "  ")},
});
const prediction = await replicate.wait(created);
console.log(prediction.output); // URLs of the images
`,
  withKey: inJavaScript,
};

/** @type {Record<string, Snippet>} */
export const SNIPPETS = { curl, javascript, python: inPython, openai, replicate };
