// `wrangler dev` for the stack, by wrangler's own programming interface: the command line cannot leave the debugger
// out, and with it workerd follows every promise of a stream for as long as the stream lives (two thirds of its time
// at 200 readers).

import { parseArgs } from "node:util";
import { unstable_startWorker } from "wrangler";

const { values } = parseArgs({
  options: {
    config: { type: "string" },
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string" },
    "persist-to": { type: "string" },
    "env-file": { type: "string" },
  },
});
const { config, host, port, "persist-to": persist, "env-file": envFile } = values;
if (config === undefined || port === undefined || persist === undefined || envFile === undefined) {
  throw new Error("edge-server needs --config, --port, --persist-to and --env-file");
}

const worker = await unstable_startWorker({
  config,
  envFiles: [envFile],
  dev: {
    server: { hostname: host, port: Number(port) },
    inspector: false,
    persist,
    watch: true,
    // With "info" the edge's own lines, which it writes with console.log, would be left out.
    logLevel: "log",
  },
});

let isStopping = false;
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.on(signal, () => {
    if (isStopping) return;
    isStopping = true;
    void worker.dispose().finally(() => process.exit(0));
  });
}
await worker.ready;
