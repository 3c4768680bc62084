// An honest tenant beside attacks of the abuse bench, all at once: nothing of it is refused, fails or is lost. How fast it is,
// the bench says.

import { afterAll, beforeAll, expect, it } from "vitest";
import { ATTACKS } from "../bench/abuse/attacks.ts";
import { behave, MEASURES } from "../bench/abuse/honest.ts";
import { type AbuseSystem, startAbuseSystem } from "../bench/abuse/system.ts";

const COUNT = 2;
/** Those that share something with the honest tenant besides the machine: the worker, the webhooks' slots, the hub's lists. */
const CHOSEN = ["one after another", "hang", "redeliveries", "lists"];
const attacks = ATTACKS.filter(({ name }) => CHOSEN.some((word) => name.includes(word)));

let system: AbuseSystem;
beforeAll(async () => {
  system = await startAbuseSystem(attacks.length);
});
afterAll(() => system[Symbol.asyncDispose]());

it("is served while neighbours attack", { timeout: 240_000 }, async () => {
  expect(attacks).toHaveLength(CHOSEN.length);
  const stops: (() => Promise<void>)[] = [];
  try {
    for (const { name } of attacks) stops.push(await system.attack(name));
    const behaved = await behave(system, COUNT);
    for (const measure of MEASURES) expect(behaved[measure]).toHaveLength(COUNT);
    expect(behaved.ids.map((id) => system.receiver.countOf(id))).toEqual(behaved.ids.map(() => 1));
  } finally {
    await Promise.all(stops.map((stop) => stop()));
  }
});
