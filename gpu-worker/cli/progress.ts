// A progress bar on a terminal, a line now and then elsewhere.

const BAR_WIDTH = 30;
/** Without a terminal: lines per whole run. */
const PLAIN_LINES = 10;

export interface Progress {
  update(done: number, total: number): void;
  /** Ends the bar's line. */
  finish(): void;
}

export function createProgress(stream: NodeJS.WriteStream, label: string): Progress {
  const startedAt = performance.now();
  let lastLine = 0;
  const rate = (done: number): string => {
    const seconds = (performance.now() - startedAt) / 1000;
    return `${(done / Math.max(seconds, 1e-9)).toFixed(1)} steps/s`;
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
