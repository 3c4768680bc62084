// `vqd worker`: the GPU worker, which takes its settings from the environment.

import { type Command, readArguments } from "./command.ts";

const USAGE = "vqd worker";

const help = `Usage: ${USAGE}

Loads one model and serves its jobs from NATS until it gets SIGTERM. Settings are environment variables:

  VQD_NATS_URL       where jobs come from: servers, comma separated         [nats://127.0.0.1:4222]
  VQD_NATS_CREDS     credentials file, or else ...
  VQD_NATS_USER, VQD_NATS_PASSWORD
  VQD_NATS_CA        CA to trust instead of the public ones (PEM file)
  VQD_NATS_CERT, VQD_NATS_KEY   certificate of this client, if the server asks for one
  VQD_MODEL          checkpoint folder                                      [the bundled one]
  VQD_MODEL_NAME     owner/name it is served as                             [vqd/<folder>]
  VQD_PROVIDER       cpu, webgpu or cuda                                    [cpu]
  VQD_QUANTIZATION   none or int8                                           [int8 on cpu, else none]
  VQD_THREADS        threads of the CPU provider                            [all cores]
  VQD_CACHE          where built graphs are kept                            [.vqd/cache]
  VQD_SLOTS          pictures denoised at once                              [1]
  VQD_LEASE_SECONDS  how long a silent worker keeps a job                   [10]
  VQD_MAX_ATTEMPTS   when a job is given up                                 [5]
  VQD_HEALTH_HOST, VQD_HEALTH_PORT   of GET /healthz and GET /metrics       [127.0.0.1, 8790]
  OTEL_EXPORTER_OTLP_ENDPOINT   collector for traces                        [none]
  VQD_LOG_LEVEL      debug, info, warn or error                             [info]

Options:
  -h, --help         this text
`;

export const worker: Command = {
  summary: "serve a model's jobs from NATS",
  help,
  options: {},
  async run(positionals) {
    readArguments(positionals, USAGE, []);
    // Serves as soon as it is loaded, and ends the process itself.
    await import("../main.ts");
  },
};
