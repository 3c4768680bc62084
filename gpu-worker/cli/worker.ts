// `vqd worker`: the GPU worker, which takes its settings from the environment.

import { type Command, readArguments } from "./command.ts";

const USAGE = "vqd worker";

const help = `Usage: ${USAGE}

Loads its models and serves their jobs from NATS until it gets SIGTERM. Settings are environment variables:

  VQD_NATS_URL       where jobs come from: servers, comma separated         [nats://127.0.0.1:4222]
  VQD_NATS_CREDS     credentials file, or else ...
  VQD_NATS_USER, VQD_NATS_PASSWORD
  VQD_NATS_CA        CA to trust instead of the public ones (PEM file)
  VQD_NATS_CERT, VQD_NATS_KEY   certificate of this client, if the server asks for one
  VQD_MODEL          checkpoint folder, or several as in PATH               [the bundled one]
  VQD_MODEL_NAME     owner/name it is served as, or several with commas     [vqd/<folder>]
  VQD_MODEL_MEMORY_MB  weights that may be loaded at once; 0 is no limit    [0]
  VQD_PROVIDER       cpu, webgpu or cuda                                    [cpu]
  VQD_QUANTIZATION   none or int8                                           [int8 on cpu, else none]
  VQD_THREADS        threads of the CPU provider                            [all cores]
  VQD_CACHE          where built graphs are kept                            [.vqd/cache]
  VQD_SLOTS          pictures denoised at once                              [1]
  VQD_PASS_MEMORY_MB memory of a pass beside the weights                    [1024]
  VQD_LEASE_SECONDS  how long a silent worker keeps a job                   [10]
  VQD_STALL_SECONDS  when a call into the runtime is taken for hung         [as the lease]
  VQD_MAX_ATTEMPTS   attempts without a step until a job is given up        [3]
  VQD_STATE_EVERY    steps between two stored states                        [1]
  VQD_WORKER_NAME    under which it is listed                              [<host>-<pid>]
  VQD_HEALTH_HOST, VQD_HEALTH_PORT   of GET /healthz and GET /metrics       [127.0.0.1, 8790]
  OTEL_EXPORTER_OTLP_ENDPOINT   collector for traces                        [none]
  OTEL_EXPORTER_OTLP_HEADERS    for it: name=value, comma separated         [none]
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
