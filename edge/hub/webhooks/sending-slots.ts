// The webhooks being sent, and who may send another: fair between owners, and between the owners at one host.

import type { WebhookDelivery } from "../../prediction/webhook-events.ts";

/** Webhooks that a hub sends at once. */
const MAX_AT_ONCE = 32;
/** Of them to one host name, whatever the port. */
const MAX_PER_HOST = 8;

type Sending = Pick<WebhookDelivery, "owner" | "host" | "predictionId">;

/**
 * Slots are shared by dynamic thresholds (Choudhury and Hahne, 1998): an owner may take another slot while it holds fewer
 * than are free. One alone gets half of them, two get a third each: some are left for an owner that has none.
 * The same rule applies to the slots of each host.
 */
export class SendingSlots {
  /** By the delivery's id. */
  readonly #sending = new Map<string, Sending>();

  take({ id, owner, host, predictionId }: Sending & Pick<WebhookDelivery, "id">): void {
    this.#sending.set(id, { owner, host, predictionId });
  }

  free(id: string): void {
    this.#sending.delete(id);
  }

  /** Of the owners, those that may send another webhook; those that are sending the fewest come first. */
  admitted(owners: readonly string[]): string[] {
    const free = MAX_AT_ONCE - this.#sending.size;
    return owners
      .map((owner) => ({ owner, held: this.#count((one) => one.owner === owner) }))
      .filter(({ held }) => held < free)
      .toSorted((a, b) => a.held - b.held)
      .map(({ owner }) => owner);
  }

  /** Hosts to which the owner may not send another now. */
  fullHosts(owner: string): string[] {
    const hosts = new Set([...this.#sending.values()].map(({ host }) => host));
    return [...hosts].filter((host) => {
      const free = MAX_PER_HOST - this.#count((one) => one.host === host);
      return this.#count((one) => one.host === host && one.owner === owner) >= free;
    });
  }

  /** Predictions with a webhook being sent. */
  predictionIds(): string[] {
    return [...this.#sending.values()].map(({ predictionId }) => predictionId);
  }

  #count(isMeant: (one: Sending) => boolean): number {
    return [...this.#sending.values()].filter(isMeant).length;
  }
}
