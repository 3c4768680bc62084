// The neighbour's process: makes the attack of that name until it is told to stop, or its parent is gone.

import { setPriority } from "node:os";
import { ATTACKS, type Means } from "./attacks.ts";

/** The attacker's own machine is not to be measured. */
const NICE = 15;

const [, , name, means = ""] = process.argv;
const attack = ATTACKS.find((one) => one.name === name);
if (attack === undefined) throw new Error(`there is no attack called ${name}`);
setPriority(NICE);
process.once("disconnect", () => process.exit(1));
const stop = await attack.start(JSON.parse(means) as Means);
process.send?.("ready");
await new Promise((resolve) => process.once("message", resolve));
await stop();
process.exit(0);
