// Progress: a bar on a terminal, an occasional line elsewhere.

const BAR_WIDTH = 30;
/** Without a terminal: number of lines in total. */
const PLAIN_LINES = 10;

export interface Progress {
  readonly update: (done: number, total: number) => void;
  /** Ends the bar's line. */
  readonly finish: () => void;
}

/** `unit` is what is counted. */
export function createProgress(stream: NodeJS.WriteStream, label: string, unit = "steps"): Progress {
  const startedAt = performance.now();
  let lastLine = 0;
  const rate = (done: number): string => {
    const seconds = (performance.now() - startedAt) / 1000;
    return `${(done / Math.max(seconds, 1e-9)).toFixed(1)} ${unit}/s`;
  };
  return {
    update(done, total) {
      if (stream.isTTY) {
        const filled = Math.round((done / total) * BAR_WIDTH);
        const bar = "█".repeat(filled) + "░".repeat(BAR_WIDTH - filled);
        stream.write(`\r${label} ${bar} ${done}/${total} ${rate(done)}\u001B[K`);
      } else if (Math.floor((done * PLAIN_LINES) / total) > lastLine) {
        lastLine = Math.floor((done * PLAIN_LINES) / total);
        stream.write(`${label} ${done}/${total} ${rate(done)}\n`);
      }
    },
    finish() {
      if (stream.isTTY) stream.write("\n");
    },
  };
}

const MIB = 2 ** 20;

/** 1.5 GiB, 20.3 MiB, 7.3 KiB */
export function formatBytes(bytes: number): string {
  if (bytes >= 1024 * MIB) return `${(bytes / 1024 / MIB).toFixed(2)} GiB`;
  if (bytes >= MIB) return `${(bytes / MIB).toFixed(1)} MiB`;
  return `${(bytes / 1024).toFixed(1)} KiB`;
}

/** Shows bytes as whole MiB. */
export function createByteProgress(stream: NodeJS.WriteStream, label: string): Progress {
  const progress = createProgress(stream, label, "MiB");
  return {
    update: (done, total) =>
      progress.update(Math.round((done / MIB) * 10) / 10, Math.round((total / MIB) * 10) / 10),
    finish: progress.finish,
  };
}
