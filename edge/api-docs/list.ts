// The operations as a list in HTML, for browsers without scripts.

import { openapiDocument } from "./document.ts";

interface Described {
  readonly summary: string;
  readonly tags: readonly string[];
}

/** A list for each tag, with the method, path and summary of its operations. */
export function operationsAsHtml(): string {
  const { tags, paths } = openapiDocument() as {
    tags: readonly { name: string }[];
    paths: Record<string, Record<string, Described>>;
  };
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method, path, operation })),
  );
  return tags
    .map(({ name }) => {
      const items = operations
        .filter(({ operation }) => operation.tags.includes(name))
        .map(
          ({ method, path, operation: { summary } }) =>
            `<li>${escaped(summary)}<br><code>${method.toUpperCase()} ${escaped(path)}</code></li>`,
        );
      return `<h2>${escaped(name)}</h2><ul>${items.join("")}</ul>`;
    })
    .join("");
}

const escaped = (text: string): string =>
  text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll(/`([^`]+)`/g, "<code>$1</code>");
