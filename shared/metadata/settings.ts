// How an image was made, as text in its file: for AUTOMATIC1111's web UI, ComfyUI and what reads their files, and as XMP.

import { REFERENCE_SAMPLER, type SamplerSettings } from "../sampling/sampler.ts";
import type { JsonSeed } from "../sampling/seed.ts";
import { withTexts } from "./png.ts";

export interface ImageSettings extends SamplerSettings {
  readonly prompt: string;
  readonly negativePrompt: string | null;
  readonly numInferenceSteps: number;
  readonly guidanceScale: number;
  readonly truncationRate: number;
  /** Of an image that started from another, 0 to 1; undefined if that is not known or it did not. */
  readonly strength?: number | undefined;
  readonly seed: JsonSeed;
  /** Index among the images with this seed, which together with it determines the noise. */
  readonly place: number;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  /** `owner/name` */
  readonly model: string;
  /** SHA-256 of the checkpoint, hex. */
  readonly version: string;
}

/** Digits of a checkpoint's hash in AUTOMATIC1111's format. */
const HASH_DIGITS = 10;

/** A PNG file with its settings; any other file as it is. */
export function withSettings(png: Uint8Array<ArrayBuffer>, settings: ImageSettings): Uint8Array<ArrayBuffer> {
  const parameters = parametersOf(settings);
  return withTexts(png, { parameters, "XML:com.adobe.xmp": xmpOf(parameters) });
}

/** The "generation parameters" of AUTOMATIC1111: the prompts, then a line of settings. What is neutral is left out. */
export function parametersOf(settings: ImageSettings): string {
  const { negativePrompt, place, width, height } = settings;
  const named: [string, string | number | undefined][] = [
    ["Steps", settings.numInferenceSteps],
    ["Sampler", settings.order],
    ["Schedule type", settings.scheduler],
    ["CFG scale", settings.guidanceScale],
    ["Seed", settings.seed],
    ["Size", `${width}x${height}`],
    ["Model hash", settings.version.slice(0, HASH_DIGITS)],
    ["Model", settings.model],
    ["Denoising strength", settings.strength],
    ["Infer speed", unlessNeutral(settings, "inferSpeed")],
    ["Temperature", unlessNeutral(settings, "temperature")],
    ["Truncation rate", settings.truncationRate === 1 ? undefined : settings.truncationRate],
    ["Remasking", unlessNeutral(settings, "remasking")],
    ["Prior rule", unlessNeutral(settings, "priorRule")],
    ["Prior weight", unlessNeutral(settings, "priorWeight")],
    // Not the number of images made with it: a file does not depend on the others.
    ["Batch pos", place === 0 ? undefined : place],
    ["Version", "vqd"],
  ];
  return [
    settings.prompt,
    ...(negativePrompt === null ? [] : [`Negative prompt: ${negativePrompt}`]),
    named.flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}`])).join(", "),
  ].join("\n");
}

const unlessNeutral = (
  settings: ImageSettings,
  name: "inferSpeed" | "temperature" | "remasking" | "priorRule" | "priorWeight",
) => (settings[name] === REFERENCE_SAMPLER[name] ? undefined : settings[name]);

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
/** Characters that XML 1.0 cannot hold, not even escaped. */
// oxlint-disable-next-line no-control-regex -- control characters are what it is about
const NOT_XML = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|\p{Surrogate}/gu;

/** XMP (ISO 16684-1): the description, what made the image, and IPTC's term for images made by a trained model. */
function xmpOf(description: string): string {
  const text = description.replaceAll(NOT_XML, "\ufffd").replaceAll(/[&<>]/g, (char) => ENTITIES[char] ?? "");
  return `<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about=""
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmp:CreatorTool="vqd"
 Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia">
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">${text}</rdf:li></rdf:Alt></dc:description>
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>`;
}
