// Converts between images and codes: the VQ model's decoder, its encoder, and the nearest-code search.

import type { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";
import { graphPath } from "../graph/cache.ts";
import { floatData, floatTensor, intTensor, Session, type SessionOptions } from "../runtime/session.ts";
import { InvalidInputError } from "./errors.ts";
import { type RgbImage, rgbBytes, toPlanes, toRgbImage } from "./image.ts";
import { type Quantizer, readQuantizer } from "./quantizer.ts";
import { TransientSession } from "./transient-session.ts";

export class VQModel {
  readonly #decoder: Session;
  /** Needed for image input only, so loaded on first use. */
  readonly #encoder: TransientSession;
  readonly #checkpoint: DiffusersCheckpoint;
  readonly #side: number;
  readonly #imageSide: number;
  readonly #codes: number;
  #quantizer: Quantizer | undefined;

  private constructor(
    decoder: Session,
    checkpoint: DiffusersCheckpoint,
    graphs: string,
    options: SessionOptions,
  ) {
    this.#decoder = decoder;
    this.#checkpoint = checkpoint;
    this.#encoder = new TransientSession(graphPath(graphs, "vq-encoder"), { ...options, stays: true });
    this.#side = checkpoint.transformer.sample_size;
    this.#imageSide = this.#side * 2 ** (checkpoint.vqvae.block_out_channels.length - 1);
    this.#codes = checkpoint.vqvae.num_tokens;
  }

  static async load(
    checkpoint: DiffusersCheckpoint,
    graphs: string,
    options: SessionOptions,
  ): Promise<VQModel> {
    return new VQModel(
      await Session.create(graphPath(graphs, "vq-decoder"), options),
      checkpoint,
      graphs,
      options,
    );
  }

  /** Codes [L] of each image → images; decoded one at a time, so that none depends on its neighbours. */
  async decode(latents: readonly Uint16Array[]): Promise<RgbImage[]> {
    const images: RgbImage[] = [];
    for (const codes of latents) {
      images.push(toRgbImage(await this.decodePlanes(codes), this.#imageSide, this.#imageSide));
    }
    return images;
  }

  /** Codes [L] → planes R, G, B [3, H, W], about -1 .. 1. */
  async decodePlanes(codes: Uint16Array): Promise<Float32Array> {
    if (codes.length !== this.#side ** 2 || codes.some((code) => code >= this.#codes)) {
      throw new InvalidInputError(
        "latents",
        `must be ${this.#side ** 2} codes below ${this.#codes} to be decoded`,
      );
    }
    return floatData(
      await this.#decoder.run({ codes: intTensor(codes, [1, this.#side, this.#side]) }, "image"),
    );
  }

  /** An image of the model's size → codes [L]. Throws InvalidInputError for any other size. */
  async encode(image: RgbImage): Promise<Uint16Array> {
    if (image.width !== this.#imageSide || image.height !== this.#imageSide) {
      throw new InvalidInputError(
        "image",
        `must be ${this.#imageSide}x${this.#imageSide} pixels, not ${image.width}x${image.height}`,
      );
    }
    const bytes = rgbBytes(image);
    if (image.data.length !== bytes) {
      throw new InvalidInputError(
        "image",
        `must have ${bytes} bytes of data (red, green and blue of each pixel), not ${image.data.length}`,
      );
    }
    this.#quantizer ??= readQuantizer(this.#checkpoint);
    const planes = floatTensor(toPlanes(image), [1, 3, this.#imageSide, this.#imageSide]);
    const features = await this.#encoder.use((session) => session.run({ image: planes }, "features"));
    return this.#quantizer(floatData(features));
  }

  async release(): Promise<void> {
    await Promise.all([this.#decoder.release(), this.#encoder.release()]);
  }
}
