// `npm run k8s -- render`: the manifests of a model's workers, made from those in this folder, so that no name is typed by hand.

import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { DEFAULT_CACHE_DIR } from "@vqd/gpu-worker/config.ts";
import { defaultModelName } from "@vqd/gpu-worker/serving/manifest.ts";
import { versionOfCheckpoint } from "@vqd/gpu-worker/serving/model-key.ts";
import { modelNameSchema } from "@vqd/shared/model.ts";
import { parse, stringify } from "yaml";
import { UsageError } from "../usage-error.ts";

const PROMETHEUS = "http://prometheus.monitoring.svc:9090";

const HELP = `Usage: npm run k8s -- render FOLDER [options] | kubectl apply -n vqd -f -

Prints the Deployment, the KEDA ScaledObject and the PodDisruptionBudget of the workers that serve the checkpoint in
FOLDER, which pods have at /models/FOLDER: from the volume claim vqd-models, or with --pull from the Hugging Face Hub.
One set for each version: during a change of versions the old and the new one scale by the work of their own.

  --name NAME          owner/name that it is served as                           [vqd/FOLDER]
  --image IMAGE        image of the worker                                       [that of infra/k8s/kustomization.yaml]
  --nats URLS          VQD_NATS_URL                                              [that of infra/k8s/worker.yaml]
  --pull REPO          owner/name on the Hugging Face Hub: an init container downloads it, and checks all hashes
  --gpu                for NVIDIA GPUs: with what infra/k8s-gpu changes
  --min N              workers when nothing is to be done; 0 scales from zero    [1]
  --max N              workers at most                                           [8]
  --slots N            images that a worker denoises at once (vqd workers)       [4]
  --seconds N          seconds of work in each slot that ask for another worker  [10]
  --prometheus URL     the Prometheus that scrapes the edge                      [${PROMETHEUS}]
  -h, --help           this text
`;

interface Container {
  name: string;
  image: string;
  args?: string[];
  command?: string[];
  env: { name: string; value?: string }[];
  resources: { requests: object; limits: object };
  startupProbe?: object;
  volumeMounts: { name: string; mountPath: string; readOnly?: boolean }[];
  securityContext?: object;
}
interface Volume {
  name: string;
  [source: string]: unknown;
}
interface PodSpec {
  containers: [Container];
  initContainers?: Container[];
  volumes: Volume[];
  securityContext: object;
  topologySpreadConstraints: { labelSelector: { matchLabels: Labels } }[];
}
type Labels = Record<string, string>;
interface Deployment {
  metadata: { name: string; labels: Labels };
  spec: {
    selector: { matchLabels: Labels };
    strategy: object;
    template: { metadata: { labels: Labels }; spec: PodSpec };
  };
}
interface ScaledObject {
  metadata: { name: string };
  spec: {
    scaleTargetRef: { name: string };
    minReplicaCount: number;
    maxReplicaCount: number;
    triggers: [{ metadata: { serverAddress: string; query: string; threshold: string } }];
  };
}
interface Budget {
  metadata: { name: string };
  spec: { selector: { matchLabels: Labels } };
}

export interface Rendered {
  /** Folder with the checkpoint; its own name is that of the folder in the pods. */
  readonly folder: string;
  readonly name: string;
  readonly version: string;
  readonly image: string;
  readonly nats: string | undefined;
  readonly pull: string | undefined;
  readonly gpu: boolean;
  readonly min: number;
  readonly max: number;
  /** Seconds of work that ask for another worker. */
  readonly share: number;
  readonly prometheus: string;
}

const read = (folder: string, file: string): unknown =>
  parse(readFileSync(join(import.meta.dirname, "..", folder, file), "utf8"), { merge: true });

/** The seconds of work of a version, in PromQL. While no pace is known, each prediction counts as `share`. */
export function backlogQuery(name: string, version: string, share: number): string {
  const of = `{model="${name}",version="${version}"}`;
  return (
    `sum(vqd_hub_backlog_image_steps${of}) * max(vqd_hub_image_step_seconds${of}) ` +
    `or ${share} * sum(vqd_hub_backlog_predictions${of})`
  );
}

/** The manifests: Deployment, ScaledObject, PodDisruptionBudget. */
export function render(asked: Rendered): [Deployment, ScaledObject, Budget] {
  const deployment = read("k8s", "worker.yaml") as Deployment;
  const scaled = read("k8s", "scaledobject.yaml") as ScaledObject;
  const budget = read("k8s", "pdb.yaml") as Budget;
  // A label has at most 63 characters; the version keeps two of one name apart.
  const short = asked.name
    .slice(asked.name.indexOf("/") + 1)
    .slice(0, 40)
    .replace(/[^a-z0-9]+$/, "");
  const instance = `${short.replaceAll(/[^a-z0-9-]/g, "-")}-${asked.version.slice(0, 12)}`;
  const name = `worker-${instance}`;
  const labels = { ...deployment.metadata.labels, "app.kubernetes.io/instance": instance };

  const { spec } = deployment.spec.template;
  deployment.metadata = { name, labels };
  deployment.spec.selector.matchLabels = labels;
  deployment.spec.template.metadata.labels = labels;
  for (const constraint of spec.topologySpreadConstraints) constraint.labelSelector.matchLabels = labels;
  const [worker] = spec.containers;
  worker.image = asked.image;
  const set = (variable: string, value: string): void => {
    worker.env = [...worker.env.filter((one) => one.name !== variable), { name: variable, value }];
  };
  set("VQD_MODEL", `/models/${basename(asked.folder)}`);
  set("VQD_MODEL_NAME", asked.name);
  if (asked.nats !== undefined) set("VQD_NATS_URL", asked.nats);
  if (asked.gpu) forGpu(deployment, set);
  if (asked.pull !== undefined) pulled(spec, asked.pull, basename(asked.folder));

  scaled.metadata.name = name;
  scaled.spec.scaleTargetRef.name = name;
  scaled.spec.minReplicaCount = asked.min;
  scaled.spec.maxReplicaCount = asked.max;
  Object.assign(scaled.spec.triggers[0].metadata, {
    serverAddress: asked.prometheus,
    query: backlogQuery(asked.name, asked.version, asked.share),
    threshold: String(asked.share),
  });
  budget.metadata.name = name;
  budget.spec.selector.matchLabels = labels;
  return [deployment, scaled, budget];
}

