// Limits of one prediction, the same at the edge (which answers 422) and at the worker (which refuses the job).

/** Characters of one prompt; CLIP keeps at most 77 tokens, so nothing useful is longer. */
export const MAX_PROMPT_CHARS = 4_000;
/** Images of one prediction: prompts x images per prompt. OpenAI's `n` goes as far. */
export const MAX_IMAGES = 10;
/** Previews of one image on its way. */
export const MAX_PREVIEWS = 10;
/** Longest text a CLIP-like encoder takes, in tokens. */
export const MAX_TEXT_LENGTH = 256;
export const MIN_GUIDANCE_SCALE = 1;
export const MAX_GUIDANCE_SCALE = 20;
/** Highest r of purity sampling: beyond it the most likely class wins wherever the model is sure of anything. */
export const MAX_PRIOR_WEIGHT = 10;
/** Below it the likeliest class is drawn always, far above 1 a picture is noise. */
export const MIN_TEMPERATURE = 0.01;
export const MAX_TEMPERATURE = 2;
/** Seeds are non-negative integers that a JSON number holds exactly. */
export const MAX_SEED = Number.MAX_SAFE_INTEGER;
/** Highest `num_train_timesteps` of a model. */
export const MAX_TIMESTEPS = 1_000;
/** Highest number of an attempt: beyond any that is made, and far from where numbers lose their last digit. */
export const MAX_ATTEMPT = 1_000_000;
/** Characters of a worker's name. */
export const MAX_WORKER_NAME = 200;
/** Token ids travel as uint16. */
export const MAX_VECTOR_EMBEDS = 65_536;
/** Codes of a model that announces its palette: 64 kB of text in its manifest. */
export const MAX_PALETTE_CODES = 16_384;
/** Latent pixels of one image (64 x 64). */
export const MAX_LATENT_PIXELS = 4_096;
