// The playground's form against the API: the same fields, limits, choices, defaults and presets.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { PRESET_NAMES } from "@vqd/shared/sampling/preset-names.ts";
import { PRESETS } from "@vqd/shared/sampling/presets.ts";
import { openapiDocument } from "../../edge/api-docs/document.ts";
import { DEFAULTS } from "../../edge/service/schemas.ts";
import { REPO } from "../../infra/stack/paths.ts";

const html = readFileSync(join(REPO, "edge", "pages", "index.html"), "utf8");
const form = /<form\s+id="settings"[\s\S]*?<\/form>/.exec(html)?.[0] ?? "";

interface Field {
  readonly type?: string[];
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly enum?: (string | number | null)[];
}
const document = openapiDocument() as {
  components: { schemas: { Input: { properties: Record<string, Field> } } };
};
const fields = document.components.schemas.Input.properties;

const attribute = (tag: string, name: string): string | undefined =>
  new RegExp(`\\s${name}=(?:"([^"]*)"|'([^']*)')`)
    .exec(tag)
    ?.slice(1)
    .find((value) => value !== undefined);

const controls = [...form.matchAll(/<(input|textarea|select)\s[\s\S]*?>/g)].flatMap((match) => {
  const [tag, kind = ""] = match;
  const name = attribute(tag, "name");
  if (name === undefined) return [];
  const rest = kind === "select" ? form.slice(match.index).split("</select>")[0] : "";
  const options = [...(rest ?? "").matchAll(/<option[^>]*>/g)].map(([option]) => option);
  return [{ name, tag, options }];
});

describe("the playground's form", () => {
  it("has a control for each field of the input", () => {
    const names = [...new Set(controls.map(({ name }) => name))].filter((name) => name !== "model");
    // A preset is a button that sets others; seeds are a list in the control of the seed; num_images_per_prompt is another
    // name; the page shows images of any size in the same frame.
    const others = new Set([
      "preset",
      "seeds",
      "num_images_per_prompt",
      // A class has the control of the prompt.
      "class_label",
      "width",
      "height",
      "size",
      "aspect_ratio",
      // What an image starts from has controls of its own (start.js).
      "image",
      "mask",
      "mask_channel",
      "feather",
      "strength",
      "tokens",
      "from",
    ]);
    const known = Object.keys(fields).filter((name) => !others.has(name));
    expect(names.toSorted()).toEqual(known.toSorted());
  });

  it("has the limits and choices that the API has", () => {
    for (const { name, tag, options } of controls) {
      const field = fields[name];
      if (field === undefined) continue;
      const [min, max] = [attribute(tag, "min"), attribute(tag, "max")];
      if (min !== undefined)
        expect(Number(min), name).toBeGreaterThanOrEqual(field.minimum ?? field.exclusiveMinimum ?? 0);
      if (max !== undefined && name !== "num_inference_steps") expect(Number(max), name).toBe(field.maximum);
      if (options.length > 0) {
        const values = options.map((option) => attribute(option, "value"));
        // jpg is another name of jpeg; the page shows images, not files of tokens.
        const choices = field.enum?.filter(
          (value) => value !== null && value !== "jpg" && value !== "tokens",
        );
        expect(values, name).toEqual(choices?.map(String) ?? ["true", "false"]);
      }
    }
  });

  it("starts with the API's defaults", () => {
    const best = PRESETS[DEFAULTS.preset];
    const defaults: Record<string, unknown> = {
      num_inference_steps: best.numInferenceSteps,
      scheduler: best.scheduler,
      infer_speed: "",
      order: best.order,
      remasking: best.remasking,
      temperature: best.temperature,
      prior_rule: best.priorRule,
      prior_weight: best.priorWeight,
      guidance_scale: DEFAULTS.guidanceScale,
      truncation_rate: DEFAULTS.truncationRate,
      num_outputs: DEFAULTS.numOutputs,
      output_format: DEFAULTS.outputFormat,
      output_quality: DEFAULTS.outputQuality,
      num_previews: DEFAULTS.previews,
      prompt: "",
      negative_prompt: "",
      seed: "",
      embed_settings: true,
      prompt_too_long: DEFAULTS.promptTooLong,
    };
    for (const { name, tag, options } of controls) {
      if (name === "model") continue;
      const selected = options.find((option) => /\sselected\b/.test(option));
      const value = selected === undefined ? attribute(tag, "value") : attribute(selected, "value");
      expect(value ?? "", name).toBe(String(defaults[name]));
    }
  });

  it("has the presets that the API has", () => {
    const buttons = [...form.matchAll(/<button\s[^>]*?data-preset=[^>]*>/g)].map(([tag]) => tag);
    const settings = buttons.map((tag) => [
      attribute(tag, "id")?.replace("preset-", ""),
      JSON.parse(attribute(tag, "data-preset") ?? "") as unknown,
    ]);
    expect(settings).toEqual(
      PRESET_NAMES.map((name) => {
        const { numInferenceSteps, priorRule, priorWeight, inferSpeed, ...same } = PRESETS[name];
        expect(inferSpeed).toBe(1);
        return [
          name,
          {
            ...same,
            // Only the original's sampler has one.
            infer_speed: "",
            num_inference_steps: numInferenceSteps,
            prior_rule: priorRule,
            prior_weight: priorWeight,
          },
        ];
      }),
    );
  });
});
