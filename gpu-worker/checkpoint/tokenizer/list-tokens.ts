// Collects a tokenizer's special and added tokens from its files, as transformers does.

import { type AddedToken, MAX_ADDED_TOKENS } from "@vqd/shared/tokenizer/added-tokens.ts";
import { BOS_TOKEN, EOS_TOKEN } from "@vqd/shared/tokenizer/clip.ts";
import { CheckpointError } from "../errors.ts";
import type { CheckpointFolder } from "../files/folder.ts";
import { TOKENIZER_FILES } from "../model-files.ts";
import {
  addedTokensSchema,
  type SpecialTokens,
  specialTokensSchema,
  TOKEN_NAMES,
  type TokenFields,
  type TokenizerConfig,
  type TokenName,
  tokenSchema,
} from "./token-schemas.ts";
import type { VocabularyFiles } from "./vocabulary-files.ts";

/** A token whose id is given by a file. */
interface Numbered {
  readonly id: number;
  readonly token: TokenFields;
  readonly path: string;
}

export interface ListedTokens {
  /** In order of their ids. */
  readonly tokens: readonly AddedToken[];
  readonly named: ReadonlyMap<TokenName, TokenFields>;
  /** Whether the token is matched in texts. */
  readonly isSplit: (token: AddedToken) => boolean;
}

/** Throws a CheckpointError if a file gives a token an id that does not follow from the vocabulary. */
export function listTokens(
  folder: CheckpointFolder,
  config: TokenizerConfig,
  { ids, path, json }: Pick<VocabularyFiles, "ids" | "path" | "json">,
): ListedTokens {
  // This list is complete: with it, transformers does not read the files of older versions.
  const decoder = config.added_tokens_decoder;
  const special =
    decoder === undefined && folder.has(TOKENIZER_FILES.special)
      ? folder.json(TOKENIZER_FILES.special, specialTokensSchema)
      : {};
  const named = namedTokens(config, special);
  const extra = [...extraTokens(config), ...extraTokens(special)];
  const contents = (tokens: readonly TokenFields[]): string[] => tokens.map(({ content }) => content);
  const isSpecial = new Set(contents([...named.values(), ...extra]));
  // Additional tokens that only special_tokens_map.json lists do not make an entry of added_tokens.json special.
  const isNamed = new Set(
    contents([...named.values(), ...extraTokens(config), ...(special.extra_special_tokens ?? [])]),
  );
  const numbered =
    decoder === undefined
      ? [...oldAddedTokens(folder, isNamed), ...jsonTokens(path, json)]
      : Object.entries(decoder).map(([id, token]) => ({
          id: Number(id),
          token,
          path: folder.path(TOKENIZER_FILES.config),
        }));
  const tokens = new Map<string, AddedToken>();
  let next = ids.size;
  const add = (token: TokenFields): number => {
    const { content } = token;
    const id = tokens.get(content)?.id ?? ids.get(content) ?? next++;
    const { lstrip, rstrip, single_word: singleWord } = token;
    const normalized = token.normalized ?? !(token.special || isSpecial.has(content));
    tokens.set(content, { id, content, lstrip, rstrip, singleWord, normalized });
    return id;
  };
  for (const { id, token, path: from } of numbered.toSorted((a, b) => a.id - b.id)) {
    if (token.content === "") continue;
    const own = add(token);
    if (own !== id) {
      throw new CheckpointError(
        from,
        `${JSON.stringify(token.content)} has id ${id}, but the vocabulary and the preceding tokens imply ${own}`,
        { remedy: "number added tokens consecutively after the vocabulary" },
      );
    }
  }
  const listed = new Set(tokens.keys());
  // If a token is listed several times, its last flags apply.
  for (const token of [...named.values(), ...extra]) {
    if (token.content !== "" && !listed.has(token.content)) add(token);
  }
  if (tokens.size > MAX_ADDED_TOKENS) {
    throw new CheckpointError(path, `has ${tokens.size} added tokens; the limit is ${MAX_ADDED_TOKENS}`, {
      remedy: "remove unused ones",
    });
  }
  const kept = new Set(numbered.filter(({ token }) => token.special).map(({ token }) => token.content));
  const isSplit = ({ content }: AddedToken): boolean =>
    !config.split_special_tokens || !(isSpecial.has(content) || kept.has(content));
  return { tokens: [...tokens.values()].toSorted((a, b) => a.id - b.id), named, isSplit };
}

/** CLIP's defaults. */
const DEFAULTS: Partial<Record<TokenName, string>> = {
  bos_token: BOS_TOKEN,
  eos_token: EOS_TOKEN,
  unk_token: EOS_TOKEN,
  pad_token: EOS_TOKEN,
};

function namedTokens(config: TokenizerConfig, special: Partial<SpecialTokens>): Map<TokenName, TokenFields> {
  const named = new Map<TokenName, TokenFields>();
  for (const name of TOKEN_NAMES) {
    const token = special[name] ?? config[name] ?? DEFAULTS[name];
    if (token !== undefined) named.set(name, tokenSchema.parse(token));
  }
  return named;
}

const extraTokens = (tokens: Partial<SpecialTokens>): TokenFields[] => [
  ...(tokens.extra_special_tokens ?? []),
  ...(tokens.additional_special_tokens ?? []),
];

function oldAddedTokens(folder: CheckpointFolder, isSpecial: ReadonlySet<string>): Numbered[] {
  if (!folder.has(TOKENIZER_FILES.added)) return [];
  return Object.entries(folder.json(TOKENIZER_FILES.added, addedTokensSchema)).map(([content, id]) => ({
    id,
    path: folder.path(TOKENIZER_FILES.added),
    token: {
      content,
      lstrip: false,
      rstrip: false,
      single_word: false,
      normalized: !isSpecial.has(content),
      special: isSpecial.has(content),
    },
  }));
}

const jsonTokens = (path: string, json: VocabularyFiles["json"]): Numbered[] =>
  (json?.added_tokens ?? []).map(({ id, ...token }) => ({ id, token, path }));
