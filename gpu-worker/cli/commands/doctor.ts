// `vqd doctor`: examines a deployment from its ends and reports what is wrong, without changing anything.

import { diagnose } from "../../doctor/diagnose.ts";
import { describeFindings } from "../../doctor/findings.ts";
import { type Command, numberOption, report, stringOptions, UsageError } from "../command.ts";

const USAGE = "vqd doctor [worker] [options]";
const DEFAULT_FREE_GIB = 1;

const help = `Usage: ${USAGE}

Examines a deployment without changing anything, and reports what is wrong and what to do about it. Exits with 1 if
there is a problem.

  vqd doctor          checks NATS, the streams and the live workers, as the NATS user monitor (VQD_NATS_URL,
                      VQD_NATS_CREDS, VQD_NATS_CA, ...; without VQD_NATS_URL, the NATS of npm start)
  vqd doctor worker   checks this machine as a worker: settings, model, provider, disk, and NATS with the worker's
                      own credentials; run it with the worker's environment
  --url URL           also checks the edge: address, certificate, health, clock, models

Options:
  --url URL           origin of the edge
  --key KEY           API key to test there; better set in the environment (VQD_API_KEY)
  --model-version V   vqd doctor worker: version that the model must have (SHA-256, or its first digits)
  --min-free GIB      free disk space that a worker needs for its graphs                      [${DEFAULT_FREE_GIB}]
  --data DIR          data folder of npm start (VQD_DATA)                                     [.vqd]
  --json              JSON instead of text
  -h, --help          this text

docs/doctor.md explains each check.
`;

export const doctor: Command = {
  summary: "report what is wrong with a deployment",
  help,
  options: {
    ...stringOptions("url", "key", "model-version", "min-free", "data"),
    json: { type: "boolean" },
  },
  async run(positionals, values, flags) {
    const [part, ...others] = positionals;
    if (others.length > 0 || (part !== undefined && part !== "worker")) {
      throw new UsageError(`unexpected argument ${JSON.stringify(others[0] ?? part)}: ${USAGE}`);
    }
    const url = originOf(values["url"]);
    const minFree = numberOption(values, "min-free", { min: 0, max: 1e9 }) ?? DEFAULT_FREE_GIB;
    const version = values["model-version"];
    if (version !== undefined && !/^[0-9a-f]{6,64}$/.test(version)) {
      throw new UsageError("--model-version must be 6 to 64 hexadecimal digits");
    }
    const findings = await diagnose({
      part: part === "worker" ? "worker" : "system",
      env: process.env,
      url,
      apiKey: values["key"] ?? (process.env["VQD_API_KEY"] || undefined),
      modelVersion: version,
      minFreeGib: minFree,
      data: values["data"],
    });
    report(flags.has("json") ? `${JSON.stringify(findings.all)}\n` : describeFindings(findings.all));
    if (findings.hasProblems) process.exitCode = 1;
  },
};

function originOf(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const url = URL.parse(text);
  if (url === null || !["http:", "https:"].includes(url.protocol)) {
    throw new UsageError(`--url must be an http(s) URL, not ${JSON.stringify(text)}`);
  }
  return url.origin;
}
