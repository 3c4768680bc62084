// Recognizes files that are not what their names say, such as Git LFS pointers and error pages.

import { closeSync, openSync, readSync } from "node:fs";
import { CheckpointError, type CheckpointErrorOptions, FETCH_AGAIN } from "../errors.ts";

const HEAD_BYTES = 512;

interface Mistake {
  readonly is: (head: Buffer, text: string, path: string) => boolean;
  readonly what: string;
  readonly remedy: string;
}

const starts =
  (...bytes: number[]) =>
  (head: Buffer): boolean =>
    bytes.every((byte, i) => head[i] === byte);
const says =
  (pattern: RegExp) =>
  (_head: Buffer, text: string): boolean =>
    pattern.test(text);

const UNPACK = "unpack it";
const NOT_A_FORMAT = "get the checkpoint's safetensors or PyTorch files";

const MISTAKES: readonly Mistake[] = [
  {
    is: ({ length }) => length === 0,
    what: "is empty, perhaps after an interrupted copy or on a full disk",
    remedy: FETCH_AGAIN,
  },
  {
    is: says(/^version https:\/\/git-lfs/),
    what: "is a Git LFS pointer, not the file itself",
    remedy: "run git lfs pull in the repository, or use vqd pull",
  },
  {
    is: says(/^(?:\.\.\/)*(?:\.git)?\/annex\/objects\//),
    what: "is a git-annex pointer, not the file itself",
    remedy: "run git annex get in the repository",
  },
  {
    is: says(/^\s*<(?:!doctype html|html|head)/i),
    what: "is a web page instead of the file",
    remedy: "download the file itself (on the Hugging Face Hub: /resolve/, not /blob/), or use vqd pull",
  },
  {
    is: says(/^\s*<(?:\?xml|Error>)/),
    what: "is an XML error message of a storage service instead of the file",
    remedy: FETCH_AGAIN,
  },
  {
    is: says(/^\s*\{\s*"(?:error|detail|message)"\s*:/),
    what: "is a server's error message instead of the file",
    remedy: "read it, then fetch the file again",
  },
  {
    is: says(
      /^(?:Entry not found|Repository not found|Invalid (?:username|credentials)|Access to model|Not Found|Forbidden)/i,
    ),
    what: "is a server's error message instead of the file",
    remedy: "read it, then fetch the file again",
  },
  { is: starts(0x1f, 0x8b), what: "is compressed (gzip)", remedy: UNPACK },
  { is: starts(0x28, 0xb5, 0x2f, 0xfd), what: "is compressed (zstd)", remedy: UNPACK },
  { is: starts(0xfd, 0x37, 0x7a, 0x58, 0x5a), what: "is compressed (xz)", remedy: UNPACK },
  { is: starts(0x42, 0x5a, 0x68), what: "is compressed (bzip2)", remedy: UNPACK },
  { is: starts(0x37, 0x7a, 0xbc, 0xaf), what: "is compressed (7z)", remedy: UNPACK },
  { is: starts(0x47, 0x47, 0x55, 0x46), what: "is a GGUF file", remedy: NOT_A_FORMAT },
  { is: starts(0x89, 0x48, 0x44, 0x46), what: "is an HDF5 file (TensorFlow)", remedy: NOT_A_FORMAT },
  {
    is: starts(0x00, 0x05, 0x16, 0x07),
    what: "contains macOS metadata (AppleDouble), not the file itself",
    remedy: "delete it and copy the file itself",
  },
  {
    is: (head) => starts(0xff, 0xfe)(head) || starts(0xfe, 0xff)(head),
    what: "is text in UTF-16",
    remedy: "save it as UTF-8, or fetch the file again",
  },
  {
    is: (head, _text, path) => starts(0x50, 0x4b, 0x03, 0x04)(head) && !path.endsWith(".bin"),
    what: "is a zip archive, possibly a PyTorch file",
    remedy: "rename it to .bin if it is a PyTorch file; otherwise unpack it",
  },
  {
    is: (head, _text, path) => path.endsWith(".bin") && isSafetensors(head),
    what: "is a safetensors file with the wrong file name extension",
    remedy: "rename it to .safetensors",
  },
  {
    is: (head) => head.every((byte) => byte === 0),
    what: "starts with zeros only, perhaps after an interrupted download",
    remedy: FETCH_AGAIN,
  },
];

const isSafetensors = (head: Buffer): boolean =>
  head.length > 8 && head.readBigUInt64LE(0) < 2n ** 32n && head[8] === 0x7b;

/**
 * The error for a file of the wrong format. If the file is recognized, the error says what it is; otherwise it gives
 * `reason`.
 */
export function unreadable(
  path: string,
  reason: string,
  options: CheckpointErrorOptions = {},
): CheckpointError {
  const mistake = mistakeOf(path);
  if (mistake === undefined) return new CheckpointError(path, reason, { remedy: FETCH_AGAIN, ...options });
  return new CheckpointError(path, mistake.what, { ...options, remedy: mistake.remedy });
}

function mistakeOf(path: string): Mistake | undefined {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return undefined;
  }
  try {
    const bytes = Buffer.alloc(HEAD_BYTES);
    const head = bytes.subarray(0, readSync(fd, bytes));
    const text = head.toString("latin1");
    return MISTAKES.find(({ is }) => is(head, text, path));
  } catch {
    return undefined;
  } finally {
    closeSync(fd);
  }
}
