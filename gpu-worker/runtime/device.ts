// Which device a GPU provider computes on: onnxruntime's binding does not say.

import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Provider } from "./onnxruntime.ts";

interface Device {
  readonly name: string;
  /** Version of the driver, "" where it is not known. */
  readonly driver: string;
  /** Total memory in bytes; undefined where it is not known. */
  readonly memoryBytes: number | undefined;
}

const QUERY_MS = 10_000;
const MIB = 2 ** 20;
const DRM = "/sys/class/drm";

let found: Device | undefined;

/**
 * The first GPU: from nvidia-smi, otherwise its PCI ids from Linux's sysfs. Where there is neither, as with software
 * drivers, the list of drivers that the Vulkan loader was given is its name. Asked once per process.
 */
export function gpuDevice(): Device {
  found ??= nvidia() ?? drm() ?? unknownDevice();
  return found;
}

/** What of a provider's device decides the bits of a result, besides the provider itself. */
export function deviceNumerics(provider: Provider): string[] {
  if (provider === "cpu") return [];
  const { name, driver } = gpuDevice();
  return [name, driver, ...(provider === "cuda" ? [`tf32=${tf32()}`] : [])];
}

/**
 * CUDA's libraries round the factors of fp32 products to 10 bits (TF32) wherever a program lets them, as onnxruntime does.
 * This variable of NVIDIA's takes precedence. It must be set before the first session: call this before creating one.
 */
export function forbidTf32(): void {
  process.env["NVIDIA_TF32_OVERRIDE"] ??= "0";
}

const tf32 = (): string => (process.env["NVIDIA_TF32_OVERRIDE"] === "0" ? "off" : "on");

function nvidia(): Device | undefined {
  const fields = "name,driver_version,memory.total";
  try {
    const output = execFileSync("nvidia-smi", [`--query-gpu=${fields}`, "--format=csv,noheader,nounits"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
      timeout: QUERY_MS,
    });
    const [name = "", driver = "", mebibytes = ""] = (output.split("\n")[0] ?? "").split(", ");
    if (name === "") return undefined;
    return { name, driver, memoryBytes: Number(mebibytes) > 0 ? Number(mebibytes) * MIB : undefined };
  } catch {
    return undefined;
  }
}

function drm(): Device | undefined {
  const read = (card: string, file: string): string =>
    readFileSync(join(DRM, card, "device", file), "utf8").trim();
  try {
    const card = readdirSync(DRM).find((entry) => /^card\d+$/.test(entry));
    if (card === undefined) return undefined;
    return {
      name: `${read(card, "vendor")}:${read(card, "device")}`,
      driver: "",
      memoryBytes: vramBytes(card),
    };
  } catch {
    return undefined;
  }
}

/** Only some drivers, amdgpu among them, report it. */
function vramBytes(card: string): number | undefined {
  try {
    const bytes = Number(readFileSync(join(DRM, card, "device", "mem_info_vram_total"), "utf8"));
    return bytes > 0 ? bytes : undefined;
  } catch {
    return undefined;
  }
}

const unknownDevice = (): Device => ({
  name: process.env["VK_DRIVER_FILES"] ?? process.env["VK_ICD_FILENAMES"] ?? "unknown",
  driver: "",
  memoryBytes: undefined,
});
