// Plain JavaScript, for it is read by the system's Node.

/**
 * The environment for what may become a worker: glibc's malloc keeps what a model was in when it is freed, unless blocks
 * of a megabyte are always mapped (docs/performance.md). It reads this when a process begins.
 */
export const workerEnvironment = () => ({ MALLOC_MMAP_THRESHOLD_: "1048576", ...process.env });
