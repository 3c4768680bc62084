// `vqd worker`: the GPU worker, configured by the environment.

import { tracingVariables, workerVariables } from "../../../config.ts";
import { type Command, readArguments } from "../../command.ts";
import { describeVariables, variablesHelp } from "../../variables.ts";

const USAGE = "vqd worker";

const help = `Usage: ${USAGE}

Loads its models and runs their jobs from NATS until it receives SIGTERM. Settings are environment variables:

${variablesHelp(describeVariables({ ...workerVariables, ...tracingVariables }))}
Options:
  -h, --help         this text
`;

export const worker: Command = {
  summary: "run jobs from NATS",
  help,
  options: {},
  async run(positionals) {
    readArguments(positionals, USAGE, []);
    // Serves as soon as it is loaded, and exits the process itself.
    await import("../../../main.ts");
  },
};