/** What the overlay of infra/k8s-gpu changes. */
function forGpu(deployment: Deployment, set: (variable: string, value: string) => void): void {
  const overlay = read("k8s-gpu", "worker.yaml") as {
    spec: { strategy: object; template: { spec: PodSpec } };
  };
  const { containers, volumes, ...pod } = overlay.spec.template.spec;
  const { spec } = deployment.spec.template;
  deployment.spec.strategy = { ...deployment.spec.strategy, ...overlay.spec.strategy };
  Object.assign(spec, pod, { securityContext: { ...spec.securityContext, ...pod.securityContext } });
  const { env, resources, startupProbe } = containers[0];
  const [worker] = spec.containers;
  for (const { name, value } of env) set(name, value ?? "");
  worker.resources = resources;
  worker.startupProbe = { ...worker.startupProbe, ...startupProbe };
  const replaced = new Set(volumes.map(({ name }) => name));
  spec.volumes = [
    ...spec.volumes.filter(({ name }) => !replaced.has(name)),
    // An overlay removes a source by null.
    ...volumes.map(
      (volume) =>
        Object.fromEntries(Object.entries(volume).filter(([, source]) => source !== null)) as Volume,
    ),
  ];
}

/** Has an init container download the checkpoint. */
function pulled(spec: PodSpec, repository: string, folder: string): void {
  const [worker] = spec.containers;
  const models = { name: "models", mountPath: "/models" };
  spec.volumes = [
    ...spec.volumes.filter(({ name }) => name !== models.name),
    { name: models.name, emptyDir: { sizeLimit: "20Gi" } },
  ];
  const { image, securityContext } = worker;
  spec.initContainers = [
    {
      name: "pull",
      image,
      args: ["gpu-worker/cli.ts", "pull", repository, "--dir", `/models/${folder}`],
      env: [{ name: "HF_HOME", value: "/tmp/huggingface" }],
      resources: { requests: { cpu: "1", memory: "512Mi" }, limits: { memory: "1Gi" } },
      ...(securityContext === undefined ? {} : { securityContext }),
      volumeMounts: [models, { name: "tmp", mountPath: "/tmp" }],
    },
  ];
}

function defaultImage(gpu: boolean): string {
  const { images } = read(gpu ? "k8s-gpu" : "k8s", "kustomization.yaml") as {
    images: [{ name: string; newName?: string; newTag: string }];
  };
  const [{ name, newName, newTag }] = images;
  return `${newName ?? name}:${newTag}`;
}

function wholeNumber(option: string, text: string, least: number): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < least)
    throw new UsageError(`--${option} must be a whole number of at least ${least}, not ${text}`);
  return value;
}

function main(): void {
  const { values, positionals } = parseArgs({
    options: {
      name: { type: "string" },
      image: { type: "string" },
      nats: { type: "string" },
      pull: { type: "string" },
      gpu: { type: "boolean", default: false },
      min: { type: "string", default: "1" },
      max: { type: "string", default: "8" },
      slots: { type: "string", default: "4" },
      seconds: { type: "string", default: "10" },
      prometheus: { type: "string", default: PROMETHEUS },
      help: { type: "boolean", short: "h", default: false },
    },
    allowPositionals: true,
  });
  const [command, folder, ...others] = positionals;
  if (values.help || command === undefined) {
    (values.help ? process.stdout : process.stderr).write(HELP);
    process.exitCode = values.help ? 0 : 2;
    return;
  }
  if (command !== "render") throw new UsageError(`${command} is no command: render is the only one`);
  if (folder === undefined || others.length > 0) throw new UsageError("render takes one FOLDER");
  const name = values.name ?? defaultModelName(folder);
  const named = modelNameSchema.safeParse(name);
  if (!named.success) throw new UsageError(`--name ${name} ${named.error.issues[0]?.message}`);
  const [min, max] = [wholeNumber("min", values.min, 0), wholeNumber("max", values.max, 1)];
  if (min > max) throw new UsageError(`--min ${min} is more than --max ${max}`);
  const manifests = render({
    folder,
    name,
    version: versionOfCheckpoint(folder, process.env["VQD_CACHE"] || DEFAULT_CACHE_DIR),
    image: values.image ?? defaultImage(values.gpu),
    nats: values.nats,
    pull: values.pull,
    gpu: values.gpu,
    min,
    max,
    share: wholeNumber("slots", values.slots, 1) * wholeNumber("seconds", values.seconds, 1),
    prometheus: values.prometheus,
  });
  process.stdout.write(
    manifests
      .map((manifest) => stringify(manifest, { lineWidth: 0, aliasDuplicateObjects: false }))
      .join("---\n"),
  );
}

if (import.meta.main) {
  try {
    main();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  }
}
