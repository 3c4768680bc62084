// The models that the original code base has published: which files each consists of, and where these are.

/** The commit of github.com/microsoft/VQ-Diffusion whose configs and maps of codes these are. */
const SOURCE =
  "https://raw.githubusercontent.com/microsoft/VQ-Diffusion/d1d39487eaab07375d95b8ed59c6b3becf1329c6";
/** Where its vqdiffusion_download_checkpoints.sh finds weights. Nobody has published hashes of them. */
const RELEASE = "https://github.com/tzco/storage/releases/download/vqdiffusion";

const PRETRAINED = "OUTPUT/pretrained_model";

export interface PublishedFile {
  /** In the original's folder, by which a config names others. */
  readonly path: string;
  /** Its parts, in order. */
  readonly urls: readonly string[];
  readonly sha256: string | undefined;
}

export interface PublishedModel {
  readonly config: PublishedFile;
  /** The training checkpoint. */
  readonly model: PublishedFile;
  /** The VQ model and the map of its codes, where the checkpoint may do without them. */
  readonly others: readonly PublishedFile[];
}

const inSource = (path: string, sha256: string): PublishedFile => ({
  path,
  urls: [`${SOURCE}/${path}`],
  sha256,
});
const TEXT = inSource(
  `${PRETRAINED}/config_text.yaml`,
  "e141e6543f00112fc4ee2aa3736eb89c7edec5bed30c181bf6bdcd8d8ec90cfb",
);
const TUNED_TEXT = inSource(
  "configs/coco_tune.yaml",
  "43dc3830a4a31d3d0c10876ab0749a61802c7bf99768a57ba923267903b666ed",
);
const ITHQ = inSource(
  "configs/ithq.yaml",
  "9b3b8797d2fe6692efee53d96db9f5e3d0c8270b60ac646d600deae303625f40",
);
const IMAGENET = inSource(
  `${PRETRAINED}/config_imagenet.yaml`,
  "6717a5907d54c38d6eb6e8493e962f991cb7c40c051ba3157bbfe9c1edce02bb",
);

/** `parts`: how many the file was divided into, called aa, ab, ...; undefined if it was not. */
function inRelease(path: string, parts?: number): PublishedFile {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const stem = `${RELEASE}/${name.slice(0, name.lastIndexOf("."))}_a`;
  const letters = Array.from({ length: parts ?? 0 }, (_, i) => String.fromCharCode(97 + i));
  const urls = parts === undefined ? [`${RELEASE}/${name}`] : letters.map((letter) => stem + letter);
  return { path, urls, sha256: undefined };
}

const GUMBEL = [
  inSource(
    "help_folder/statistics/taming_vqvae_2887.pt",
    "183fecebb9924542f19fcac38b043ac9931ba75804738730ca9affd2b48e1c9c",
  ),
  inRelease(`${PRETRAINED}/taming_dvae/taming_f8_8192_openimages_last.pth`),
];
const VQGAN = [
  inSource(
    "help_folder/statistics/taming_vqvae_974.pt",
    "7ff66f541063dcfffcdb43c0a2b3795eefb1070b78a22cf6e913ab1a31c4ccb0",
  ),
  inRelease(`${PRETRAINED}/taming_dvae/vqgan_imagenet_f16_16384.pth`),
];
const model = (
  name: string,
  parts: number,
  config: PublishedFile,
  others: readonly PublishedFile[],
): PublishedModel => ({ config, model: inRelease(`${PRETRAINED}/${name}.pth`, parts), others });

/** By the names of their checkpoints. */
export const PUBLISHED_MODELS: Readonly<Record<string, PublishedModel>> = {
  ithq_learnable: model("ithq_learnable", 11, ITHQ, []),
  coco_pretrained: model("coco_pretrained", 7, TEXT, GUMBEL),
  coco_learnable: model("coco_learnable", 7, TUNED_TEXT, GUMBEL),
  CC_pretrained: model("CC_pretrained", 7, TEXT, GUMBEL),
  cc_learnable: model("cc_learnable", 7, TUNED_TEXT, GUMBEL),
  cub_pretrained: model("cub_pretrained", 7, TEXT, GUMBEL),
  human_pretrained: model("human_pretrained", 7, TEXT, GUMBEL),
  imagenet_pretrained: model("imagenet_pretrained", 9, IMAGENET, VQGAN),
  imagenet_learnable: model("imagenet_learnable", 9, IMAGENET, VQGAN),
};
