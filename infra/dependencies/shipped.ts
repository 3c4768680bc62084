// The packages that workers, the edge and its image contain, as package-lock.json has them: development's are left out.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { REPO } from "../stack/paths.ts";

const names = z.record(z.string(), z.string()).optional();

const lockSchema = z.object({
  packages: z.record(
    z.string(),
    z.object({
      name: z.string().optional(),
      version: z.string().optional(),
      license: z.string().optional(),
      integrity: z.string().optional(),
      dev: z.boolean().optional(),
      link: z.boolean().optional(),
      dependencies: names,
      optionalDependencies: names,
    }),
  ),
});

export interface ShippedPackage {
  readonly name: string;
  readonly version: string;
  /** SPDX expression; undefined if the package states none. */
  readonly license: string | undefined;
  /** Of its archive, as in `integrity` of HTML: algorithm and base64. */
  readonly integrity: string | undefined;
  /** The packages that it uses, each as name@version. */
  readonly uses: readonly string[];
}

const FOLDER = "node_modules/";

/** In every version that is installed, for all platforms. The repository's own packages are not among them. */
export function shippedPackages(lock: unknown = readLock()): ShippedPackage[] {
  const { packages } = lockSchema.parse(lock);
  const nameOf = (path: string): string =>
    packages[path]?.name ?? path.slice(path.lastIndexOf(FOLDER) + FOLDER.length);
  /** Where Node finds `name` from the package at `path`: in the nearest folder upwards. */
  const resolve = (path: string, name: string): string | undefined => {
    for (let at = path; ; at = at.slice(0, Math.max(0, at.lastIndexOf(FOLDER)))) {
      const place = `${at === "" || at.endsWith("/") ? at : `${at}/`}${FOLDER}${name}`;
      if (packages[place] !== undefined) return place;
      if (at === "") return undefined;
    }
  };
  return Object.entries(packages).flatMap(([path, entry]) => {
    const { version, license, integrity, dev, link, dependencies, optionalDependencies } = entry;
    if (!path.includes(FOLDER) || dev === true || link === true || version === undefined) return [];
    const uses = Object.keys({ ...dependencies, ...optionalDependencies }).flatMap((name) => {
      const place = resolve(path, name);
      return place === undefined ? [] : [`${nameOf(place)}@${packages[place]?.version}`];
    });
    return [{ name: nameOf(path), version, license, integrity, uses }];
  });
}

function readLock(): unknown {
  return JSON.parse(readFileSync(join(REPO, "package-lock.json"), "utf8"));
}
