// The doctor's checks and their table in the docs are the same.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { REPO } from "../../infra/stack/paths.ts";

it("has each check in docs/doctor.md, and no other", () => {
  const dir = join(REPO, "gpu-worker", "doctor");
  const source = readdirSync(dir)
    .map((file) => readFileSync(join(dir, file), "utf8"))
    .join("\n");
  const checks = new Set(
    [...source.matchAll(/"((?:nats|streams|workers|worker|edge)\.[a-z_]+)"/g)].map(([, id]) => id!),
  );
  const table = readFileSync(join(REPO, "docs", "doctor.md"), "utf8")
    .split("\n")
    .filter((line) => line.startsWith("| `"));
  const documented = table.flatMap((line) =>
    [...line.split("|")[1]!.matchAll(/`([a-z_.]+)`/g)].map(([, id]) => id!),
  );
  expect(checks.size).toBeGreaterThan(20);
  expect(documented.toSorted()).toEqual([...checks].toSorted());
});
