// Which URLs a webhook may go to: whatever is written, no address inside of a network.

import { describe, expect, it } from "vitest";
import { urlComplaint } from "../../edge/util/public-url.ts";

const complaint = (url: string): string | undefined =>
  urlComplaint(url, { allowLoopback: false, allowOrigins: [] });

describe("a webhook's URL", () => {
  it.each([
    "https://example.com/hook",
    "https://example.com:8443/hook?a=b",
    "https://hooks.example.co.uk./x",
    "https://8.8.8.8/",
    "https://[2606:4700:4700::1111]/",
    "https://172.32.0.1/",
    "https://168.63.129.17/",
    "https://svc.example.com/",
    "https://xn--bcher-kva.example/",
  ])("may be %s", (url) => {
    expect(complaint(url)).toBeUndefined();
  });

  it.each([
    ["no URL", "hook"],
    ["plain http", "http://example.com/"],
    ["another scheme", "ftp://example.com/"],
    ["a script", "javascript:alert(1)"],
    ["a password", "https://user:pass@example.com/"],
    ["a user name", "https://user@example.com/"],
    ["a service's port", "https://example.com:25/"],
    ["too long", `https://example.com/${"x".repeat(2_048)}`],
    ["localhost", "https://localhost/"],
    ["localhost in capitals", "https://LOCALHOST./"],
    ["a name in localhost", "https://a.localhost/"],
    ["a name of one label", "https://intranet/"],
    ["a metadata name", "https://metadata.google.internal/computeMetadata/v1/"],
    ["localhost in full", "https://localhost.localdomain/"],
    ["a local domain", "https://foo.localdomain/"],
    ["a service of Kubernetes", "https://kubernetes.default.svc/"],
    ["a service of Kubernetes in full", "https://kubernetes.default.svc.cluster.local/"],
    ["localhost with two dots", "https://localhost../"],
    ["loopback with two dots", "https://127.0.0.1../"],
    ["an empty label", "https://example..com/"],
    ["an empty first label", "https://.example.com/"],
    ["mDNS", "https://printer.local/"],
    ["loopback", "https://127.0.0.1/"],
    ["loopback in short", "https://127.1/"],
    ["loopback in decimal", "https://2130706433/"],
    ["loopback in octal", "https://0177.0.0.1/"],
    ["loopback in hexadecimal", "https://0x7f000001/"],
    ["loopback in full-width digits", "https://１２７.0.0.1/"],
    ["this host", "https://0.0.0.0/"],
    ["a private network", "https://10.1.2.3/"],
    ["another", "https://172.16.0.1/"],
    ["and another", "https://192.168.1.1/"],
    ["carrier-grade NAT", "https://100.64.0.1/"],
    ["cloud metadata", "https://169.254.169.254/latest/meta-data/"],
    ["the host of Azure's machines", "https://168.63.129.16/"],
    ["multicast", "https://224.0.0.1/"],
    ["broadcast", "https://255.255.255.255/"],
    ["documentation", "https://203.0.113.7/"],
    ["IPv6 loopback", "https://[::1]/"],
    ["IPv6 any", "https://[::]/"],
    ["IPv4 in IPv6", "https://[::ffff:169.254.169.254]/"],
    ["IPv4 in IPv6, in hexadecimal", "https://[::ffff:a9fe:a9fe]/"],
    ["NAT64", "https://[64:ff9b::a9fe:a9fe]/"],
    ["6to4", "https://[2002:a9fe:a9fe::1]/"],
    ["Teredo", "https://[2001:0:a9fe:a9fe::1]/"],
    ["unique local", "https://[fd00:ec2::254]/"],
    ["link local", "https://[fe80::1]/"],
    ["IPv6 documentation", "https://[2001:db8::1]/"],
  ])("may not be %s", (_, url) => {
    expect(complaint(url)).toMatch(/^must /);
  });

  it("may be an origin of the operator's own network that the settings name, and no other", () => {
    const rules = {
      allowLoopback: false,
      allowOrigins: ["http://hooks.internal:8080", "https://10.0.0.5", "http://192.168.1.7:81"],
    };
    for (const url of [
      "http://hooks.internal:8080/any?path",
      "https://10.0.0.5/hook",
      "https://10.0.0.5:443/hook",
      "http://192.168.1.7:81/",
      "https://example.com/",
    ]) {
      expect(urlComplaint(url, rules), url).toBeUndefined();
    }
    for (const url of [
      "https://hooks.internal:8080/",
      "http://hooks.internal/",
      "http://hooks.internal.:8080/",
      "http://a.hooks.internal:8080/",
      "http://user@hooks.internal:8080/",
      "http://10.0.0.5/",
      "https://10.0.0.6/",
      "http://192.168.1.7:80/",
      "http://localhost/",
    ]) {
      expect(urlComplaint(url, rules), url).toMatch(/^must /);
    }
  });

  it("may be this machine in development, but nothing else", () => {
    const rules = { allowLoopback: true, allowOrigins: [] };
    for (const url of [
      "http://127.0.0.1:3000/",
      "http://localhost:3000/",
      "https://[::1]/",
      "http://[::1]:3000/",
    ]) {
      expect(urlComplaint(url, rules), url).toBeUndefined();
    }
    for (const url of [
      "http://10.0.0.1/",
      "http://example.com/",
      "https://169.254.169.254/",
      "http://intranet/",
      "http://localhost../",
    ]) {
      expect(urlComplaint(url, rules), url).toMatch(/^must /);
    }
  });
});
