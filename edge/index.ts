// The Worker: the HTTP app, and the hub's class for its Durable Object binding.

import { createApp } from "./app.ts";

export { Hub } from "./hub/hub.ts";

export default createApp();
