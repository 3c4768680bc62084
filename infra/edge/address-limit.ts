// Limits how many connections a client may have by its address, so that it cannot take those of all others.

import { BlockList, isIPv6 } from "node:net";

/** A hub allows an owner 500 event streams, and there may be several owners behind one address. */
const MAX_PER_ADDRESS = 1_000;
/** Groups of an IPv6 address that stand for its network: in that a client has as many addresses as it likes. */
const NETWORK_GROUPS = 4;

/** In the operator's own network is the reverse proxy, which has many clients. */
const own = new BlockList();
own.addSubnet("127.0.0.0", 8);
own.addSubnet("10.0.0.0", 8);
own.addSubnet("172.16.0.0", 12);
own.addSubnet("192.168.0.0", 16);
own.addSubnet("169.254.0.0", 16);
own.addSubnet("::1", 128, "ipv6");
own.addSubnet("fc00::", 7, "ipv6");
own.addSubnet("fe80::", 10, "ipv6");

function networkOf(address: string): string {
  if (!isIPv6(address)) return address;
  const [before = "", after] = address.split("::");
  const groups = before === "" ? [] : before.split(":");
  const rest = after === undefined || after === "" ? [] : after.split(":");
  const zeros = after === undefined ? 0 : 8 - groups.length - rest.length;
  return [...groups, ...Array<string>(zeros).fill("0"), ...rest].slice(0, NETWORK_GROUPS).join(":");
}

export class AddressLimit {
  readonly #max: number;
  readonly #open = new Map<string, number>();

  constructor(max = MAX_PER_ADDRESS) {
    this.#max = max;
  }

  /** Counts a connection, and gives a function to be called once when it has ended; undefined if there are too many. */
  admit(address: string): (() => void) | undefined {
    const plain = address.replace(/^::ffff:(?=\d+\.)/i, "");
    if (own.check(plain, isIPv6(plain) ? "ipv6" : "ipv4")) return () => {};
    const network = networkOf(plain);
    const open = this.#open.get(network) ?? 0;
    if (open >= this.#max) return undefined;
    this.#open.set(network, open + 1);
    return () => {
      const left = (this.#open.get(network) ?? 0) - 1;
      if (left > 0) this.#open.set(network, left);
      else this.#open.delete(network);
    };
  }
}
