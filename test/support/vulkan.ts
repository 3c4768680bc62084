// A software Vulkan driver for tests of the WebGPU provider, where the machine has one.

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";

/**
 * Where Debian keeps those of mesa-vulkan-drivers and of chromium: Mesa's is faster, and has fp16, unlike SwiftShader. That of
 * Debian 12 is too old for WebGPU, and has another name. Another one may be named in the environment.
 */
const DRIVERS = ["/usr/share/vulkan/icd.d/lvp_icd.json", "/usr/lib/chromium/vk_swiftshader_icd.json"];

/** The driver's description file, or what is missing. */
export function vulkanDriver(): { driver?: string; missing?: string } {
  const named = process.env["VK_ICD_FILENAMES"];
  const driver = named ?? DRIVERS.find((path) => existsSync(path));
  if (driver === undefined) return { missing: `there is no Vulkan driver (${DRIVERS.join(", ")})` };
  const loaders = execFileSync("ldconfig", ["-p"], { encoding: "utf8" });
  if (!loaders.includes("libvulkan.so.1")) return { missing: "there is no Vulkan loader (libvulkan.so.1)" };
  return { driver };
}
