// The doctor's findings: each names its check, so that people and scripts can look it up.

export type Level = "ok" | "warning" | "problem";

export interface Finding {
  /** `<part>.<what>`, stable; docs/doctor.md explains each. */
  readonly check: string;
  readonly level: Level;
  readonly message: string;
  /** What to do about it. */
  readonly advice?: string;
}

export class Findings {
  readonly all: Finding[] = [];

  ok(check: string, message: string): void {
    this.all.push({ check, level: "ok", message });
  }

  warn(check: string, message: string, advice?: string): void {
    this.all.push({ check, level: "warning", message, ...(advice === undefined ? {} : { advice }) });
  }

  problem(check: string, message: string, advice?: string): void {
    this.all.push({ check, level: "problem", message, ...(advice === undefined ? {} : { advice }) });
  }

  get hasProblems(): boolean {
    return this.all.some(({ level }) => level === "problem");
  }
}

/** The reason for an error, including that of its cause. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { message, cause } = error;
  return cause instanceof Error && !message.includes(cause.message)
    ? `${message}: ${reasonOf(cause)}`
    : message;
}

const SIGNS = { ok: "ok     ", warning: "WARNING", problem: "PROBLEM" } as const;

/** The findings as text, with advice below each problem or warning. */
export function describeFindings(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ check }) => check.length));
  const lines = findings.flatMap(({ check, level, message, advice }) => [
    `${SIGNS[level]}  ${check.padEnd(width)}  ${message}`,
    ...(advice === undefined ? [] : [`${" ".repeat(SIGNS.ok.length + width + 4)}${advice}`]),
  ]);
  const count = (level: Level): number => findings.filter((one) => one.level === level).length;
  const counted = (level: Level): string => `${count(level)} ${level}${count(level) === 1 ? "" : "s"}`;
  return `${lines.join("\n")}\n${counted("problem")}, ${counted("warning")}\n`;
}
