// The classes that condition a model, by label and by name.

/** A name finds no class, or several. */
export class UnknownClassError extends Error {
  override readonly name = "UnknownClassError";
}

/** Most names that an error lists. */
const MAX_LISTED = 5;

export class ClassLabels {
  /** Labels are 0 to count - 1. */
  readonly count: number;
  readonly names: ReadonlyMap<number, string>;
  readonly #labels = new Map<string, number[]>();

  /** `names` by label, each with synonyms after commas; not every class needs one. */
  constructor(count: number, names: ReadonlyMap<number, string>) {
    this.count = count;
    this.names = names;
    for (const [label, name] of names) {
      for (const synonym of new Set(name.split(",").map(normalize))) {
        if (synonym !== "") this.#labels.set(synonym, [...(this.#labels.get(synonym) ?? []), label]);
      }
    }
  }

  /**
   * The label that `text` gives, as a number or as a name in any case. Throws an UnknownClassError that says which there
   * are.
   */
  find(text: string): number {
    const wanted = normalize(text);
    if (/^\d{1,6}$/.test(wanted) && Number(wanted) < this.count) return Number(wanted);
    const found = this.#labels.get(wanted) ?? [];
    const [label] = found;
    if (label !== undefined && found.length === 1) return label;
    const known =
      this.names.size === 0 ? `a label from 0 to ${this.count - 1}` : `one of its ${this.count} classes`;
    if (found.length > 1)
      throw new UnknownClassError(
        `is the name of several classes; give one of the labels ${found.join(", ")}`,
      );
    const similar = wanted === "" ? [] : [...this.#labels.keys()].filter((name) => name.includes(wanted));
    const hint = similar.length === 0 ? "" : `, such as ${similar.slice(0, MAX_LISTED).join(", ")}`;
    throw new UnknownClassError(`must be ${known}, by name or label${hint}`);
  }
}

const normalize = (name: string): string =>
  name
    .trim()
    .toLowerCase()
    .replaceAll(/[\s_]+/g, " ");
