// Plain JavaScript, because the system's Node runs it.

/**
 * The environment for a process that may become a worker: unless blocks of a megabyte are always mapped, glibc's malloc
 * keeps the memory of a freed model (docs/performance.md). It reads this variable when a process starts.
 */
export const workerEnvironment = () => ({ MALLOC_MMAP_THRESHOLD_: "1048576", ...process.env });
