// `npm run abuse`: how its neighbours affect an honest tenant, attack by attack.

import { parseArgs } from "node:util";
import { ATTACKS } from "./abuse/attacks.ts";
import { behave, MEASURES, type Measure, type Samples } from "./abuse/honest.ts";
import { type AbuseSystem, startAbuseSystem } from "./abuse/system.ts";
import { percentile } from "./edge/percentile.ts";
import { BUNDLED_MODEL } from "../../infra/stack/paths.ts";
import { TINY_MODEL } from "../integration/support/stack.ts";
import { asLine, describeMachine } from "./machine.ts";

const HELP = `Usage: npm run abuse -- [options]

An honest tenant makes single images, with webhooks, lists and a pause after each, alone and beside each attack of a neighbour
in the same hub. Prints the 95th percentiles and their ratios. The stack has its default limits, one worker with four slots, and
the tests' tiny model. Worker and neighbour run at a lower priority, for elsewhere they have machines of their own. Takes about 5 minutes with the defaults.

  --samples N      of each measure, with and without, in each round [20]
  --rounds N       alone and beside the attack in turn [3]
  --only TEXT      attacks whose name contains it
  --model NAME     tiny, whose images take milliseconds so that the hub is what is shared, or bundled [tiny]
  --json           JSON alone on stdout (with npm run -s)
  -h, --help       this text
`;

const MODELS: Readonly<Record<string, string>> = { tiny: TINY_MODEL, bundled: BUNDLED_MODEL };

interface Result {
  readonly attack: string;
  /** 95th percentiles in ms. */
  readonly alone: Readonly<Record<Measure, number>>;
  readonly beside: Readonly<Record<Measure, number>>;
}

function options() {
  const { values } = parseArgs({
    options: {
      samples: { type: "string", default: "20" },
      rounds: { type: "string", default: "3" },
      only: { type: "string", default: "" },
      model: { type: "string", default: "tiny" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  const number = (name: "samples" | "rounds"): number => {
    const value = Number(values[name]);
    if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} must be an integer above 0`);
    return value;
  };
  const model = MODELS[values.model];
  if (model === undefined) throw new Error(`--model must be ${Object.keys(MODELS).join(" or ")}`);
  return { ...values, model, samples: number("samples"), rounds: number("rounds") };
}

const percentilesOf = (rounds: readonly Samples[]): Record<Measure, number> => {
  const of = (measure: Measure): number =>
    percentile(
      rounds.flatMap((round) => round[measure]).toSorted((a, b) => a - b),
      0.95,
    );
  return { create: of("create"), result: of("result"), webhook: of("webhook"), list: of("list") };
};

async function measureAttack(
  system: AbuseSystem,
  attack: (typeof ATTACKS)[number],
  { samples, rounds }: { samples: number; rounds: number },
): Promise<Result> {
  const [alone, beside]: [Samples[], Samples[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    alone.push(await behave(system, samples));
    const stop = await system.attack(attack.name);
    try {
      beside.push(await behave(system, samples));
    } finally {
      await stop();
    }
  }
  return { attack: attack.name, alone: percentilesOf(alone), beside: percentilesOf(beside) };
}

/** Milliseconds below which a ratio says nothing: timers and clocks. */
const ratioOf = (alone: number, beside: number): string => (beside / Math.max(1, alone)).toFixed(1);

function table(results: readonly Result[]): string {
  return [
    `| beside | ${MEASURES.map((measure) => `${measure}: alone / beside, ms (ratio)`).join(" | ")} |`,
    `| --- |${" ---: |".repeat(MEASURES.length)}`,
    ...results.map(
      ({ attack, alone, beside }) =>
        `| ${attack} | ${MEASURES.map((one) => `${alone[one]} / ${beside[one]} (${ratioOf(alone[one], beside[one])})`).join(" | ")} |`,
    ),
    "",
  ].join("\n");
}

const { help, json, only, samples, rounds, model } = options();
if (help) {
  process.stdout.write(HELP);
} else {
  const attacks = ATTACKS.filter(({ name }) => name.includes(only));
  if (attacks.length === 0)
    throw new Error(`--only matches none of: ${ATTACKS.map(({ name }) => name).join("; ")}`);
  const results: Result[] = [];
  await using system = await startAbuseSystem(attacks.length * rounds, model);
  system.workersGiveWay();
  await behave(system, 5);
  for (const attack of attacks) {
    process.stderr.write(`${attack.name}\n`);
    results.push(await measureAttack(system, attack, { samples, rounds }));
  }
  const machine = describeMachine();
  process.stdout.write(
    json
      ? `${JSON.stringify({ machine, samples, rounds, results })}\n`
      : `${asLine(machine)}\n\n${table(results)}`,
  );
}
