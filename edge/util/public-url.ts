// Restricts the URLs that callers have requests sent to: public hosts over https. The edge must not become a way into a network.

export interface UrlRules {
  /** Also allow http and loopback addresses, for development. */
  readonly allowLoopback: boolean;
  /** Origins that are allowed whatever they are: the operator's own receivers. */
  readonly allowOrigins: readonly string[];
}

const MAX_LENGTH = 2_048;
/** Ports below 1024, other than that of https, belong to other services. */
const FIRST_FREE_PORT = 1_024;
/**
 * Names that resolve only inside a network, if at all (RFC 6761, RFC 6762, RFC 8375, ICANN's private-use names), or through
 * a resolver's search list (Kubernetes services).
 */
const PRIVATE_NAMES = [
  "localhost",
  "localdomain",
  "local",
  "internal",
  "intranet",
  "private",
  "corp",
  "home",
  "lan",
  "home.arpa",
  "test",
  "invalid",
  "onion",
  "svc",
];

type Prefix = readonly [address: number, bits: number];

const v4 = (text: string): number => text.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
const prefix = (cidr: string): Prefix => {
  const [address = "", bits = ""] = cidr.split("/");
  return [v4(address), Number(bits)];
};

/** IANA's special-purpose IPv4 addresses, and the host of Azure's machines: none of them is a public host. */
const SPECIAL_V4 = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "168.63.129.16/32",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.31.196.0/24",
  "192.52.193.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "192.175.48.0/24",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
].map(prefix);
const LOOPBACK_V4 = prefix("127.0.0.0/8");

const contains = ([base, bits]: Prefix, address: number): boolean =>
  Math.floor(address / 2 ** (32 - bits)) === Math.floor(base / 2 ** (32 - bits));

/** The eight groups of an IPv6 address as serialized by the URL parser: hexadecimal, with at most one "::". */
function groupsOf(address: string): number[] {
  const [head = "", tail] = address.split("::");
  const groups = (part: string): number[] =>
    part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16));
  if (tail === undefined) return groups(head);
  const [left, right] = [groups(head), groups(tail)];
  return [...left, ...new Array<number>(8 - left.length - right.length).fill(0), ...right];
}

/** Only global unicast (2000::/3) is public, except for its special-purpose ranges. */
function isPublicV6(groups: readonly number[]): boolean {
  const [first = 0, second = 0] = groups;
  if (first < 0x2000 || first > 0x3fff) return false;
  // Teredo, benchmarking, ORCHID and the rest of 2001::/23; documentation; 6to4, which embeds an IPv4 address.
  if (first === 0x2001 && (second < 0x200 || second === 0xdb8)) return false;
  return first !== 0x2002 && !(first === 0x3fff && second < 0x1000);
}

function hostComplaint(hostname: string, allowLoopback: boolean): string | undefined {
  const host = hostname.replace(/\.$/, "");
  if (host.startsWith("[")) {
    const groups = groupsOf(host.slice(1, -1));
    const isLoopback = groups.every((group, i) => group === (i === 7 ? 1 : 0));
    return isPublicV6(groups) || (allowLoopback && isLoopback) ? undefined : "must not be a private address";
  }
  // The URL parser normalizes every notation of an IPv4 address to this one.
  if (/^\d+\.\d+\.\d+\.\d+$/.test(host)) {
    const address = v4(host);
    if (allowLoopback && contains(LOOPBACK_V4, address)) return undefined;
    return SPECIAL_V4.some((range) => contains(range, address)) ? "must not be a private address" : undefined;
  }
  if (allowLoopback && host === "localhost") return undefined;
  // A name with two trailing dots is invalid, but some resolvers accept it.
  const isPrivate =
    !host.includes(".") ||
    host.split(".").includes("") ||
    PRIVATE_NAMES.some((name) => host === name || host.endsWith(`.${name}`));
  return isPrivate ? "must have a public host" : undefined;
}

/** What is wrong with a URL of a webhook or an image; undefined if a request may be sent to it. Checked before every request. */
export function urlComplaint(text: string, rules: UrlRules): string | undefined {
  if (text.length > MAX_LENGTH) return `must have at most ${MAX_LENGTH} characters`;
  const url = URL.parse(text);
  if (url === null) return "must be a URL";
  const isNamed = rules.allowOrigins.includes(url.origin);
  if (!isNamed && url.protocol !== "https:" && !(rules.allowLoopback && url.protocol === "http:")) {
    return "must be an https URL";
  }
  if (url.username !== "" || url.password !== "") return "must not contain a user name or password";
  if (isNamed) return undefined;
  const complaint = hostComplaint(url.hostname, rules.allowLoopback);
  if (complaint !== undefined) return complaint;
  if (url.port !== "" && Number(url.port) < FIRST_FREE_PORT) {
    return `must have no port, or one of at least ${FIRST_FREE_PORT}`;
  }
  if (url.protocol === "http:" && hostComplaint(url.hostname, false) === undefined) {
    return "must be an https URL";
  }
  return undefined;
}
