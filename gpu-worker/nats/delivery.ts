// One delivery of a message from a JetStream work queue, and the acknowledgements it can get (NATS ADR-13, "AckPolicy").

import type { Msg, MsgHdrs, NatsConnection } from "nats";

const ACK_PREFIX = "$JS.ACK.";
/** How long the server may take to confirm that a message is done. */
const CONFIRM_TIMEOUT_MS = 5_000;

export class Delivery {
  readonly #nc: NatsConnection;
  readonly #reply: string;
  readonly data: Uint8Array;
  readonly headers: MsgHdrs | undefined;
  /** The message's sequence in its stream. */
  readonly sequence: number;
  /** How often the message has been delivered, including this time. */
  readonly count: number;
  #isSettled = false;

  /** Throws an Error if `message` was not delivered by a consumer. */
  constructor(nc: NatsConnection, { data, headers, reply = "" }: Msg) {
    // $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>; newer servers insert a
    // domain and an account hash before the stream, and append a random token.
    const tokens = reply.split(".");
    const first = tokens.length === 9 ? 4 : 6;
    if (!reply.startsWith(ACK_PREFIX) || tokens.length < 9) {
      throw new Error(`not a delivery: its reply subject is ${JSON.stringify(reply)}`);
    }
    this.#nc = nc;
    this.#reply = reply;
    this.data = data;
    this.headers = headers;
    this.count = Number(tokens[first]);
    this.sequence = Number(tokens[first + 1]);
  }

  /** Restarts the redelivery timer. */
  working(): void {
    if (!this.#isSettled) this.#nc.publish(this.#reply, "+WPI");
  }

  /** Hands the message back, to be redelivered after `delayMs`. */
  nak(delayMs = 0): void {
    const options = delayMs === 0 ? "" : ` ${JSON.stringify({ delay: Math.round(delayMs * 1e6) })}`;
    if (this.#settle()) this.#nc.publish(this.#reply, `-NAK${options}`);
  }

  /** Removes the message from the queue as one that no worker can use. */
  term(): void {
    if (this.#settle()) this.#nc.publish(this.#reply, "+TERM");
  }

  /** Removes the message from the queue as done. False if it was already settled, or the server does not confirm. */
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
