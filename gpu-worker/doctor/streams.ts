// Checks that the streams exist, match this release, have a leader and replicas, and are not full.

import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "nats";
import { API_DOMAIN, STREAMS } from "@vqd/shared/subjects.ts";
import { differences, streamInfo, WANTED_STREAMS } from "../ops/streams.ts";
import { type Findings, reasonOf } from "./findings.ts";

const APPLY = "run vqd streams apply with the operator's credentials";
/** Fraction of the queue's limit that deserves a warning. */
const NEARLY_FULL = 0.9;
const API_LIMIT_MS = 3_000;

/** Needs a connection as the monitor. */
export async function checkStreams(findings: Findings, nc: NatsConnection): Promise<void> {
  const jsm = await jetstreamManager(nc, { checkAPI: false, timeout: API_LIMIT_MS, domain: API_DOMAIN });
  const isCluster = nc.info?.cluster !== undefined;
  for (const wanted of WANTED_STREAMS) await checkStream(findings, jsm, wanted, isCluster);
}

async function checkStream(
  findings: Findings,
  jsm: JetStreamManager,
  wanted: (typeof WANTED_STREAMS)[number],
  isCluster: boolean,
): Promise<void> {
  const { name } = wanted;
  let info;
  try {
    info = await streamInfo(jsm, name);
  } catch (error) {
    findings.problem(
      "streams.unavailable",
      `${name} does not answer: ${reasonOf(error)}`,
      "it has no leader, as too few servers of the cluster are up, or this user may not see it",
    );
    return;
  }
  if (info === null) {
    findings.problem("streams.missing", `${name} does not exist`, APPLY);
    return;
  }
  const changes = differences(info.config, wanted);
  for (const { setting, is, wanted: other } of changes) {
    findings.problem("streams.settings", `${name}: ${setting} is ${is} and should be ${other}`, APPLY);
  }
  const { num_replicas: replicas, max_msgs: limit } = info.config;
  if (isCluster && replicas < 3) {
    findings.warn(
      "streams.replicas",
      `${name} has ${replicas} ${replicas === 1 ? "replica" : "replicas"} in a cluster: losing its server loses the stream`,
      "run vqd streams apply --replicas 3",
    );
  }
  for (const peer of info.cluster?.replicas ?? []) {
    if (peer.offline || !peer.current) {
      const state = peer.offline ? "offline" : "behind";
      findings.warn("streams.replicas", `${name}: the replica on ${peer.name} is ${state}`);
    }
  }
  const { messages } = info.state;
  if (name === STREAMS.jobs && messages >= limit * NEARLY_FULL) {
    findings.warn(
      "streams.queue",
      `${messages} of ${limit} jobs are waiting or running: ${messages >= limit ? "new ones are refused" : "nearly full"}`,
      "start more workers, or run vqd streams apply --queue-limit N",
    );
  }
  if (changes.length === 0) findings.ok("streams", `${name}: messages: ${messages}, replicas: ${replicas}`);
}
