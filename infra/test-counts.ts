// The counts of a test run, and the line that reports them.

export interface TestCounts {
  readonly passed: number;
  /** Tests that failed, files that could not be loaded, and errors outside of any test. */
  readonly failed: number;
  readonly skipped: number;
}

export function countLine({ passed, failed, skipped }: TestCounts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}
