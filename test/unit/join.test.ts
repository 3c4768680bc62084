// The token by which a worker joins a stack, and where a stack listens for it.

import { expect, it } from "vitest";
import { readStartOptions } from "../../infra/stack/options.ts";
import { type Join, joinToken, parseJoinToken } from "../../shared/nats/join.ts";

const JOIN: Join = { v: 1, url: "tls://192.0.2.7:4222", password: "a password of some length", ca: "MIIB" };

it("survives being printed and pasted", () => {
  const token = joinToken(JOIN);
  expect(token).toMatch(/^vqd-join-[\w-]+$/);
  expect(parseJoinToken(token)).toEqual(JOIN);
});

it.each([
  ["", /it begins with vqd-join-/],
  ["vqd_key", /it begins with vqd-join-/],
  [`vqd-join-${"A".repeat(5_000)}`, /it begins with/],
  [joinToken(JOIN).slice(0, -9), /damaged: copy it again/],
  ["vqd-join-####", /damaged/],
  [joinToken({ ...JOIN, url: "nats://192.0.2.7:4222" }), /damaged/],
])("is refused: %s", (token, reason) => {
  expect(() => parseJoinToken(token)).toThrow(reason);
});

const listen = (text: string) => readStartOptions(["--listen", text], {}).listen;

it.each([
  ["192.0.2.7", { host: "192.0.2.7", port: 4222 }],
  ["192.0.2.7:5000", { host: "192.0.2.7", port: 5000 }],
  ["gpu-1.example.com:0", { host: "gpu-1.example.com", port: 0 }],
  ["[2001:db8::1]", { host: "2001:db8::1", port: 4222 }],
  ["[2001:db8::1]:99", { host: "2001:db8::1", port: 99 }],
])("listens at %s", (text, where) => {
  expect(listen(text)).toEqual(where);
});

it.each(["0.0.0.0", "[::]", "2001:db8::1", "host:port", "a b", "192.0.2.7:70000"])("not at %s", (text) => {
  expect(() => listen(text)).toThrow(/^--listen: must be/);
});
