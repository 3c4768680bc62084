// A session that is loaded only while it is being used.

import { Session, type SessionOptions } from "../runtime/session.ts";

/**
 * Loads its graph on first use. Unless it `stays`, it is freed when its last user is done, so that a large graph that
 * runs once per prompt takes no memory during the steps. Concurrent users share it.
 */
export class TransientSession {
  readonly #load: () => Promise<Session>;
  readonly #stays: boolean;
  #session: Promise<Session> | undefined;
  #users = 0;

  constructor(path: string, { stays, ...options }: SessionOptions & { readonly stays: boolean }) {
    this.#load = () => Session.create(path, options);
    this.#stays = stays;
  }

  /** Runs `work` with the session. Rejects if loading or `work` does. */
  async use<T>(work: (session: Session) => Promise<T>): Promise<T> {
    this.#users++;
    try {
      return await work(await this.#loaded());
    } finally {
      this.#users--;
      if (this.#users === 0 && !this.#stays) await this.release();
    }
  }

  async #loaded(): Promise<Session> {
    this.#session ??= this.#load();
    try {
      return await this.#session;
    } catch (error) {
      this.#session = undefined;
      throw error;
    }
  }

  /** Must not be called while the session is in use. The error of a failed load was reported to those who asked for it. */
  async release(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    await (await session?.catch(() => undefined))?.release();
  }
}
