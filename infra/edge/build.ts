// `node infra/edge/build.ts DIR`: builds the program that infra/edge/serve.ts runs. For the edge's image.

import { resolve } from "node:path";
import { buildProgram } from "./program.ts";

const [dir, ...rest] = process.argv.slice(2);
if (dir === undefined || rest.length > 0) {
  process.stderr.write("usage: node infra/edge/build.ts DIR\n");
  process.exit(2);
}
await buildProgram(resolve(dir));
