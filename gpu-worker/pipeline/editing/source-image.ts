// Images that callers send, as files or pixels: checked, decoded, and cut to a size.

import sharp, { type Sharp } from "sharp";
import { MAX_SOURCE_PIXELS } from "@vqd/shared/limits.ts";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { InvalidInputError } from "../errors.ts";
import type { ImageSize, RgbImage } from "../image.ts";

/** What sharp reads and is an image of pixels; others, such as SVG, are programs in disguise. */
const FORMATS: ReadonlySet<string> = new Set(["png", "jpeg", "webp", "gif", "tiff", "heif"]);
const FORMAT_NAMES = "PNG, JPEG, WebP, GIF, TIFF or AVIF";
/** For one decode; the largest image takes a second or two. */
const DECODE_LIMIT_SECONDS = 30;

type Open = () => Sharp;

/**
 * An image as its viewer sees it: upright by its EXIF orientation, in sRGB, with 8 bits a channel. Each method decodes it anew,
 * scales it to cover `size` and cuts out the centre; at its own size the pixels are those of the file.
 */
export class SourceImage {
  readonly size: ImageSize;
  readonly hasAlpha: boolean;
  readonly #open: Open;
  readonly #field: string;

  private constructor(open: Open, field: string, { size, hasAlpha }: Pick<SourceImage, "size" | "hasAlpha">) {
    this.#open = open;
    this.#field = field;
    this.size = size;
    this.hasAlpha = hasAlpha;
  }

  /**
   * Reads only the header of a file. Throws an InvalidInputError that names `field` for what is no still image of at most
   * MAX_SOURCE_PIXELS pixels; a file that is damaged further on is found by the other methods.
   */
  static async open(image: Uint8Array | RgbImage, field: string): Promise<SourceImage> {
    const refuse = (reason: string, cause?: unknown): never => {
      throw new InvalidInputError(field, reason, { cause });
    };
    if (!(image instanceof Uint8Array)) {
      const { width, height, data } = image;
      if (data.length !== 3 * width * height) refuse(`must have ${3 * width * height} bytes of data`);
      const raw = { width, height, channels: 3 } as const;
      return new SourceImage(() => sharp(data, { raw }), field, { size: { width, height }, hasAlpha: false });
    }
    // Checked by ourselves first, so that the limit in pixels is for what is decoded.
    const open: Open = () =>
      sharp(image, { limitInputPixels: MAX_SOURCE_PIXELS, failOn: "warning", autoOrient: true }).timeout({
        seconds: DECODE_LIMIT_SECONDS,
      });
    const refuseUnread = (cause: unknown): never =>
      refuse(`must be a ${FORMAT_NAMES} file that is whole`, cause);
    if (image.length === 0) refuse("must not be empty");
    const found = await sharp(image, { limitInputPixels: false }).metadata().catch(refuseUnread);
    const { format, compression, pages = 1, hasAlpha, autoOrient: size } = found;
    if (!FORMATS.has(format) || (format === "heif" && compression !== "av1")) {
      refuse(`must be a ${FORMAT_NAMES} file, not ${format}`);
    }
    if (pages > 1) refuse(`must be a single image, not one of ${pages} frames or pages`);
    if (size.width * size.height > MAX_SOURCE_PIXELS) {
      refuse(`must have at most ${MAX_SOURCE_PIXELS} pixels, not ${size.width}x${size.height}`);
    }
    return new SourceImage(open, field, { size, hasAlpha });
  }

  /** Its colours; on white where it is transparent. */
  async rgb(size: ImageSize): Promise<RgbImage> {
    const data = await this.#pixels(
      this.#covering(size).flatten({ background: "white" }).toColourspace("srgb"),
    );
    return { width: size.width, height: size.height, data };
  }

  /** 0 for black to 255 for white, the mean of what each pixel covers; black where it is transparent. */
  async luminance(size: ImageSize): Promise<Uint8Array> {
    const plane = await this.#pixels(this.#open().flatten({ background: "black" }).toColourspace("b-w"));
    return means(plane, this.size, size);
  }

  /** 0 for opaque to 255 for transparent, the mean of what each pixel covers. */
  async transparency(size: ImageSize): Promise<Uint8Array> {
    if (!this.hasAlpha) return new Uint8Array(size.width * size.height);
    const alpha = await this.#pixels(this.#open().extractChannel("alpha").toColourspace("b-w"));
    return means(alpha, this.size, size).map((opacity) => 255 - opacity);
  }

  #covering({ width, height }: ImageSize): Sharp {
    return this.#open().resize(width, height, { fit: "cover", position: "centre" });
  }

  async #pixels(image: Sharp): Promise<Uint8Array> {
    try {
      return new Uint8Array(await image.raw({ depth: "uchar" }).toBuffer());
    } catch (cause) {
      throw new InvalidInputError(this.#field, "cannot be decoded: the file is damaged or cut off", {
        cause,
      });
    }
  }
}

/**
 * A plane of one byte per pixel, scaled to cover `size`, its centre cut out: each pixel is the mean of those that it covers, the
 * partly covered included. A filter as for colours would reach further, and so beyond the edges of a mask.
 */
function means(plane: Uint8Array, from: ImageSize, size: ImageSize): Uint8Array {
  const step = Math.min(from.width / size.width, from.height / size.height);
  const ranges = (length: number, wanted: number): [number, number][] => {
    const first = (length - wanted * step) / 2;
    // Rounding must not let a range reach into a pixel that it only touches.
    const exact = (place: number): number => Math.round(place * 1e6) / 1e6;
    return Array.from({ length: wanted }, (_, i) => [
      Math.max(0, Math.floor(exact(first + i * step))),
      Math.min(length, Math.ceil(exact(first + (i + 1) * step))),
    ]);
  };
  const columns = ranges(from.width, size.width);
  const result = new Uint8Array(size.width * size.height);
  for (const [y, [top, bottom]] of ranges(from.height, size.height).entries()) {
    for (const [x, [left, right]] of columns.entries()) {
      let sum = 0;
      for (let row = top; row < bottom; row++) {
        for (let at = row * from.width + left; at < row * from.width + right; at++)
          sum += plane[at] ?? outOfBounds();
      }
      result[y * size.width + x] = Math.round(sum / ((bottom - top) * (right - left)));
    }
  }
  return result;
}
