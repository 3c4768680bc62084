// Help texts of the commands whose --help must work before anything is installed.

export const START_HELP = `Usage: npm start -- [options]

Starts nats-server, GPU workers and the edge, and keeps them running until Ctrl-C.

  --port PORT        port of the API (VQD_PORT); 0 for any free one    [8787, or a free one if that is taken]
  --workers N        number of GPU workers (VQD_WORKERS)               [1]
  --api-key KEY      key that clients must send (VQD_API_KEY)          [a new one, which is printed]
  --model DIR        checkpoint in the diffusers layout (VQD_MODEL)    [the bundled model]
  --provider NAME    cpu, webgpu or cuda (VQD_PROVIDER)                [cpu]
  --data DIR         folder for queue, graphs and images (VQD_DATA)    [.vqd in the repository]
  --listen ADDRESS   where workers of other machines may connect (VQD_LISTEN): an address or name of this one,
                     with :PORT or without (4222). By TLS only; prints how they join   [nowhere]
  -h, --help         this text

Further variables: MODEL_ALIASES (other names of models, such as gpt-image-1=vqd/scenes,dall-e-3=vqd/scenes),
VQD_NATS_SERVER (path of nats-server), VQD_QUEUE_LIMIT (jobs in the queue [1000]), VQD_LEASE_SECONDS (how long a
worker may be silent before its job goes to another [10]), VQD_THREADS (per worker), VQD_QUANTIZATION (none,
int8, fp16, w8a16 or w4a16 [int8 on the cpu provider, else w8a16]), VQD_LOG_LEVEL (debug, info, warn, error), NO_COLOR.
`;

export const TEST_HELP = `Usage: npm test -- [vitest arguments]

Runs all tests, or those that the arguments select, such as a part of a file's name, --project unit or
-t "part of a test's name". The last line counts them: N passed, N failed.

Variables: VQD_CHROMIUM (path of the browser that tests the pages), VQD_PROMTOOL (path of Prometheus' tool),
VQD_PROMETHEUS (path of Prometheus itself),
VQD_TRAIN_PYTHON (a Python with torch, numpy and pillow), VQD_SCREENSHOTS=1 (rewrites docs/images),
VQD_SHOW_TRACE=1 (prints a trace), VQD_NATS_SERVER (path of nats-server), VQD_NATS_CLI and VQD_NSC (paths of
NATS' own tools nats and nsc).
`;
