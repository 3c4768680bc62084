// One delivery of a message from a JetStream work queue, and the answers to it (NATS ADR-13, "AckPolicy").

import type { Msg, MsgHdrs, NatsConnection } from "nats";

const ACK_PREFIX = "$JS.ACK.";
/** How long the server may take to confirm that a message is done. */
const CONFIRM_TIMEOUT_MS = 5_000;

export class Delivery {
  readonly #nc: NatsConnection;
  readonly #reply: string;
  readonly data: Uint8Array;
  readonly headers: MsgHdrs | undefined;
  /** Of the message in its stream. */
  readonly sequence: number;
  /** How often the message has been delivered, this time included. */
  readonly count: number;
  #isSettled = false;

  /** Throws an Error when `message` has not come from a consumer. */
  constructor(nc: NatsConnection, { data, headers, reply = "" }: Msg) {
    // $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>; newer servers put a
    // domain and an account hash before the stream, and something random at the end.
    const tokens = reply.split(".");
    const first = tokens.length === 9 ? 4 : 6;
    if (!reply.startsWith(ACK_PREFIX) || tokens.length < 9) {
      throw new Error(`a delivery cannot be answered on ${JSON.stringify(reply)}`);
    }
    this.#nc = nc;
    this.#reply = reply;
    this.data = data;
    this.headers = headers;
    this.count = Number(tokens[first]);
    this.sequence = Number(tokens[first + 1]);
  }

  /** Starts the lease anew. */
  working(): void {
    if (!this.#isSettled) this.#nc.publish(this.#reply, "+WPI");
  }

  /** Hands the message back, to be delivered again after `delayMs`. */
  nak(delayMs = 0): void {
    const options = delayMs === 0 ? "" : ` ${JSON.stringify({ delay: Math.round(delayMs * 1e6) })}`;
    if (this.#settle()) this.#nc.publish(this.#reply, `-NAK${options}`);
  }

  /** Takes the message out of the queue as one that nobody can use. */
  term(): void {
    if (this.#settle()) this.#nc.publish(this.#reply, "+TERM");
  }

  /** Takes the message out of the queue as done. False if it was settled before, or the server does not confirm. */
  async ack(): Promise<boolean> {
    if (!this.#settle()) return false;
    return this.#nc.request(this.#reply, "+ACK", { timeout: CONFIRM_TIMEOUT_MS }).then(
      () => true,
      () => false,
    );
  }

  #settle(): boolean {
    if (this.#isSettled) return false;
    this.#isSettled = true;
    return true;
  }
}
