// The check of what is shipped: licences, known vulnerabilities, the bill of materials.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { auditProblems, listedProblems, readAdvisoryList } from "../../infra/dependencies/advisories.ts";
import { licenseProblems } from "../../infra/dependencies/licenses.ts";
import { shippedPackages } from "../../infra/dependencies/shipped.ts";
import { REPO } from "../../infra/stack/paths.ts";

const shipped = shippedPackages();

describe("packages that are shipped", () => {
  it("are those of both halves and the self-hosted edge's runtime, on every platform, and not development's", () => {
    const names = new Set(shipped.map(({ name }) => name));
    for (const name of [
      "hono",
      "zod",
      "onnxruntime-node",
      "sharp",
      "workerd",
      "@cloudflare/workerd-linux-arm64",
    ]) {
      expect([...names]).toContain(name);
    }
    for (const name of ["vitest", "wrangler", "typescript", "@vqd/edge"])
      expect([...names]).not.toContain(name);
  });

  it("have licences that are allowed", () => {
    expect(licenseProblems(shipped)).toEqual([]);
  });

  it("have no vulnerability of the list, whose packages are all shipped", () => {
    const list = readAdvisoryList();
    expect(listedProblems(shipped, list)).toEqual([]);
    const names = new Set(shipped.map(({ name }) => name));
    for (const { package: name } of list.advisories) expect([...names]).toContain(name);
  });
});

describe("the check", () => {
  const plain = { version: "1.0.0", integrity: undefined, uses: [] };

  it.each([
    ["GPL-3.0-only", false],
    ["AGPL-3.0-or-later", false],
    ["MIT AND GPL-2.0-only", false],
    ["(MIT AND (GPL-2.0-only OR MIT))", false],
    ["SEE LICENSE IN LICENSE", false],
    ["LGPL-3.0-or-later", false],
    [undefined, false],
    ["MIT", true],
    ["GPL-2.0-only OR MIT", true],
    ["(MIT OR CC0-1.0)", true],
    ["Apache-2.0 AND MIT", true],
  ])("takes the licence %s: %s", (license, isAllowed) => {
    const problems = licenseProblems([{ ...plain, name: "some", license }]);
    expect(problems).toEqual(isAllowed ? [] : [`some 1.0.0: licence ${license ?? "not stated"}`]);
  });

  it("allows the LGPL for libvips only", () => {
    const lgpl = { ...plain, license: "LGPL-3.0-or-later" };
    expect(licenseProblems([{ ...lgpl, name: "@img/sharp-libvips-linux-x64" }])).toEqual([]);
    expect(licenseProblems([{ ...lgpl, name: "sharp-libvips-linux-x64" }])).toHaveLength(1);
  });

  it("finds vulnerable versions by the list, nested ones too", () => {
    const lock = {
      packages: {
        "": { version: "1.0.0" },
        "node_modules/a/node_modules/sharp": { version: "0.35.4", license: "Apache-2.0" },
        "node_modules/alias": { name: "adm-zip", version: "0.6.0", license: "MIT" },
        "node_modules/hono": { version: "4.12.33", dev: true },
        "node_modules/zod": { version: "4.6.6" },
      },
    };
    expect(listedProblems(shippedPackages(lock), readAdvisoryList())).toEqual([
      expect.stringMatching(/^sharp 0\.35\.4: high, GHSA-/),
      expect.stringMatching(/^adm-zip 0\.6\.0: high, GHSA-/),
    ]);
  });

  it("reads the registry's audit, and knows when it has not answered", () => {
    const via = [{ title: "Out of memory", url: "https://github.com/advisories/GHSA-x" }, "other"];
    const found = { auditReportVersion: 2, vulnerabilities: { one: { severity: "high", range: "<1", via } } };
    expect(auditProblems(JSON.stringify(found))).toEqual([
      "one <1: high, Out of memory (https://github.com/advisories/GHSA-x); by other",
    ]);
    expect(auditProblems('{"auditReportVersion": 2, "vulnerabilities": {}}')).toEqual([]);
    for (const output of ["", "{}", '{"message": "405 Method Not Allowed"}', "npm error"]) {
      expect(auditProblems(output), output).toBeUndefined();
    }
  });
});

it("has a bill of materials with each package that is shipped, in CycloneDX's format", async () => {
  interface Component {
    readonly type: string;
    readonly "bom-ref": string;
    readonly purl: string;
    readonly licenses: { readonly expression: string }[];
    readonly hashes: { readonly alg: string; readonly content: string }[];
  }
  interface Bill {
    readonly bomFormat: string;
    readonly specVersion: string;
    readonly metadata: { readonly component: object };
    readonly components: readonly Component[];
    readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
  }
  const args = ["run", "--silent", "sbom"];
  const { stdout } = await promisify(execFile)("npm", args, { cwd: REPO, maxBuffer: 64 * 1024 ** 2 });
  const bill = JSON.parse(stdout) as Bill;
  expect(bill).toMatchObject({ bomFormat: "CycloneDX", specVersion: "1.6" });
  expect(bill.metadata.component).toMatchObject({ type: "application", name: "vqd" });
  const refs = bill.components.map((one) => one["bom-ref"]);
  expect(new Set(refs).size).toBe(refs.length);
  const wanted = shipped.map(({ name, version }) => `pkg:npm/${name.replace("@", "%40")}@${version}`);
  expect(refs.toSorted()).toEqual([...new Set(wanted)].toSorted());
  for (const { type, licenses, hashes } of bill.components) {
    expect(type).toBe("library");
    expect(licenses[0]?.expression).toMatch(/\w/);
    expect(hashes).toEqual([{ alg: "SHA-512", content: expect.stringMatching(/^[0-9a-f]{128}$/) as string }]);
  }
  // Every package that another one uses is there, and the uses are the lock file's.
  const used = new Map(bill.dependencies.map(({ ref, dependsOn }) => [ref, dependsOn]));
  expect([...used.keys()].toSorted()).toEqual(refs.toSorted());
  for (const dependsOn of used.values()) for (const ref of dependsOn) expect(refs).toContain(ref);
  const sharp = refs.find((ref) => ref.startsWith("pkg:npm/sharp@")) ?? "";
  expect(used.get(sharp)?.some((ref) => ref.startsWith("pkg:npm/%40img/sharp-libvips-linux-x64@"))).toBe(
    true,
  );
});
