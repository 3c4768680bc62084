// Limits of one prediction, applied both by the edge (which answers 422) and by the worker (which rejects the job).

/** Characters of a prompt; CLIP keeps at most 77 tokens, so nothing longer is useful. */
export const MAX_PROMPT_CHARS = 4_000;
/** Images of one prediction: prompts x images per prompt. The maximum of OpenAI's `n`. */
export const MAX_IMAGES = 10;
/** Previews of one image. */
export const MAX_PREVIEWS = 10;
/** Pixels per side of an image that is resampled to a size other than the model's. */
export const MAX_IMAGE_SIDE = 1_536;
/** Pixels of all images and previews of a prediction that resamples them: ten of the largest, or one and its previews. */
export const MAX_RESAMPLED_PIXELS = 26_000_000;
/** Bytes that a job's images start from: an image file and its mask together, or tokens and which of them are free. */
export const MAX_SOURCE_BYTES = 4 * 1024 * 1024;
/** Pixels of an image or mask that is decoded: 8,192 x 4,096, or what a camera of 33 megapixels takes. */
export const MAX_SOURCE_PIXELS = 2 ** 25;
/** Pixels over which a blend may fade in. */
export const MAX_FEATHER = 64;
/**
 * Bytes of a message of NATS: the largest job, which carries its source, or an event with an image. The server's default is
 * 1 MiB, its recommended maximum 8.
 */
export const MAX_PAYLOAD_BYTES = 8 * 1024 * 1024;
/** Longest input of a CLIP-like text encoder, in tokens. */
export const MAX_TEXT_LENGTH = 256;
export const MIN_GUIDANCE_SCALE = 1;
export const MAX_GUIDANCE_SCALE = 20;
/** Highest r of purity sampling: beyond it, the most likely class wins wherever the model is at all certain. */
export const MAX_PRIOR_WEIGHT = 10;
/** Below this, the likeliest class is always drawn; far above 1, an image is noise. */
export const MIN_TEMPERATURE = 0.01;
export const MAX_TEMPERATURE = 2;
/** Highest `num_train_timesteps` of a model. */
export const MAX_TIMESTEPS = 1_000;
/** Highest attempt number: more than are ever made, and far below the numbers that lose precision. */
export const MAX_ATTEMPT = 1_000_000;
/** Characters of a worker's name. */
export const MAX_WORKER_NAME = 200;
/** Token ids travel as uint16. */
export const MAX_VECTOR_EMBEDS = 65_536;
/** Codes of a model that announces its palette, which takes 64 kB of text in the manifest. */
export const MAX_PALETTE_CODES = 16_384;
/** Latent pixels of one image (64 x 64). */
export const MAX_LATENT_PIXELS = 4_096;
