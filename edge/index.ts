// The Worker's entry point: the HTTP app, and the class of the hub's Durable Object.

import { createApp } from "./app.ts";

export { Hub } from "./hub/hub.ts";

export default createApp();
