// A session that is there while somebody uses it.

import { Session, type SessionOptions } from "../runtime/session.ts";

/**
 * Loads its graph when it is first used. Unless it is to stay, it is freed when nobody uses it any more: a large graph
 * that runs once per prompt takes no memory beside the steps that way. Those who use it at the same time share it.
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

  /** Rejects as loading or `work` does. */
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

  /** Nobody may be using it. A load that fails is the error of those who asked for it, not of this. */
  async release(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    await (await session?.catch(() => undefined))?.release();
  }
}
