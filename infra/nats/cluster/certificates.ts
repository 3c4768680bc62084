// A private CA and its certificates, which encrypt the cluster where a public CA cannot or should not be used.

// @peculiar/x509 requires this to be imported first.
import "reflect-metadata";
import { webcrypto } from "node:crypto";
import { isIP } from "node:net";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 86_400_000;
/** Other machines' clocks may be behind. */
const BACKDATE_MS = 5 * 60_000;
const CA_DAYS = 3_650;
export const CERTIFICATE_DAYS = 365;

/** PEM texts. */
export interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

const newKeys = () => webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);

const validity = (days: number) => ({
  notBefore: new Date(Date.now() - BACKDATE_MS),
  notAfter: new Date(Date.now() + days * DAY_MS),
});

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  return `${PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY")}\n`;
}

async function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const [der] = PemConverter.decode(pem);
  if (der === undefined) throw new Error("the CA's key is not PEM");
  return webcrypto.subtle.importKey("pkcs8", der, ALGORITHM, true, ["sign"]);
}

export async function createCa(name: string, days = CA_DAYS): Promise<Certificate> {
  const keys = await newKeys();
  const certificate = await X509CertificateGenerator.createSelfSigned(
    {
      name: `CN=${name}`,
      keys,
      signingAlgorithm: ALGORITHM,
      ...validity(days),
      extensions: [
        new BasicConstraintsExtension(true, 0, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        await SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  );
  return { certificate: `${certificate.toString("pem")}\n`, key: await exportKey(keys.privateKey) };
}

/** A certificate for `hosts` (at least one; names or addresses), valid for both ends of a connection: routes are mutual. */
export async function createCertificate(
  ca: Certificate,
  hosts: readonly string[],
  days = CERTIFICATE_DAYS,
): Promise<Certificate> {
  const keys = await newKeys();
  const issuer = new X509Certificate(ca.certificate);
  const certificate = await X509CertificateGenerator.create(
    {
      subject: `CN=${hosts[0] ?? outOfBounds()}`,
      issuer: issuer.subject,
      publicKey: keys.publicKey,
      signingKey: await importKey(ca.key),
      signingAlgorithm: ALGORITHM,
      ...validity(days),
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
        new SubjectAlternativeNameExtension(
          hosts.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value }) as const),
        ),
        await SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
        await AuthorityKeyIdentifierExtension.create(issuer.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  );
  return { certificate: `${certificate.toString("pem")}\n`, key: await exportKey(keys.privateKey) };
}
