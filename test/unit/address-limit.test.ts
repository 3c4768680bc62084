// How many connections a client of a self-hosted edge may have, by its address.

import { expect, it } from "vitest";
import { AddressLimit } from "../../infra/edge/address-limit.ts";

it.each([
  ["an address", ["203.0.113.5", "203.0.113.5", "::ffff:203.0.113.5"], "203.0.113.6"],
  ["an IPv6 network", ["2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:0:9:8:7:6"], "2001:db8:0:1::1"],
])("limits %s, and no other", (_, same, other) => {
  const limit = new AddressLimit(2);
  const [first = "", second = "", third = ""] = same;
  const leave = limit.admit(first);
  expect(limit.admit(second)).toBeDefined();
  expect(limit.admit(third)).toBeUndefined();
  expect(limit.admit(other)).toBeDefined();
  leave?.();
  expect(limit.admit(third)).toBeDefined();
  expect(limit.admit(third)).toBeUndefined();
});

it.each([
  "127.0.0.1",
  "::1",
  "10.1.2.3",
  "172.31.0.1",
  "192.168.1.1",
  "::ffff:10.0.0.1",
  "fd00::1",
  "fe80::1",
])("does not limit %s, where a reverse proxy may be", (address) => {
  const limit = new AddressLimit(1);
  limit.admit(address);
  expect(limit.admit(address)).toBeDefined();
});
