// The examples of a request as code, in the language that was chosen last, here or in another operation: for curl, and for JavaScript
// and Python without packages.

import { make } from "../assets/dom.js";
import { literal, python, shellQuoted } from "../assets/literals.js";
import { createTabs } from "../assets/tabs.js";
import { bodyOf, codeBox, coloured, pairs } from "./document.js";

/** @typedef {import("./document.js").Entry} Entry */
/**
 * A request as the code sends it, and what it does with the answer. `json` is its body; `form` has the names of files and other
 * fields.
 * @typedef {{
 *   method: string,
 *   url: string,
 *   isKeyed: boolean,
 *   json?: unknown,
 *   form?: { files: [string, string][], fields: [string, string][] },
 *   answer: "json" | "stream" | "image" | "none" | "text",
 * }} Request
 */

const KEY = "VQD_API_KEY";

/** The fields of a form that are files. @param {Record<string, any>} schema one that is resolved */
const filesOf = (schema) =>
  pairs(schema["properties"])
    .filter(([, { format }]) => format === "binary")
    .map(([name]) => name);

/** @param {Entry} entry @param {any} body */
function answerOf({ operation }, body) {
  const [, { content = {} }] = pairs(operation["responses"])[0] ?? ["", {}];
  const types = Object.keys(content);
  if (body?.stream === true || types[0] === "text/event-stream") return "stream";
  if (types.length === 0) return operation["responses"]["204"] === undefined ? "text" : "none";
  if (types[0]?.startsWith("image/")) return "image";
  return types[0] === "application/json" ? "json" : "text";
}

/**
 * The request of an operation with the examples of its path's parameters and the given body.
 * @param {Entry} entry
 * @param {any} body
 * @param {string[]} files names of the body's fields that are files
 * @returns {Request}
 */
function requestOf(entry, body, files) {
  const { method, path, operation } = entry;
  const filled = path.replaceAll(/\{(\w+)\}/g, (_, name) => {
    const parameter = operation["parameters"].find((/** @type {any} */ one) => one.name === name);
    return encodeURIComponent(parameter.schema.examples?.[0] ?? name);
  });
  /** @type {Request} */
  const request = {
    method: method.toUpperCase(),
    url: new URL(`.${filled}`, document.baseURI).href,
    isKeyed: operation["security"]?.length > 0,
    answer: answerOf(entry, body),
  };
  if (body === undefined) return request;
  if (bodyOf(operation)?.[0] === "application/json") return { ...request, json: body };
  const entries = pairs(body).map(([name, value]) => /** @type {[string, string]} */ ([name, String(value)]));
  const isFile = (/** @type {[string, string]} */ [name]) => files.includes(name);
  return {
    ...request,
    form: { files: entries.filter(isFile), fields: entries.filter((one) => !isFile(one)) },
  };
}

/** @param {Request} request */
function curl({ method, url, isKeyed, json, form, answer }) {
  const isPost = json !== undefined || form !== undefined;
  const flags = { stream: " -N", image: " -o image.png", json: "", none: " -i", text: "" }[answer];
  const parts = [`curl -sS${flags} ${/[^\w:/.%-]/.test(url) ? shellQuoted(url) : url}`];
  if (method !== (isPost ? "POST" : "GET")) parts.push(`-X ${method}`);
  if (isKeyed) parts.push(`-H "authorization: Bearer $${KEY}"`);
  if (json !== undefined)
    parts.push('-H "content-type: application/json"', `-d ${shellQuoted(literal(json))}`);
  for (const [name, file] of form?.files ?? []) parts.push(`-F ${name}=@${file}`);
  for (const [name, value] of form?.fields ?? []) parts.push(`-F ${shellQuoted(`${name}=${value}`)}`);
  return parts.join(" \\\n  ");
}

/** @param {Request} request */
function javascript({ method, url, isKeyed, json, form, answer }) {
  const headers = [
    ...(isKeyed ? [`authorization: \`Bearer \${process.env.${KEY}}\``] : []),
    ...(json === undefined ? [] : ['"content-type": "application/json"']),
  ];
  const options = [
    ...(method === "GET" ? [] : [`method: ${JSON.stringify(method)}`]),
    ...(headers.length === 0 ? [] : [`headers: { ${headers.join(", ")} }`]),
    ...(json === undefined ? [] : [`body: JSON.stringify(${literal(json, "  ")})`]),
    ...(form === undefined ? [] : ["body: form"]),
  ];
  const used = [...(form === undefined ? [] : ["readFile"]), ...(answer === "image" ? ["writeFile"] : [])];
  const lines = [
    ...(used.length === 0 ? [] : [`import { ${used.join(", ")} } from "node:fs/promises";`, ""]),
    ...(form === undefined ? [] : ["const form = new FormData();"]),
    ...(form?.files ?? []).map(
      ([name, file]) =>
        `form.append(${JSON.stringify(name)}, new Blob([await readFile("${file}")]), "${file}");`,
    ),
    ...(form?.fields ?? []).map(
      (field) => `form.append(${field.map((text) => JSON.stringify(text)).join(", ")});`,
    ),
    options.length === 0
      ? `const response = await fetch(${JSON.stringify(url)});`
      : `const response = await fetch(${JSON.stringify(url)}, {\n${options.map((one) => `  ${one},\n`).join("")}});`,
    {
      json: "console.log(await response.json());",
      stream:
        "for await (const text of response.body.pipeThrough(new TextDecoderStream())) process.stdout.write(text);",
      image:
        'if (!response.ok) throw new Error(await response.text());\nawait writeFile("image.png", response.body);',
      none: "console.log(response.status);",
      text: "console.log(await response.text());",
    }[answer],
  ];
  return lines.join("\n");
}

