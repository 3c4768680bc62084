// Repairs damaged text like ftfy's `fix_text`, except for mojibake.

import { decodeHTML } from "entities/decode";

/**
 * ftfy's `fix_text` runs until nothing changes. Each round undoes one level of escaping, so adversarial input
 * could buy a round for four characters; real text settles in two.
 */
const MAX_ROUNDS = 4;

/** What ftfy takes for an entity: unlike HTML itself, only with the semicolon. */
const ENTITY = /&#?[0-9A-Za-z]{1,24};/g;

// The C1 controls 0x80 .. 0x9f are windows-1252 read as Latin-1; the five that it leaves undefined stay.
const C1_CONTROLS = /[\u0080-\u009f]/g;
const WINDOWS_1252 =
  "\u20ac\u0081\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u008d\u017d\u008f" +
  "\u0090\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u009d\u017e\u0178";

// Digraphs and ligatures; all but two of them are what NFKC makes of the character.
const LIGATURES = /[\u0132\u0133\u0149\u01c4-\u01cc\u01f1-\u01f3\ufb00-\ufb06]/g;
const SMALL_LONG_ST = "\ufb05";
const APOSTROPHE_N = "\u0149";

/** Half- and full-width forms, and the ideographic space. */
const WIDTH_VARIANTS = /[\u3000\uff01-\uffef]/g;
const SINGLE_QUOTES = /[\u02bc\u2018-\u201b]/g;
const DOUBLE_QUOTES = /[\u201c-\u201f]/g;
// oxlint-disable-next-line no-control-regex -- control characters are what it removes
const TERMINAL_ESCAPES = /\u001b\[[\d;]*[a-zA-Z]/g;
// oxlint-disable-next-line no-control-regex -- as above; tab, line feed, form feed and return are white space
const CONTROLS = /[\u0000-\u0008\u000b\u000e-\u001f\u007f\u206a-\u206f\ufeff\ufff9-\ufffc]/g;

const nfkc = (text: string): string => text.normalize("NFKC");

function expandLigature(char: string): string {
  if (char === SMALL_LONG_ST) return "\u017ft";
  if (char === APOSTROPHE_N) return "\u02bcn";
  return nfkc(char);
}

function repairOnce(text: string, unescape: boolean): string {
  return (unescape ? text.replace(ENTITY, (entity) => decodeHTML(entity)) : text)
    .replace(C1_CONTROLS, (char) => WINDOWS_1252.charAt(char.charCodeAt(0) - 0x80))
    .replace(LIGATURES, expandLigature)
    .replace(WIDTH_VARIANTS, nfkc)
    .replace(SINGLE_QUOTES, "'")
    .replace(DOUBLE_QUOTES, '"')
    .toWellFormed()
    .replace(TERMINAL_ESCAPES, "")
    .replace(CONTROLS, "")
    .normalize("NFC");
}

/** Text that none of the repairs change. */
const NOTHING_TO_MEND = /^[\n\t !-%'-~]*$/;

/**
 * ftfy's `fix_text` without its detection of mojibake (text decoded with the wrong encoding): entities (only up to the first
 * line containing `<`, which may be markup), ligatures, character width, quotes, control characters, NFC.
 */
export function mendText(text: string): string {
  if (NOTHING_TO_MEND.test(text)) return text;
  let unescape = true;
  const lines = text.split(/(?<=\n)/).map((line) => {
    unescape &&= !line.includes("<");
    return mendLine(line, unescape);
  });
  return lines.join("");
}

function mendLine(line: string, unescape: boolean): string {
  let current = line;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const next = repairOnce(current, unescape);
    if (next === current) break;
    current = next;
  }
  return current;
}
