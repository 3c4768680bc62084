// Which version of a model serves a request, by the routes that operators have written.

import { firstRoute, modelRouteSchema, shareOf, versionFor } from "@vqd/shared/routing/route.ts";
import { newPredictionId } from "@vqd/shared/ids.ts";
import { nameOfRoute, routeSubject } from "@vqd/shared/subjects.ts";
import { describe, expect, it } from "vitest";
import type { KnownRoute } from "../../edge/prediction/records.ts";
import { inOrder, mainVersions, resolveModel, retirementOf } from "../../edge/service/models.ts";
import type { AnnouncedModel } from "../../edge/tokenizer/announced.ts";

const [A, B, C] = ["a", "b", "c"].map((digit) => digit.repeat(64)) as [string, string, string];
const CONFIG = { defaultModel: undefined, modelAliases: new Map([["alias", "vqd/one"]]) };

const model = (name: string, version: string, announcedAt: number): AnnouncedModel => ({
  v: 1,
  name,
  version,
  numTrainTimesteps: 1,
  numVectorEmbeds: 2,
  latentHeight: 1,
  latentWidth: 1,
  imageHeight: 1,
  imageWidth: 1,
  tokenizer: { mergesSha256: A, maxLength: 2, padTokenId: 0 },
  parameters: 0,
  announcedAt,
  tokenizerId: null,
});
const route = (
  name: string,
  shares: [string, number][],
  writtenAt = 0,
  retired: string[] = [],
): KnownRoute => ({
  v: 1,
  name,
  shares: shares.map(([version, weight]) => ({ version, weight })),
  retired,
  writtenAt,
});

describe("a choice by weight", () => {
  const shares = [
    { version: A, weight: 90 },
    { version: B, weight: 10 },
  ];

  it.each([
    ["ids", () => newPredictionId(0)],
    ["keys that differ in their last characters", (i: number) => `order-${i}`],
  ])("is as frequent as the weight says, by %s, and always the same for the same", (_, keyOf) => {
    const total = 20_000;
    let count = 0;
    for (let i = 0; i < total; i++) {
      const key = keyOf(i);
      const version = versionFor(shares, key);
      expect(versionFor(shares, key)).toBe(version);
      if (version === B) count++;
    }
    const deviation = Math.sqrt(total * 0.1 * 0.9);
    expect(Math.abs(count - total * 0.1)).toBeLessThan(6 * deviation);
  });

  it("moves only those that it must when a share grows", () => {
    const grown = [
      { version: A, weight: 50 },
      { version: B, weight: 50 },
    ];
    for (let i = 0; i < 1_000; i++) {
      if (versionFor(shares, `${i}`) === B) expect(versionFor(grown, `${i}`)).toBe(B);
    }
  });

  it("among none is none", () => expect(versionFor([], "key")).toBeUndefined());
});

it("a route names each version once, and at least one that serves", () => {
  expect(modelRouteSchema.safeParse(firstRoute("vqd/one", A)).success).toBe(true);
  for (const wrong of [
    { shares: [] },
    { shares: [{ version: A, weight: 0 }] },
    { retired: [A] },
    { name: "one" },
    { shares: [A, A].map((version) => ({ version, weight: 1 })) },
  ]) {
    expect(modelRouteSchema.safeParse({ ...firstRoute("vqd/one", A), ...wrong }).success).toBe(false);
  }
  expect(nameOfRoute(routeSubject("vqd/two-words"))).toBe("vqd/two-words");
  expect(
    shareOf(
      route("vqd/one", [
        [A, 1],
        [B, 3],
      ]),
      B,
    ),
  ).toBe(0.75);
});

describe("a request", () => {
  const choice = { key: "key" };
  const models = inOrder({
    models: [model("vqd/one", A, 3), model("vqd/one", B, 1), model("vqd/two", C, 2)],
    routes: [route("vqd/one", [[B, 1]], 10), route("vqd/two", [[C, 1]], 20)],
  });

  it("for a name gets what its route says, whichever version was announced last", () => {
    expect(resolveModel(models, "vqd/one", CONFIG, choice)?.version).toBe(B);
    expect(resolveModel(models, "alias", CONFIG, choice)?.version).toBe(B);
    expect(mainVersions(models).map(({ version, share }) => [version, share])).toEqual([
      [C, 1],
      [B, 1],
    ]);
  });

  it("for a version gets it, whatever its share", () => {
    for (const reference of [A, `vqd/one:${A}`]) {
      expect(resolveModel(models, reference, CONFIG, choice)).toMatchObject({ version: A, share: 0 });
    }
    // A fork continues with the version that it is of.
    expect(resolveModel(models, "vqd/one", CONFIG, { key: "key", preferred: A })?.version).toBe(A);
  });

  it("without a model gets the name whose route was written last, unless there is a default", () => {
    expect(resolveModel(models, undefined, CONFIG, choice)?.name).toBe("vqd/two");
    const config = { ...CONFIG, defaultModel: "vqd/one" };
    expect(resolveModel(models, undefined, config, choice)?.version).toBe(B);
  });

  it("for a name without a route gets the newest version, as before there were routes", () => {
    const unrouted = inOrder({ models: [model("vqd/one", A, 1), model("vqd/one", B, 2)], routes: [] });
    expect(resolveModel(unrouted, "vqd/one", CONFIG, choice)).toMatchObject({ version: B, share: 1 });
  });

  it("for a name is divided among the announced ones, or refused if there is none", () => {
    const partly = inOrder({
      models: [model("vqd/one", A, 1)],
      routes: [
        route("vqd/one", [
          [A, 1],
          [B, 999],
        ]),
      ],
    });
    expect(resolveModel(partly, "vqd/one", CONFIG, choice)?.version).toBe(A);
    const nobody = inOrder({ models: [model("vqd/one", A, 1)], routes: [route("vqd/one", [[B, 1]])] });
    expect(() => resolveModel(nobody, "vqd/one", CONFIG, choice)).toThrow(/version bbbbbbbbbbbb of vqd\/one/);
    // What only asks what there is gets what there is.
    expect(resolveModel(nobody, "vqd/one", CONFIG)?.version).toBe(A);
  });

  it("for a retired version is told so", () => {
    const after = inOrder({ models: [model("vqd/one", A, 1)], routes: [route("vqd/one", [[A, 1]], 0, [B])] });
    for (const reference of [B, `vqd/one:${B}`]) {
      expect(resolveModel(after, reference, CONFIG, choice)).toBeUndefined();
      expect(retirementOf(after, reference, CONFIG)).toMatch(
        /^is a version of vqd\/one that has been retired/,
      );
    }
    expect(retirementOf(after, C, CONFIG)).toBeUndefined();
  });
});
