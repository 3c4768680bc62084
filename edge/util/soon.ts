/** A function that has `work` done `delayMs` after it is called; calls until then are for the same time. */
export function soon(delayMs: number, work: () => void): () => void {
  let isWaiting = false;
  return () => {
    if (isWaiting) return;
    isWaiting = true;
    setTimeout(() => {
      isWaiting = false;
      work();
    }, delayMs);
  };
}