/** @param {Request} request */
function inPython({ method, url, isKeyed, json, form, answer }) {
  const boundary = '"multipart/form-data; boundary=" + boundary';
  const headers = [
    ...(isKeyed ? [`"authorization": "Bearer " + os.environ["${KEY}"]`] : []),
    ...(json === undefined ? [] : ['"content-type": "application/json"']),
    ...(form === undefined ? [] : [`"content-type": ${boundary}`]),
  ];
  const hasBody = json !== undefined || form !== undefined;
  const given = [
    JSON.stringify(url),
    ...(json === undefined ? [] : [`json.dumps(${python(json, "    ")}).encode()`]),
    ...(form === undefined ? [] : ["body"]),
    ...(headers.length === 0 ? [] : [`${hasBody ? "" : "headers="}{${headers.join(", ")}}`]),
    ...(method === (hasBody ? "POST" : "GET") ? [] : [`method=${JSON.stringify(method)}`]),
  ];
  const imports = [
    ...(answer === "json" || json !== undefined ? ["json"] : []),
    ...(isKeyed ? ["os"] : []),
    "urllib.request",
    ...(form === undefined ? [] : ["uuid"]),
  ];
  const part = (/** @type {string} */ name, /** @type {string} */ content, file = "") =>
    `    part(${python(name)}, ${content}${file === "" ? "" : `, '; filename="${file}"'`}),`;
  const lines = [
    ...imports.map((name) => `import ${name}`),
    "",
    ...(form === undefined
      ? []
      : [
          "boundary = uuid.uuid4().hex",
          "",
          'def part(name, content, file=""):',
          `    head = f'--{boundary}\\r\\ncontent-disposition: form-data; name="{name}"{file}\\r\\n\\r\\n'`,
          '    return head.encode() + content + b"\\r\\n"',
          "",
          'body = b"".join([',
          ...form.files.map(([name, file]) => part(name, `open("${file}", "rb").read()`, file)),
          ...form.fields.map(([name, value]) => part(name, `${python(value)}.encode()`)),
          '    f"--{boundary}--\\r\\n".encode(),',
          "])",
        ]),
    given.length === 1
      ? `request = ${given[0]}`
      : `request = urllib.request.Request(\n${given.map((one) => `    ${one},\n`).join("")})`,
    "with urllib.request.urlopen(request) as response:",
    {
      json: "    print(json.load(response))",
      stream: '    for line in response:\n        print(line.decode(), end="", flush=True)',
      image: '    with open("image.png", "wb") as file:\n        file.write(response.read())',
      none: "    print(response.status)",
      text: "    print(response.read().decode())",
    }[answer],
  ];
  return lines.join("\n");
}

/** @type {Record<string, { label: string, code: (request: Request) => string }>} */
const LANGUAGES = {
  curl: { label: "curl", code: curl },
  javascript: { label: "JavaScript", code: javascript },
  python: { label: "Python", code: inPython },
};

/** @typedef {import("./document.js").Schemas} Schemas */
/** @typedef {{ element: HTMLElement, files: string[], body: () => any, onChosen: (listener: () => void) => void }} Examples */

const STORED = "vqd.reference.language";
const stored = localStorage.getItem(STORED) ?? "";
let language = Object.hasOwn(LANGUAGES, stored) ? stored : "curl";
/** What shows the language, in every operation that is open. @type {Set<() => void>} */
const shown = new Set();

/** @param {string} chosen */
function setLanguage(chosen) {
  if (chosen === language) return;
  language = chosen;
  localStorage.setItem(STORED, chosen);
  for (const show of shown) show();
}

/** @param {Entry} entry @param {Schemas} schemas @returns {Examples} */
export function createExamples(entry, schemas) {
  const id = entry.operation["operationId"];
  const [type, media] = bodyOf(entry.operation) ?? [];
  const given = schemas.examplesOf(media);
  const files = type === "multipart/form-data" ? filesOf(schemas.resolve(media?.["schema"])) : [];
  let chosen = 0;
  let text = "";
  /** @type {() => void} */
  let notify = () => {};

  const panel = make("pre", { role: "tabpanel", tabindex: 0, id: `${id}-code` });
  const tabs = Object.entries(LANGUAGES).map(([name, { label }]) =>
    make(
      "button",
      { type: "button", role: "tab", id: `${id}-${name}`, "aria-controls": `${id}-code` },
      label,
    ),
  );
  const list = make("div", { role: "tablist", "aria-label": "Language" }, ...tabs);

  const show = () => {
    text = LANGUAGES[language]?.code(requestOf(entry, given[chosen]?.value, files)) ?? "";
    panel.setAttribute("aria-labelledby", `${id}-${language}`);
    panel.replaceChildren(coloured(text));
  };
  const select = createTabs(list, (tab) => {
    const name = tab.id.slice(id.length + 1);
    setLanguage(name);
    show();
  });
  const follow = () => select(/** @type {HTMLElement} */ (tabs[Object.keys(LANGUAGES).indexOf(language)]));
  shown.add(follow);
  follow();

  const choice = make(
    "select",
    { id: `${id}-example`, "aria-label": "Example" },
    ...given.map(({ summary }, i) => make("option", { value: i }, summary)),
  );
  choice.addEventListener("change", () => {
    chosen = Number(choice.value);
    show();
    notify();
  });
  return {
    element: codeBox(
      make("div", { class: "tabs" }, list),
      panel,
      () => text,
      given.length > 1 ? choice : undefined,
    ),
    files,
    body: () => given[chosen]?.value,
    onChosen: (listener) => (notify = listener),
  };
}
