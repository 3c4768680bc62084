// The names of presets, for what must not depend on their settings.

export const PRESET_NAMES = ["draft", "fast", "best", "reference"] as const;
export type PresetName = (typeof PRESET_NAMES)[number];
