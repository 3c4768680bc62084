// `npm run sbom`: the bill of materials of what is shipped, in CycloneDX's format. (`npm sbom --omit=dev` leaves out packages
// that development uses as well.)

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { REPO } from "../stack/paths.ts";
import { type ShippedPackage, shippedPackages } from "./shipped.ts";

/** As package URLs write names: the scope's @ is encoded. */
const purl = (nameAndVersion: string): string => `pkg:npm/${nameAndVersion.replace(/^@/, "%40")}`;

function component({ name, version, license, integrity }: ShippedPackage): object {
  const ref = purl(`${name}@${version}`);
  const [, base64] = /^sha512-(\S+)/.exec(integrity ?? "") ?? [];
  return {
    type: "library",
    "bom-ref": ref,
    name,
    version,
    purl: ref,
    ...(license === undefined ? {} : { licenses: [{ expression: license }] }),
    ...(base64 === undefined
      ? {}
      : { hashes: [{ alg: "SHA-512", content: Buffer.from(base64, "base64").toString("hex") }] }),
  };
}

/** A CycloneDX 1.6 document as JSON. */
export function billOfMaterials(packages: readonly ShippedPackage[], version: string): object {
  // A version may be installed in several places.
  const distinct = [...new Map(packages.map((one) => [`${one.name}@${one.version}`, one])).entries()];
  return {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      timestamp: new Date().toISOString(),
      component: {
        type: "application",
        "bom-ref": "vqd",
        name: "vqd",
        version,
        licenses: [{ license: { id: "Apache-2.0" } }],
      },
    },
    components: distinct.map(([, one]) => component(one)),
    dependencies: distinct.map(([id, { uses }]) => ({
      ref: purl(id),
      dependsOn: [...new Set(uses)].map(purl),
    })),
  };
}

if (import.meta.main) {
  const { version } = JSON.parse(readFileSync(join(REPO, "package.json"), "utf8")) as { version: string };
  process.stdout.write(`${JSON.stringify(billOfMaterials(shippedPackages(), version), undefined, 2)}\n`);
}
