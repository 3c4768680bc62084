// Client of vqd for what clients of other services cannot do: events with the tokens of every step, and tokens as pixels.

/** @typedef {import("./types.d.ts").ClientOptions} ClientOptions */
/** @typedef {import("./types.d.ts").CreateOptions} CreateOptions */
/** @typedef {import("./types.d.ts").EventsOptions} EventsOptions */
/** @typedef {import("./types.d.ts").Input} Input */
/** @typedef {import("./types.d.ts").Model} Model */
/** @typedef {import("./types.d.ts").Palette} Palette */
/** @typedef {import("./types.d.ts").Prediction} Prediction */
/** @typedef {import("./types.d.ts").PredictionEvent} PredictionEvent */

export { VqdClient } from "./client.js";
export { VqdError } from "./error.js";
export { paint, paletteFrom, pixelsOf, tokensOf } from "./pixels.js";
