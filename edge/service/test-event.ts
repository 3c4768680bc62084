// A prediction that never was, for trying receivers of webhooks: in every field like a real one, and marked as none.

import { type PredictionView, viewPrediction, type ViewOptions } from "../prediction/view.ts";

export interface TestEventOptions extends Pick<ViewOptions, "origin" | "retention"> {
  readonly url: string;
  /** Undefined if none is known. */
  readonly model: { readonly name: string; readonly version: string } | undefined;
  /** Unix time in ms. */
  readonly now: number;
}

/** As short as no real one is. */
const TEST_ID = "test";
const STEPS = 25;
const SECONDS = 2;

export function testPrediction({
  url,
  model,
  now,
  ...options
}: TestEventOptions): PredictionView & { readonly test: true } {
  const view = viewPrediction(
    {
      id: TEST_ID,
      ownId: null,
      status: "succeeded",
      model: model?.name ?? "vqd/test",
      version: model?.version ?? "0".repeat(64),
      inputJson: JSON.stringify({ prompt: "a test event", seed: 1, num_inference_steps: STEPS }),
      promptTokens: 5,
      promptTruncated: false,
      images: 1,
      totalSteps: STEPS,
      step: STEPS,
      fileCapability: TEST_ID,
      streamCapability: TEST_ID,
      shareCapability: null,
      attempt: 1,
      numericsId: null,
      outputs: [],
      errorCode: null,
      errorMessage: null,
      logs: "",
      queue: null,
      predictSeconds: SECONDS,
      createdAt: now - 1_000 * SECONDS,
      startedAt: now - 1_000 * SECONDS,
      completedAt: now,
      filesExpired: false,
      webhook: url,
      webhookEvents: ["completed"],
    },
    options,
  );
  // An image that can be had, for receivers that fetch it.
  return { ...view, output: [`${options.origin}/suggestions/01.webp`], test: true };
}
