// Log lines of a running prediction, in the format of Python's tqdm, which Replicate's clients parse.

const BAR_WIDTH = 10;

function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(whole / 60);
  const rest = String(whole % 60).padStart(2, "0");
  if (minutes < 60) return `${String(minutes).padStart(2, "0")}:${rest}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

export interface Progress {
  /** Completed steps out of `total`; the first `from` were done by earlier attempts. */
  readonly step: number;
  readonly total: number;
  readonly from: number;
  /** Since the start of this attempt. */
  readonly elapsedSeconds: number;
}

/** A line such as ` 40%|████      | 40/100 [00:02<00:03, 17.20it/s]`, newline included. */
export function progressLine({ step, total, from, elapsedSeconds }: Progress): string {
  const done = Math.floor((step / total) * BAR_WIDTH);
  const bar = "█".repeat(done) + " ".repeat(BAR_WIDTH - done);
  const percent = String(Math.floor((step / total) * 100)).padStart(3);
  const rate = elapsedSeconds > 0 ? (step - from) / elapsedSeconds : 0;
  const left = rate > 0 ? clock((total - step) / rate) : "?";
  const speed = rate === 0 ? "?it/s" : rate >= 1 ? `${rate.toFixed(2)}it/s` : `${(1 / rate).toFixed(2)}s/it`;
  return `${percent}%|${bar}| ${step}/${total} [${clock(elapsedSeconds)}<${left}, ${speed}]\n`;
}

/** True if `step` is the first to reach its percentage: this limits the log to 101 lines, however many steps there are. */
export function isNewPercent(step: number, total: number): boolean {
  return Math.floor((step / total) * 100) > Math.floor(((step - 1) / total) * 100);
}
