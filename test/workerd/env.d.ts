// The bindings of the tests: the edge's, the passwords of those who play a worker and empty the queue, the receiver of webhooks.

import type * as edge from "../../edge/index.ts";
import type { Env as EdgeEnv } from "../../edge/bindings.ts";

declare global {
  namespace Cloudflare {
    interface Env extends EdgeEnv {
      readonly WORKER_PASSWORD: string;
      readonly OPERATOR_PASSWORD: string;
      readonly RECEIVER_PORT: string;
      readonly SECOND_RECEIVER_PORT: string;
    }
    interface GlobalProps {
      mainModule: typeof edge;
      durableNamespaces: "Hub";
    }
  }
}
