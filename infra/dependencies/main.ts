// `npm run audit`: licences and known vulnerabilities of the packages that are shipped. Works without a network.

import { auditProblems, listedProblems, readAdvisoryList, runAudit } from "./advisories.ts";
import { licenseProblems } from "./licenses.ts";
import { shippedPackages } from "./shipped.ts";

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const packages = shippedPackages();
const licences = licenseProblems(packages);
const audited = auditProblems(await runAudit());
const list = readAdvisoryList();
const known = audited ?? listedProblems(packages, list);
const source =
  audited === undefined
    ? `the list of ${list.collected}, since the registry answers no audit`
    : "the registry's advisories";

for (const problem of [...licences, ...known]) say(problem);
say(`${packages.length} packages: ${licences.length} with licences that are not allowed`);
say(`${known.length} with known vulnerabilities, by ${source}`);
process.exitCode = licences.length + known.length > 0 ? 1 : 0;
