// Receipts of images, signed with the service's key, and that key's public half.

import { decodeTokens } from "@vqd/shared/codec.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { chainOf, signReceipt } from "@vqd/shared/receipts/receipt.ts";
import type { AppContext } from "../http/context.ts";
import { invalidInput } from "../http/body/validation.ts";
import { unwrap } from "../prediction/hub-result.ts";
import { type ReceiptKey, receiptKeyOf } from "../receipts/key.ts";
import { predictionIdOf } from "../service/prediction-id.ts";
import { encodeBase64 } from "../util/bytes.ts";

async function keyOf(c: AppContext): Promise<ReceiptKey> {
  const { receiptKey } = c.get("config");
  if (receiptKey === undefined) {
    throw new VqdError("not_found", "this service signs no receipts: no RECEIPT_KEY is configured");
  }
  return receiptKeyOf(receiptKey);
}

/** `GET /.well-known/vqd-receipts.json` */
export async function getReceiptKeys(c: AppContext): Promise<Response> {
  const { publicJwk } = await keyOf(c);
  c.header("cache-control", "public, max-age=300");
  return c.json({ keys: [publicJwk] });
}

/** `GET /v1/predictions/{id}/receipt`: as `vqd verify` reads it. */
export async function getReceipt(c: AppContext): Promise<Response> {
  const { privateKey, publicJwk } = await keyOf(c);
  const index = c.req.query("index") ?? "0";
  if (!/^\d{1,3}$/.test(index)) {
    throw invalidInput([{ path: "index", message: "must be the number of an image, from 0" }]);
  }
  const id = await predictionIdOf(c);
  const hub = c.get("hubs").ofPrediction(id);
  const { receipt, states } = unwrap(await hub.receiptOf(id, c.get("keyName"), Number(index)));
  const chain = await chainOf(states.map((state) => decodeTokens(state)));
  c.header("cache-control", "no-store");
  return c.json({
    receipt: await signReceipt({ ...receipt, chain }, privateKey, publicJwk.kid),
    states: states.map((state) => encodeBase64(state)),
  });
}
