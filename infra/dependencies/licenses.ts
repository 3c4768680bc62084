// Which licences packages that are shipped may have.

import type { ShippedPackage } from "./shipped.ts";

/** Permissive ones, by their SPDX ids. */
const ALLOWED: ReadonlySet<string> = new Set([
  "0BSD",
  "Apache-2.0",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "CC0-1.0",
  "ISC",
  "MIT",
  "MIT-0",
  "Unlicense",
]);

/** sharp loads libvips as a library of its own, unchanged, which the LGPL asks for. */
const EXCEPTIONS: readonly { readonly name: RegExp; readonly license: string }[] = [
  { name: /^@img\/sharp-(?:libvips-|wasm32$|win32-)/, license: "LGPL-3.0-or-later" },
];

/** Of an SPDX expression as packages have them: one of several (`A OR B`), or several at once (`A AND B`). */
function isAllowed(name: string, expression: string): boolean {
  const isOne = (id: string): boolean =>
    ALLOWED.has(id) || EXCEPTIONS.some((exception) => exception.name.test(name) && exception.license === id);
  const bare = expression.replace(/^\(([^()]*)\)$/, "$1");
  return bare.split(" OR ").some((choice) => choice.split(" AND ").every((id) => isOne(id.trim())));
}

/** One line for each package whose licence is not allowed, or not stated. */
export const licenseProblems = (packages: readonly ShippedPackage[]): string[] =>
  packages
    .filter(({ name, license }) => license === undefined || !isAllowed(name, license))
    .map(({ name, version, license }) => `${name} ${version}: licence ${license ?? "not stated"}`);
