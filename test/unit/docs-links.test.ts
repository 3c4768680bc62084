// Every link in the documentation resolves: to a file of the repository, and to a heading where it names one.

import { existsSync, globSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { describe, expect, it } from "vitest";
import { REPO } from "../../infra/stack/paths.ts";

const PAGES = globSync(["*.md", ".changeset/README.md", "docs/**/*.md", "infra/**/*.md"], {
  cwd: REPO,
  exclude: (path) => path.includes("node_modules"),
});

const read = (page: string): string => readFileSync(join(REPO, page), "utf8");
/** Examples hold no links of the page. */
const proseOf = (page: string): string => read(page).replaceAll(/^```.*?^```/gms, "");

/** As GitHub names the anchor of a heading. */
function anchorsOf(page: string): Set<string> {
  const seen = new Map<string, number>();
  const headings = [...proseOf(page).matchAll(/^#{1,6} +(.+?) *$/gm)].map(([, heading = ""]) => {
    const anchor = heading
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1")
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\p{M}_ -]/gu, "")
      .replaceAll(" ", "-");
    const count = seen.get(anchor) ?? 0;
    seen.set(anchor, count + 1);
    return count === 0 ? anchor : `${anchor}-${count}`;
  });
  return new Set(headings);
}

interface Link {
  readonly page: string;
  readonly target: string;
}

const LINKS: readonly Link[] = PAGES.flatMap((page) =>
  [...proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = ""]) => ({ page, target })),
);
const INTERNAL = LINKS.filter(({ target }) => !/^[a-z]+:/.test(target));

/** What is wrong with a link; undefined if nothing is. */
function faultOf({ page, target }: Link): string | undefined {
  const [path = "", anchor] = target.split("#");
  const file = path === "" ? page : normalize(join(dirname(page), decodeURIComponent(path)));
  if (file.startsWith("..")) return `${page}: ${target} is outside of the repository`;
  if (!existsSync(join(REPO, file))) return `${page}: there is no ${file}`;
  if (anchor === undefined) return undefined;
  if (!file.endsWith(".md")) return `${page}: ${target} names an anchor of a file that has none`;
  return anchorsOf(file).has(anchor) ? undefined : `${page}: ${file} has no heading #${anchor}`;
}

it("has all pages in view", () => {
  expect(PAGES).toEqual(
    expect.arrayContaining(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/README.md"]),
  );
  expect(INTERNAL.length).toBeGreaterThan(100);
});

it("links to files and headings that exist", () => {
  expect(INTERNAL.map(faultOf).filter((fault) => fault !== undefined)).toEqual([]);
});

it("links abroad by https only", () => {
  const abroad = LINKS.filter(({ target }) => /^[a-z]+:/.test(target));
  expect(abroad.filter(({ target }) => !target.startsWith("https://"))).toEqual([]);
});

it("notices a file and a heading that are not there", () => {
  const page = "docs/README.md";
  expect(faultOf({ page, target: "nats.md#tls" })).toBeUndefined();
  expect(faultOf({ page, target: "nowhere.md" })).toMatch("there is no docs/nowhere.md");
  expect(faultOf({ page, target: "nats.md#nowhere" })).toMatch("no heading #nowhere");
  expect(faultOf({ page, target: "../../etc/passwd" })).toMatch("outside of the repository");
});

describe("files that prose names", () => {
  /** `gpu-worker/jobs/lease.ts`, as opposed to `lease.ts`, `tls/` or `a/b` of an example. */
  const path = /`((?:docs|edge|gpu-worker|infra|shared|test)\/[\w./-]+)`/g;

  it("exist", () => {
    const missing = PAGES.filter((page) => page !== "CHANGELOG.md").flatMap((page) =>
      [...proseOf(page).matchAll(path)].flatMap(([, file = ""]) =>
        existsSync(join(REPO, file)) ? [] : [`${page}: there is no ${file}`],
      ),
    );
    expect(missing).toEqual([]);
  });
});

it("reaches every page of docs from its index", () => {
  const reached = new Set<string>();
  const follow = (page: string): void => {
    if (reached.has(page)) return;
    reached.add(page);
    for (const { target } of INTERNAL.filter((link) => link.page === page)) {
      const file = relative(REPO, join(REPO, dirname(page), target.split("#")[0] ?? ""));
      if (
        file.startsWith("docs/") &&
        file.endsWith(".md") &&
        statSync(join(REPO, file), { throwIfNoEntry: false })
      )
        follow(file);
    }
  };
  follow("docs/README.md");
  expect(PAGES.filter((page) => page.startsWith("docs/") && !reached.has(page))).toEqual([]);
});

it("keeps README to a hundred and thirty lines", () => {
  expect(read("README.md").trimEnd().split("\n").length).toBeLessThanOrEqual(130);
});
