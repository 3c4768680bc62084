// The bindings of the tests: the edge's, and the password of the user that plays a worker.

import type * as edge from "../../edge/index.ts";
import type { Env as EdgeEnv } from "../../edge/env.ts";

declare global {
  namespace Cloudflare {
    interface Env extends EdgeEnv {
      readonly WORKER_PASSWORD: string;
    }
    interface GlobalProps {
      mainModule: typeof edge;
      durableNamespaces: "Hub";
    }
  }
}
