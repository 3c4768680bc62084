// Generated from the OpenAPI document: npx node infra/openapi/types.ts

export type paths = Record<string, never>;
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        Account: {
            /** @description What the key may do; not a part of Replicate's resource. */
            key: {
                /** Format: date-time */
                expires_at: string | null;
                limits: {
                    /** @description Most predictions that have not ended. */
                    live: number;
                    /** @description Most predictions per minute. */
                    per_minute: number;
                };
                /**
                 * @description The highest that its predictions may have.
                 * @enum {string}
                 */
                priority: "high" | "normal" | "low";
                scopes: ("create" | "read" | "admin" | "metrics" | "billing")[];
            };
            /** @description The same. */
            name: string;
            /** @enum {string} */
            type: "user";
            /** @description The name of the key's owner: keys with the same name share predictions. */
            username: string;
        };
        Audit: {
            data: {
                /** @enum {string} */
                action: "webhook_secret.read" | "webhook_secret.rotated" | "prediction.canceled" | "prediction.deleted" | "prediction.shared" | "prediction.unshared";
                /** Format: date-time */
                at: string;
                /** @description The key that acted, by the first digits of its hash. */
                key: string;
                /** @description The id of the prediction, if it is about one. */
                object: string | null;
                /** @description The x-request-id of the request. */
                request_id: string;
            }[];
            /**
             * Format: uri
             * @description The URL of older entries, if there are any.
             */
            next: string | null;
            /** @enum {string} */
            object: "list";
        };
        Classes: {
            /** @description Names by label, with synonyms after commas; not every class needs one. */
            id2label: {
                [key: string]: string;
            };
            model: string;
            /** @description Labels are 0 to num_classes - 1. */
            num_classes: number;
            version: string;
        };
        CollectionList: {
            next: null;
            previous: null;
            results: unknown[];
        };
        CreatePrediction: {
            input: {
                /** @description Width to height, as `1:1`: only the model's own proportions are possible. */
                aspect_ratio?: string | null;
                /** @description The label of a class, instead of a prompt; for models conditioned by class. */
                class_label?: number | null;
                /** @description Whether PNG files hold the prompt and the settings they were made with, as text for image browsers, AUTOMATIC1111 and ComfyUI. By default they do, unless the service is set otherwise. */
                embed_settings?: boolean | null;
                /** @description Pixels over which what is made anew fades in, within the mask. Outside of it the pixels are those of `image`. Defaults to 4. */
                feather?: number | null;
                /** @description Continues another prediction after one of its steps. Everything that is not given is as it was there; with nothing given the result is the same. */
                from?: {
                    /** @description The id of one of your predictions. */
                    prediction: string;
                    /** @description Completed steps to keep. */
                    step: number;
                } | null;
                /** @description How strongly the prompt steers the image; up to 1, guidance is off. Defaults to the model's own value, or 5. */
                guidance_scale?: number | null;
                /** @description Height of the files in pixels; by itself it implies the width, and the width implies it. */
                height?: number | null;
                /** @description An image to start from: a data URL, an uploaded file, a link to an image of this service, or a public https URL. It is scaled to cover the model's size, and its centre is cut out. */
                image?: string | null;
                /** @description Of the scheduler original, which it implies: from 2 on timesteps are skipped, below 1 each has several passes. The number of steps follows from it. */
                infer_speed?: number | null;
                /** @description Which parts of `image` or `tokens` are made anew, as an image of the same size: what is white; the rest is held. */
                mask?: string | null;
                /**
                 * @description With alpha, what is transparent in the mask is made anew, or without a mask, what is transparent in the image. Defaults to luminance.
                 * @enum {string|null}
                 */
                mask_channel?: "luminance" | "alpha" | null;
                /** @description What the image should not show. Requires a guidance_scale above 1. */
                negative_prompt?: string | null;
                /** @description Alias of num_outputs. */
                num_images_per_prompt?: number | null;
                /** @description Number of denoising steps, at most as many as the model was trained with. Follows from infer_speed if that is given. */
                num_inference_steps?: number | null;
                /** @description Images per prompt. */
                num_outputs?: number | null;
                /** @description Previews of each image: the most likely result so far, sent as `preview` events. Fewer if there are fewer steps before the last. */
                num_previews?: number | null;
                /**
                 * @description Which masked pixels a step unmasks: those that the diffusion process draws, the most certain ones, or the next in a sequence that spreads over the image.
                 * @enum {string|null}
                 */
                order?: "posterior" | "confidence" | "halton" | null;
                /**
                 * @description Format of the image files; jpg means jpeg. With tokens nothing is decoded: the files hold the images' tokens.
                 * @enum {string|null}
                 */
                output_format?: "png" | "webp" | "jpeg" | "jpg" | "tokens" | null;
                /** @description Quality of WebP and JPEG files, 100 being the best. PNG files are lossless: only 100 is accepted for them. */
                output_quality?: number | null;
                /**
                 * @description Sets the steps and the sampler at once: draft, fast, best, or reference, which is diffusers' sampler. Fields given explicitly take precedence.
                 * @enum {string|null}
                 */
                preset?: "draft" | "fast" | "best" | "reference" | null;
                /**
                 * @description Purity sampling, with the order posterior: 0 turns it off, 1 unmasks the most certain pixels first, 2 also sharpens their distribution. With the scheduler original, 1 unmasks pixels in random order, and 2 the most certain first.
                 * @enum {integer|null}
                 */
                prior_rule?: 0 | 1 | 2 | null;
                /** @description How much prior rule 2 sharpens the distribution; 0 means not at all. */
                prior_weight?: number | null;
                /** @description What the image should show; a list makes images for each prompt. Required, unless `image`, `tokens` or `from` is given; a model by class takes a name or label, one that is not conditioned takes no prompt. */
                prompt?: string | string[] | null;
                /**
                 * @description What to do with a prompt longer than the model's limit: truncate it (default; reported in `metrics` and `logs`) or answer with an error.
                 * @enum {string|null}
                 */
                prompt_too_long?: "truncate" | "error" | null;
                /** @description Share of the drawn pixels that a step masks again, preferring those that the model has become uncertain of. Not with the order posterior, unless prior_rule is 1 or 2. */
                remasking?: number | null;
                /**
                 * @description How the steps are distributed: over the end of the diffusion process, or over all of it; original does what the original code base's own sampler does.
                 * @enum {string|null}
                 */
                scheduler?: "reference" | "strided" | "original" | null;
                /** @description The same seed gives the same image; random if omitted or -1. Up to 2^64 - 1: seeds above 2^53 - 1 are returned as strings, and may be sent as strings or numbers. */
                seed?: number | string | null;
                /** @description One seed per image, instead of `seed`: all images of the first prompt, then of the second. */
                seeds?: (number | string)[] | null;
                /** @description Width and height at once, as `256x256`. */
                size?: string | null;
                /** @description How much of `image` or `tokens` is made anew: 0 keeps it, 1 ignores it. Defaults to 1 with a mask, else to 0.8. */
                strength?: number | null;
                /** @description Below 1 likely classes are drawn more often than the model says, above 1 less often. */
                temperature?: number | null;
                /** @description Images to start from, as tokens: files of output_format tokens, by data URL or link, or the bytes of a step's tokens in base64. Without prompt, mask and strength they are only decoded. */
                tokens?: string | string[] | null;
                /** @description Share of the probability mass that sampling keeps, starting with the most likely classes. */
                truncation_rate?: number | null;
                /** @description Width of the files in pixels, if not the model's own: the images are resampled to it, and keep their proportions. */
                width?: number | null;
            };
            /** @description `owner/name`, instead of version. */
            model?: string | null;
            /**
             * @description What `output` has: links (the default), or with `Prefer: wait` data URLs, if the images have at most 4 MiB together. Only this answer has them: the prediction itself has links.
             * @enum {string|null}
             */
            output_encoding?: "url" | "data-uri" | null;
            /**
             * @description Order of service: high, normal or low. The key may limit how high it can be.
             * @enum {string|null}
             */
            priority?: "high" | "normal" | "low" | null;
            /** @description No effect: every prediction has a stream. */
            stream?: boolean | null;
            /** @description A version id, `owner/name` or `owner/name:version`; defaults to the default model. */
            version?: string | null;
            /** @description A public https URL that receives the prediction's events. */
            webhook?: string | null;
            /** @description The events to send; defaults to all. */
            webhook_events_filter?: ("start" | "output" | "logs" | "completed")[] | null;
        };
        CreateVariation: {
            /**
             * @description Accepted for compatibility; only the listed values are supported.
             * @enum {string|number|null}
             */
            background?: "auto" | "opaque" | null;
            /** @description The label of a class, instead of a prompt; for models conditioned by class. */
            class_label?: number | null;
            /**
             * @description Accepted for compatibility and reported in `ignored`: it has no effect.
             * @enum {string|null}
             */
            complexity?: "low" | "medium" | "high" | null;
            /** @description Whether PNG files hold the prompt and the settings they were made with, as text for image browsers, AUTOMATIC1111 and ComfyUI. By default they do, unless the service is set otherwise. */
            embed_settings?: boolean | null;
            /**
             * @description Accepted for compatibility; only the listed values are supported.
             * @enum {string|number|null}
             */
            frame_count?: 1 | null;
            /**
             * @description Accepted for compatibility; only the listed values are supported.
             * @enum {string|number|null}
             */
            frame_duration_ms?: null;
            /** @description How strongly the prompt steers the image; up to 1, guidance is off. Defaults to the model's own value, or 5. */
            guidance_scale?: number | null;
            /**
             * Format: binary
             * @description The image.
             */
            image: string;
            /** @description Of the scheduler original, which it implies: from 2 on timesteps are skipped, below 1 each has several passes. The number of steps follows from it. */
            infer_speed?: number | null;
            /** @description `owner/name`, or an alias that the operator has set; defaults to the default model. */
            model?: string | null;
            /**
             * @description Accepted for compatibility and reported in `ignored`: it has no effect.
             * @enum {string|null}
             */
            moderation?: "auto" | "low" | null;
            /** @description Number of images. */
            n?: number | null;
            /** @description What the image should not show. Requires a guidance_scale above 1. */
            negative_prompt?: string | null;
            /** @description Number of denoising steps, at most as many as the model was trained with. Follows from infer_speed if that is given. */
            num_inference_steps?: number | null;
            /**
             * @description Which masked pixels a step unmasks: those that the diffusion process draws, the most certain ones, or the next in a sequence that spreads over the image.
             * @enum {string|null}
             */
            order?: "posterior" | "confidence" | "halton" | null;
            /** @description Quality of WebP and JPEG files, 100 being the best; 100 or omitted for PNG. */
            output_compression?: number | null;
            /**
             * @description Format of the image files; jpg means jpeg.
             * @enum {string|null}
             */
            output_format?: "png" | "webp" | "jpeg" | "jpg" | null;
            /**
             * @description Sets the steps and the sampler at once: draft, fast, best, or reference, which is diffusers' sampler. Fields given explicitly take precedence.
             * @enum {string|null}
             */
            preset?: "draft" | "fast" | "best" | "reference" | null;
            /**
             * @description Purity sampling, with the order posterior: 0 turns it off, 1 unmasks the most certain pixels first, 2 also sharpens their distribution. With the scheduler original, 1 unmasks pixels in random order, and 2 the most certain first.
             * @enum {integer|null}
             */
            prior_rule?: 0 | 1 | 2 | null;
            /** @description How much prior rule 2 sharpens the distribution; 0 means not at all. */
            prior_weight?: number | null;
            /**
             * @description Order of service: high, normal or low. The key may limit how high it can be.
             * @enum {string|null}
             */
            priority?: "high" | "normal" | "low" | null;
            prompt?: string | null;
            /**
             * @description What to do with a prompt longer than the model's limit: truncate it (default; reported in `metrics` and `logs`) or answer with an error.
             * @enum {string|null}
             */
            prompt_too_long?: "truncate" | "error" | null;
            /**
             * @description A preset: low is draft, medium is fast, high and anything better is best; auto and standard are the default.
             * @enum {string|null}
             */
            quality?: "auto" | "standard" | "low" | "medium" | "high" | "hd" | "xhigh" | "max" | null;
            /** @description Share of the drawn pixels that a step masks again, preferring those that the model has become uncertain of. Not with the order posterior, unless prior_rule is 1 or 2. */
            remasking?: number | null;
            /**
             * @description Whether to return the images themselves or URLs, which expire. By default the images, but URLs for an alias that begins with `dall-e-`, as in OpenAI's API.
             * @enum {string|null}
             */
            response_format?: "b64_json" | "url" | null;
            safety_identifier?: string | null;
            /**
             * @description How the steps are distributed: over the end of the diffusion process, or over all of it; original does what the original code base's own sampler does.
             * @enum {string|null}
             */
            scheduler?: "reference" | "strided" | "original" | null;
            /** @description The same seed gives the same image; random if omitted or -1. Up to 2^64 - 1: seeds above 2^53 - 1 are returned as strings, and may be sent as strings or numbers. */
            seed?: number | string | null;
            /** @description One seed per image, instead of `seed`: all images of the first prompt, then of the second. */
            seeds?: (number | string)[] | null;
            /** @description `auto` for the size of the model's images, or one of the same proportions, to which they are resampled. */
            size?: string | null;
            /** @description How much of `image` or `tokens` is made anew: 0 keeps it, 1 ignores it. Defaults to 1 with a mask, else to 0.8. */
            strength?: number | null;
            /**
             * @description Accepted for compatibility and reported in `ignored`: it has no effect.
             * @enum {string|null}
             */
            style?: "vivid" | "natural" | null;
            /**
             * @description Accepted for compatibility; only the listed values are supported.
             * @enum {string|number|null}
             */
            svg?: null;
            /** @description Below 1 likely classes are drawn more often than the model says, above 1 less often. */
            temperature?: number | null;
            /** @description Share of the probability mass that sampling keeps, starting with the most likely classes. */
            truncation_rate?: number | null;
            user?: string | null;
        };
        Deployment: {
            current_release: {
                /** @description Placeholders for clients that require them: operators start workers, not the API. */
                configuration: {
                    /** @enum {string} */
                    hardware: "unknown";
                    /** @enum {number} */
                    max_instances: 0;
                    /** @enum {number} */
                    min_instances: 0;
                };
                /** Format: date-time */
                created_at: string;
                created_by: components["schemas"]["User"];
                /** @description `owner/name` */
                model: string;
                /** @description How many versions of the model are available. */
                number: number;
                /** @description The version that serves the name, or most of its requests: SHA-256 of the checkpoint's files. */
                version: string;
            };
            name: string;
            owner: string;
        };
        DeploymentList: {
            next: null;
            previous: null;
            results: components["schemas"]["Deployment"][];
        };
        EditImages: {
            /**
             * @description Accepted for compatibility; only the listed values are supported.
             * @enum {string|number|null}
             */
            background?: "auto" | "opaque" | null;
            /** @description The label of a class, instead of a prompt; for models conditioned by class. */
            class_label?: number | null;
            /**
             * @description Accepted for compatibility and reported in `ignored`: it has no effect.
             * @enum {string|null}
             */
            complexity?: "low" | "medium" | "high" | null;
            /** @description Whether PNG files hold the prompt and the settings they were made with, as text for image browsers, AUTOMATIC1111 and ComfyUI. By default they do, unless the service is set otherwise. */
            embed_settings?: boolean | null;
            /** @description Pixels over which what is made anew fades in, within the mask. Outside of it the pixels are those of `image`. Defaults to 4. */
            feather?: number | null;
            /**
             * @description Accepted for compatibility; only the listed values are supported.
             * @enum {string|number|null}
             */
            frame_count?: 1 | null;
            /**
             * @description Accepted for compatibility; only the listed values are supported.
             * @enum {string|number|null}
             */
            frame_duration_ms?: null;
            /** @description How strongly the prompt steers the image; up to 1, guidance is off. Defaults to the model's own value, or 5. */
            guidance_scale?: number | null;
            /**
             * Format: binary
             * @description The image.
             */
            image: string;
            /** @description Of the scheduler original, which it implies: from 2 on timesteps are skipped, below 1 each has several passes. The number of steps follows from it. */
            infer_speed?: number | null;
            /**
             * @description Accepted for compatibility and reported in `ignored`: it has no effect.
             * @enum {string|null}
             */
            input_fidelity?: "high" | "low" | null;
            /**
             * Format: binary
             * @description An image of the same size; what is transparent in it is made anew.
             */
            mask?: string;
            /** @description `owner/name`, or an alias that the operator has set; defaults to the default model. */
            model?: string | null;
            /**
             * @description Accepted for compatibility and reported in `ignored`: it has no effect.
             * @enum {string|null}
             */
            moderation?: "auto" | "low" | null;
            /** @description Number of images. */
            n?: number | null;
            /** @description What the image should not show. Requires a guidance_scale above 1. */
            negative_prompt?: string | null;
            /** @description Number of denoising steps, at most as many as the model was trained with. Follows from infer_speed if that is given. */
            num_inference_steps?: number | null;
            /**
             * @description Which masked pixels a step unmasks: those that the diffusion process draws, the most certain ones, or the next in a sequence that spreads over the image.
             * @enum {string|null}
             */
            order?: "posterior" | "confidence" | "halton" | null;
            /** @description Quality of WebP and JPEG files, 100 being the best; 100 or omitted for PNG. */
            output_compression?: number | null;
            /**
             * @description Format of the image files; jpg means jpeg.
             * @enum {string|null}
             */
            output_format?: "png" | "webp" | "jpeg" | "jpg" | null;
            /** @description Number of previews, each the most likely result so far; requires stream. */
            partial_images?: number | null;
            /**
             * @description Sets the steps and the sampler at once: draft, fast, best, or reference, which is diffusers' sampler. Fields given explicitly take precedence.
             * @enum {string|null}
             */
            preset?: "draft" | "fast" | "best" | "reference" | null;
            /**
             * @description Purity sampling, with the order posterior: 0 turns it off, 1 unmasks the most certain pixels first, 2 also sharpens their distribution. With the scheduler original, 1 unmasks pixels in random order, and 2 the most certain first.
             * @enum {integer|null}
             */
            prior_rule?: 0 | 1 | 2 | null;
            /** @description How much prior rule 2 sharpens the distribution; 0 means not at all. */
            prior_weight?: number | null;
            /**
             * @description Order of service: high, normal or low. The key may limit how high it can be.
             * @enum {string|null}
             */
            priority?: "high" | "normal" | "low" | null;
            /** @description What the image should show. A model that is not conditioned takes only an empty one; others take none without a `class_label`. */
            prompt: string;
            /**
             * @description What to do with a prompt longer than the model's limit: truncate it (default; reported in `metrics` and `logs`) or answer with an error.
             * @enum {string|null}
             */
            prompt_too_long?: "truncate" | "error" | null;
            /**
             * @description A preset: low is draft, medium is fast, high and anything better is best; auto and standard are the default.
             * @enum {string|null}
             */
            quality?: "auto" | "standard" | "low" | "medium" | "high" | "hd" | "xhigh" | "max" | null;
            /** @description Share of the drawn pixels that a step masks again, preferring those that the model has become uncertain of. Not with the order posterior, unless prior_rule is 1 or 2. */
            remasking?: number | null;
            /**
             * @description Whether to return the images themselves or URLs, which expire. By default the images, but URLs for an alias that begins with `dall-e-`, as in OpenAI's API.
             * @enum {string|null}
             */
            response_format?: "b64_json" | "url" | null;
            safety_identifier?: string | null;
            /**
             * @description How the steps are distributed: over the end of the diffusion process, or over all of it; original does what the original code base's own sampler does.
             * @enum {string|null}
             */
            scheduler?: "reference" | "strided" | "original" | null;
            /** @description The same seed gives the same image; random if omitted or -1. Up to 2^64 - 1: seeds above 2^53 - 1 are returned as strings, and may be sent as strings or numbers. */
            seed?: number | string | null;
            /** @description One seed per image, instead of `seed`: all images of the first prompt, then of the second. */
            seeds?: (number | string)[] | null;
            /** @description `auto` for the size of the model's images, or one of the same proportions, to which they are resampled. */
            size?: string | null;
            /** @description Respond with server-sent events. */
            stream?: boolean | null;
            /** @description How much of `image` or `tokens` is made anew: 0 keeps it, 1 ignores it. Defaults to 1 with a mask, else to 0.8. */
            strength?: number | null;
            /**
             * @description Accepted for compatibility and reported in `ignored`: it has no effect.
             * @enum {string|null}
             */
            style?: "vivid" | "natural" | null;
            /**
             * @description Accepted for compatibility; only the listed values are supported.
             * @enum {string|number|null}
             */
            svg?: null;
            /** @description Below 1 likely classes are drawn more often than the model says, above 1 less often. */
            temperature?: number | null;
            /** @description Share of the probability mass that sampling keeps, starting with the most likely classes. */
            truncation_rate?: number | null;
            user?: string | null;
        };
        File: {
            checksums: {
                sha256: string;
            };
            /**
             * @description By its content, whatever its name.
             * @enum {string}
             */
            content_type: "image/png" | "image/jpeg" | "image/webp" | "image/gif" | "image/avif" | "image/tiff";
            /** Format: date-time */
            created_at: string;
            /** @description The checksum again: Replicate's Python client requires it. */
            etag: string;
            /** Format: date-time */
            expires_at: string;
            id: string;
            /** @description As given. */
            metadata: {
                [key: string]: unknown;
            };
            /** @description As its owner calls it. */
            name: string;
            /** @description Bytes. */
            size: number;
            urls: {
                /**
                 * Format: uri
                 * @description The file itself, for anyone who has this URL; needs no key.
                 */
                download: string;
                /**
                 * Format: uri
                 * @description This resource, and what names the file in an input.
                 */
                get: string;
            };
        };
        FileList: {
            /**
             * Format: uri
             * @description The next page, of older files.
             */
            next: string | null;
            /** Format: uri */
            previous: string | null;
            /** @description Newest first. */
            results: components["schemas"]["File"][];
        };
        GenerateImages: {
            /**
             * @description Accepted for compatibility; only the listed values are supported.
             * @enum {string|number|null}
             */
            background?: "auto" | "opaque" | null;
            /** @description The label of a class, instead of a prompt; for models conditioned by class. */
            class_label?: number | null;
            /**
             * @description Accepted for compatibility and reported in `ignored`: it has no effect.
             * @enum {string|null}
             */
            complexity?: "low" | "medium" | "high" | null;
            /** @description Whether PNG files hold the prompt and the settings they were made with, as text for image browsers, AUTOMATIC1111 and ComfyUI. By default they do, unless the service is set otherwise. */
            embed_settings?: boolean | null;
            /**
             * @description Accepted for compatibility; only the listed values are supported.
             * @enum {string|number|null}
             */
            frame_count?: 1 | null;
            /**
             * @description Accepted for compatibility; only the listed values are supported.
             * @enum {string|number|null}
             */
            frame_duration_ms?: null;
            /** @description How strongly the prompt steers the image; up to 1, guidance is off. Defaults to the model's own value, or 5. */
            guidance_scale?: number | null;
            /** @description Of the scheduler original, which it implies: from 2 on timesteps are skipped, below 1 each has several passes. The number of steps follows from it. */
            infer_speed?: number | null;
            /** @description `owner/name`, or an alias that the operator has set; defaults to the default model. */
            model?: string | null;
            /**
             * @description Accepted for compatibility and reported in `ignored`: it has no effect.
             * @enum {string|null}
             */
            moderation?: "auto" | "low" | null;
            /** @description Number of images. */
            n?: number | null;
            /** @description What the image should not show. Requires a guidance_scale above 1. */
            negative_prompt?: string | null;
            /** @description Number of denoising steps, at most as many as the model was trained with. Follows from infer_speed if that is given. */
            num_inference_steps?: number | null;
            /**
             * @description Which masked pixels a step unmasks: those that the diffusion process draws, the most certain ones, or the next in a sequence that spreads over the image.
             * @enum {string|null}
             */
            order?: "posterior" | "confidence" | "halton" | null;
            /** @description Quality of WebP and JPEG files, 100 being the best; 100 or omitted for PNG. */
            output_compression?: number | null;
            /**
             * @description Format of the image files; jpg means jpeg.
             * @enum {string|null}
             */
            output_format?: "png" | "webp" | "jpeg" | "jpg" | null;
            /** @description Number of previews, each the most likely result so far; requires stream. */
            partial_images?: number | null;
            /**
             * @description Sets the steps and the sampler at once: draft, fast, best, or reference, which is diffusers' sampler. Fields given explicitly take precedence.
             * @enum {string|null}
             */
            preset?: "draft" | "fast" | "best" | "reference" | null;
            /**
             * @description Purity sampling, with the order posterior: 0 turns it off, 1 unmasks the most certain pixels first, 2 also sharpens their distribution. With the scheduler original, 1 unmasks pixels in random order, and 2 the most certain first.
             * @enum {integer|null}
             */
            prior_rule?: 0 | 1 | 2 | null;
            /** @description How much prior rule 2 sharpens the distribution; 0 means not at all. */
            prior_weight?: number | null;
            /**
             * @description Order of service: high, normal or low. The key may limit how high it can be.
             * @enum {string|null}
             */
            priority?: "high" | "normal" | "low" | null;
            /** @description What the image should show. A model that is not conditioned takes only an empty one; others take none without a `class_label`. */
            prompt?: string | null;
            /**
             * @description What to do with a prompt longer than the model's limit: truncate it (default; reported in `metrics` and `logs`) or answer with an error.
             * @enum {string|null}
             */
            prompt_too_long?: "truncate" | "error" | null;
            /**
             * @description A preset: low is draft, medium is fast, high and anything better is best; auto and standard are the default.
             * @enum {string|null}
             */
            quality?: "auto" | "standard" | "low" | "medium" | "high" | "hd" | "xhigh" | "max" | null;
            /** @description Share of the drawn pixels that a step masks again, preferring those that the model has become uncertain of. Not with the order posterior, unless prior_rule is 1 or 2. */
            remasking?: number | null;
            /**
             * @description Whether to return the images themselves or URLs, which expire. By default the images, but URLs for an alias that begins with `dall-e-`, as in OpenAI's API.
             * @enum {string|null}
             */
            response_format?: "b64_json" | "url" | null;
            safety_identifier?: string | null;
            /**
             * @description How the steps are distributed: over the end of the diffusion process, or over all of it; original does what the original code base's own sampler does.
             * @enum {string|null}
             */
            scheduler?: "reference" | "strided" | "original" | null;
            /** @description The same seed gives the same image; random if omitted or -1. Up to 2^64 - 1: seeds above 2^53 - 1 are returned as strings, and may be sent as strings or numbers. */
            seed?: number | string | null;
            /** @description One seed per image, instead of `seed`: all images of the first prompt, then of the second. */
            seeds?: (number | string)[] | null;
            /** @description `auto` for the size of the model's images, or one of the same proportions, to which they are resampled. */
            size?: string | null;
            /** @description Respond with server-sent events. */
            stream?: boolean | null;
            /**
             * @description Accepted for compatibility and reported in `ignored`: it has no effect.
             * @enum {string|null}
             */
            style?: "vivid" | "natural" | null;
            /**
             * @description Accepted for compatibility; only the listed values are supported.
             * @enum {string|number|null}
             */
            svg?: null;
            /** @description Below 1 likely classes are drawn more often than the model says, above 1 less often. */
            temperature?: number | null;
            /** @description Share of the probability mass that sampling keeps, starting with the most likely classes. */
            truncation_rate?: number | null;
            user?: string | null;
        };
        HardwareList: unknown[];
        Health: {
            /** @enum {string} */
            hub: "ok" | "failed";
            live_predictions: number;
            models: {
                name: string;
                version: string;
            }[];
            /** @enum {string} */
            nats: "connected" | "unavailable" | "unreachable" | "unknown";
            /** @enum {string} */
            status: "ready" | "unavailable";
        };
        /**
         * @description An error in Hugging Face's format.
         * @example {
         *       "error": "parameters.seed must be an integer",
         *       "error_type": "invalid_input"
         *     }
         */
        HuggingFaceError: {
            /** @description What is wrong; about a field, it begins with the field's dotted path. */
            error: string;
            /** @description Stable error code for programs. */
            error_type: string;
            /** @description Seconds after which a model may have been loaded; only with 503. */
            estimated_time?: number;
        };
        Images: {
            /** @enum {string} */
            background: "opaque";
            /** @description Unix time in seconds. */
            created: number;
            data: ({
                b64_json: string;
            } | {
                /** Format: uri */
                url: string;
            })[];
            /** @description When the URLs expire, as Unix time in seconds. */
            expires_at?: number;
            /** @description Parameters that had no effect; also in the header `x-ignored-parameters`. */
            ignored?: string[];
            /** @enum {string} */
            output_format: "png" | "webp" | "jpeg";
            prediction_id: string;
            prompt_truncated: boolean;
            /**
             * @description The quality that the preset stands for.
             * @enum {string}
             */
            quality: "low" | "medium" | "high";
            /** @description The size of the model's images, from which these were resampled to `size`. */
            resampled_from?: string;
            /** @description The request's `safety_identifier`, or else its `user`. */
            safety_identifier?: string;
            /** @description Reproduces these images; absent if the request gave `seeds`. */
            seed?: number | string;
            /** @description One per image, if the request gave them. */
            seeds?: (number | string)[];
            size: string;
            usage: {
                input_tokens: number;
                input_tokens_details: {
                    image_tokens: number;
                    text_tokens: number;
                };
                /** @description Number of latent pixels of all images. */
                output_tokens: number;
                output_tokens_details: {
                    image_tokens: number;
                    text_tokens: number;
                };
                total_tokens: number;
            };
        };
        /** @description The input with defaults and the seed filled in: sent again as input, it makes the same images. */
        Input: {
            /** @description Width to height, as `1:1`: only the model's own proportions are possible. */
            aspect_ratio?: string | null;
            /** @description The label of a class, instead of a prompt; for models conditioned by class. */
            class_label?: number | null;
            /** @description Whether PNG files hold the prompt and the settings they were made with, as text for image browsers, AUTOMATIC1111 and ComfyUI. By default they do, unless the service is set otherwise. */
            embed_settings?: boolean | null;
            /** @description Pixels over which what is made anew fades in, within the mask. Outside of it the pixels are those of `image`. Defaults to 4. */
            feather?: number | null;
            /** @description Continues another prediction after one of its steps. Everything that is not given is as it was there; with nothing given the result is the same. */
            from?: {
                /** @description The id of one of your predictions. */
                prediction: string;
                /** @description Completed steps to keep. */
                step: number;
            } | null;
            /** @description How strongly the prompt steers the image; up to 1, guidance is off. Defaults to the model's own value, or 5. */
            guidance_scale?: number | null;
            /** @description Height of the files in pixels; by itself it implies the width, and the width implies it. */
            height?: number | null;
            /** @description An image to start from: a data URL, an uploaded file, a link to an image of this service, or a public https URL. It is scaled to cover the model's size, and its centre is cut out. */
            image?: string | null;
            /** @description Of the scheduler original, which it implies: from 2 on timesteps are skipped, below 1 each has several passes. The number of steps follows from it. */
            infer_speed?: number | null;
            /** @description Which parts of `image` or `tokens` are made anew, as an image of the same size: what is white; the rest is held. */
            mask?: string | null;
            /**
             * @description With alpha, what is transparent in the mask is made anew, or without a mask, what is transparent in the image. Defaults to luminance.
             * @enum {string|null}
             */
            mask_channel?: "luminance" | "alpha" | null;
            /** @description What the image should not show. Requires a guidance_scale above 1. */
            negative_prompt?: string | null;
            /** @description Alias of num_outputs. */
            num_images_per_prompt?: number | null;
            /** @description Number of denoising steps, at most as many as the model was trained with. Follows from infer_speed if that is given. */
            num_inference_steps?: number | null;
            /** @description Images per prompt. */
            num_outputs?: number | null;
            /** @description Previews of each image: the most likely result so far, sent as `preview` events. Fewer if there are fewer steps before the last. */
            num_previews?: number | null;
            /**
             * @description Which masked pixels a step unmasks: those that the diffusion process draws, the most certain ones, or the next in a sequence that spreads over the image.
             * @enum {string|null}
             */
            order?: "posterior" | "confidence" | "halton" | null;
            /**
             * @description Format of the image files; jpg means jpeg. With tokens nothing is decoded: the files hold the images' tokens.
             * @enum {string|null}
             */
            output_format?: "png" | "webp" | "jpeg" | "jpg" | "tokens" | null;
            /** @description Quality of WebP and JPEG files, 100 being the best. PNG files are lossless: only 100 is accepted for them. */
            output_quality?: number | null;
            /**
             * @description Sets the steps and the sampler at once: draft, fast, best, or reference, which is diffusers' sampler. Fields given explicitly take precedence.
             * @enum {string|null}
             */
            preset?: "draft" | "fast" | "best" | "reference" | null;
            /**
             * @description Purity sampling, with the order posterior: 0 turns it off, 1 unmasks the most certain pixels first, 2 also sharpens their distribution. With the scheduler original, 1 unmasks pixels in random order, and 2 the most certain first.
             * @enum {integer|null}
             */
            prior_rule?: 0 | 1 | 2 | null;
            /** @description How much prior rule 2 sharpens the distribution; 0 means not at all. */
            prior_weight?: number | null;
            /** @description What the image should show; a list makes images for each prompt. Required, unless `image`, `tokens` or `from` is given; a model by class takes a name or label, one that is not conditioned takes no prompt. */
            prompt?: string | string[] | null;
            /**
             * @description What to do with a prompt longer than the model's limit: truncate it (default; reported in `metrics` and `logs`) or answer with an error.
             * @enum {string|null}
             */
            prompt_too_long?: "truncate" | "error" | null;
            /** @description Share of the drawn pixels that a step masks again, preferring those that the model has become uncertain of. Not with the order posterior, unless prior_rule is 1 or 2. */
            remasking?: number | null;
            /**
             * @description How the steps are distributed: over the end of the diffusion process, or over all of it; original does what the original code base's own sampler does.
             * @enum {string|null}
             */
            scheduler?: "reference" | "strided" | "original" | null;
            /** @description The same seed gives the same image; random if omitted or -1. Up to 2^64 - 1: seeds above 2^53 - 1 are returned as strings, and may be sent as strings or numbers. */
            seed?: number | string | null;
            /** @description One seed per image, instead of `seed`: all images of the first prompt, then of the second. */
            seeds?: (number | string)[] | null;
            /** @description Width and height at once, as `256x256`. */
            size?: string | null;
            /** @description How much of `image` or `tokens` is made anew: 0 keeps it, 1 ignores it. Defaults to 1 with a mask, else to 0.8. */
            strength?: number | null;
            /** @description Below 1 likely classes are drawn more often than the model says, above 1 less often. */
            temperature?: number | null;
            /** @description Images to start from, as tokens: files of output_format tokens, by data URL or link, or the bytes of a step's tokens in base64. Without prompt, mask and strength they are only decoded. */
            tokens?: string | string[] | null;
            /** @description Share of the probability mass that sampling keeps, starting with the most likely classes. */
            truncation_rate?: number | null;
            /** @description Width of the files in pixels, if not the model's own: the images are resampled to it, and keep their proportions. */
            width?: number | null;
        };
        /** @description A model in OpenAI's and Replicate's formats at once. */
        Model: {
            /** @description What its makers say to those who use it: plain text, from the checkpoint's README.md. */
            card: {
                /** @description Prompts that it is good at. */
                examples: string[];
                /** @description How to prompt it. */
                note: string | null;
                /** @description The presets that suit it. */
                presets: ("draft" | "fast" | "best" | "reference")[];
            };
            /**
             * @description What its prompts are: texts, names or labels of classes, or nothing.
             * @enum {string}
             */
            conditioning: "text" | "class" | "none";
            /** @description Unix time in seconds. */
            created: number;
            defaults: {
                /** @description Used where a request does not set it. */
                guidance_scale: number;
            };
            description: string;
            /** @description `owner/name` */
            id: string;
            /**
             * @description A field of Replicate's without a meaning here.
             * @enum {boolean}
             */
            is_official: false;
            /** @description How many words it knows, which `/vocabulary` lists; null if its checkpoint does not say. */
            known_words: number | null;
            latest_version: components["schemas"]["Version"];
            limits: {
                /** @description Pixels. */
                image_height: number;
                /** @description Pixels. */
                image_width: number;
                /** @description Number of values a token can have; the last one is the mask. */
                latent_classes: number;
                /** @description Tokens. */
                latent_height: number;
                /** @description Tokens. */
                latent_width: number;
                max_inference_steps: number;
                max_prompt_tokens: number;
                parameters: number;
            };
            name: string;
            /** @enum {string} */
            object: "model";
            owned_by: string;
            owner: string;
            /**
             * @description Not counted; clients of Replicate require it.
             * @enum {number}
             */
            run_count: 0;
            /** @description What a step of an image has taken in recent runs here; null if there were none. */
            seconds_per_image_step: number | null;
            /** Format: uri */
            url: string;
            /** @enum {string} */
            visibility: "public";
        };
        ModelList: {
            data: components["schemas"]["Model"][];
            next: null;
            /** @enum {string} */
            object: "list";
            previous: null;
            /** @description The same as data. */
            results: components["schemas"]["Model"][];
        };
        /**
         * @description An error in both formats at once, for both kinds of client.
         * @example {
         *       "title": "Not Found",
         *       "status": 404,
         *       "detail": "vqd/scenes is not conditioned by class",
         *       "code": "not_found",
         *       "request_id": "6e267be9-138f-4771-9c9e-ec9fc2c57151",
         *       "error": {
         *         "message": "vqd/scenes is not conditioned by class",
         *         "type": "invalid_request_error",
         *         "param": null,
         *         "code": "unknown_url"
         *       }
         *     }
         */
        ModelProblem: {
            /**
             * @description Stable error code for programs.
             * @enum {string}
             */
            code: "invalid_input" | "malformed_body" | "unauthorized" | "forbidden" | "rate_limited" | "too_many_live" | "storage_full" | "quota_exceeded" | "not_found" | "idempotency_key_reused" | "method_not_allowed" | "precondition_failed" | "payload_too_large" | "unsupported_media_type" | "too_many_readers" | "queue_full" | "queue_unavailable" | "no_worker" | "deadline_exceeded" | "attempts_exhausted" | "canceled" | "images_expired" | "no_receipt" | "model_error" | "output_too_large" | "not_configured" | "internal";
            /** @description Explanation for people. */
            detail: string;
            error: {
                code: string;
                message: string;
                /** @description The invalid field, as a dotted path from the root of the body. */
                param: string | null;
                /** @enum {string} */
                type: "invalid_request_error" | "requests" | "insufficient_quota" | "server_error";
            };
            /** @description All invalid fields. */
            errors?: {
                /** @description What is wrong with that field. */
                message: string;
                /** @description Dotted path from the root of the body. */
                path: string;
            }[];
            /** @description The key's monthly quota that is used up. */
            quota?: {
                limit: number;
                /** @enum {string} */
                name: "images" | "steps" | "gpu_seconds";
                /** @description For predictions that have not; seconds are estimated. */
                reserved: number;
                /** Format: date-time */
                resets_at: string;
                /** @description In this calendar month (UTC), by predictions that have ended. */
                used: number;
            };
            /** @description Identifies the request in the logs; also sent in the header x-request-id. */
            request_id: string;
            status: number;
            /** @description The status as text. */
            title: string;
        };
        /**
         * @description An error in OpenAI's format.
         * @example {
         *       "error": {
         *         "message": "n must be at most 10, the maximum per prediction",
         *         "type": "invalid_request_error",
         *         "param": "n",
         *         "code": "invalid_value"
         *       }
         *     }
         */
        OpenAIError: {
            error: {
                code: string;
                message: string;
                /** @description The invalid field, as a dotted path from the root of the body. */
                param: string | null;
                /** @enum {string} */
                type: "invalid_request_error" | "requests" | "insufficient_quota" | "server_error";
            };
        };
        Palette: {
            /** @description Number of values a token can have. */
            classes: number;
            latent_height: number;
            latent_width: number;
            /** @description The value of a masked token. */
            mask: number;
            model: string;
            /** @description Red, green and blue byte of each class except the mask. */
            rgb: string;
            version: string;
        };
        Prediction: {
            /** Format: date-time */
            completed_at: string | null;
            /** Format: date-time */
            created_at: string;
            /** @description True once the images have expired. */
            data_removed: boolean;
            error: string | null;
            /** @enum {string|null} */
            error_code: "invalid_input" | "malformed_body" | "unauthorized" | "forbidden" | "rate_limited" | "too_many_live" | "storage_full" | "quota_exceeded" | "not_found" | "idempotency_key_reused" | "method_not_allowed" | "precondition_failed" | "payload_too_large" | "unsupported_media_type" | "too_many_readers" | "queue_full" | "queue_unavailable" | "no_worker" | "deadline_exceeded" | "attempts_exhausted" | "canceled" | "images_expired" | "no_receipt" | "model_error" | "output_too_large" | "not_configured" | "internal" | null;
            /**
             * Format: date-time
             * @description When the prediction itself expires; null until it has ended.
             */
            expires_at: string | null;
            /** @description The service's, or the caller's own. */
            id: string;
            input: components["schemas"]["Input"];
            /** @description Progress in the format of tqdm, one line per percent. */
            logs: string;
            metrics: {
                image_count: number;
                /** @description Identifies everything that determines the exact bits of the result. */
                numerics_id?: string;
                /** @description Seconds that the worker took. */
                predict_time?: number;
                /** @description Tokens of all prompts, before truncation. */
                prompt_tokens: number;
                /** @description True if a prompt exceeded the model's length and was truncated. */
                prompt_truncated: boolean;
                /** @description Steps completed. */
                steps: number;
                total_steps: number;
                /** @description Seconds from creation to completion. */
                total_time?: number;
            };
            /** @description `owner/name` */
            model: string;
            /** @description URLs of the images, which need no key; null until the first is available, and again once they have expired. */
            output: string[] | null;
            /**
             * Format: date-time
             * @description When its images expire; null until it has ended.
             */
            output_expires_at: string | null;
            /** @description Only while it is waiting. */
            queue: {
                /** @description Estimated seconds until it starts, if known. */
                eta_seconds: number | null;
                /** @description 1 is next. */
                position: number;
            } | null;
            /** @enum {string} */
            source: "api";
            /** Format: date-time */
            started_at: string | null;
            /** @enum {string} */
            status: "starting" | "processing" | "succeeded" | "failed" | "canceled" | "aborted";
            urls: {
                /** Format: uri */
                cancel: string;
                /** Format: uri */
                events: string;
                /** Format: uri */
                get: string;
                /**
                 * Format: uri
                 * @description While it is shared: the prediction, for anyone who has this URL.
                 */
                shared?: string;
                /**
                 * Format: uri
                 * @description The event stream, for anyone who has this URL; needs no key.
                 */
                stream: string;
            };
            /** @description SHA-256 of the checkpoint's files. */
            version: string;
            webhook?: string;
            webhook_events_filter?: ("start" | "output" | "logs" | "completed")[];
        };
        PredictionList: {
            /**
             * Format: uri
             * @description The next page, of older predictions.
             */
            next: string | null;
            /** Format: uri */
            previous: string | null;
            /** @description Newest first. */
            results: components["schemas"]["Prediction"][];
        };
        /**
         * @description An error, as problem details (RFC 9457).
         * @example {
         *       "title": "Unprocessable Content",
         *       "status": 422,
         *       "detail": "input.guidance_scale must be at most 20",
         *       "code": "invalid_input",
         *       "request_id": "0d9f6a4e-3a0e-4f5b-9a3c-0f8f5d0c8d4b",
         *       "errors": [
         *         {
         *           "path": "input.guidance_scale",
         *           "message": "must be at most 20"
         *         }
         *       ]
         *     }
         */
        Problem: {
            /**
             * @description Stable error code for programs.
             * @enum {string}
             */
            code: "invalid_input" | "malformed_body" | "unauthorized" | "forbidden" | "rate_limited" | "too_many_live" | "storage_full" | "quota_exceeded" | "not_found" | "idempotency_key_reused" | "method_not_allowed" | "precondition_failed" | "payload_too_large" | "unsupported_media_type" | "too_many_readers" | "queue_full" | "queue_unavailable" | "no_worker" | "deadline_exceeded" | "attempts_exhausted" | "canceled" | "images_expired" | "no_receipt" | "model_error" | "output_too_large" | "not_configured" | "internal";
            /** @description Explanation for people. */
            detail: string;
            /** @description All invalid fields. */
            errors?: {
                /** @description What is wrong with that field. */
                message: string;
                /** @description Dotted path from the root of the body. */
                path: string;
            }[];
            /** @description The key's monthly quota that is used up. */
            quota?: {
                limit: number;
                /** @enum {string} */
                name: "images" | "steps" | "gpu_seconds";
                /** @description For predictions that have not; seconds are estimated. */
                reserved: number;
                /** Format: date-time */
                resets_at: string;
                /** @description In this calendar month (UTC), by predictions that have ended. */
                used: number;
            };
            /** @description Identifies the request in the logs; also sent in the header x-request-id. */
            request_id: string;
            status: number;
            /** @description The status as text. */
            title: string;
        };
        Queue: {
            /**
             * Format: date-time
             * @description At most some seconds ago.
             */
            checked_at: string;
            /** @description All versions that are announced and not retired. */
            data: {
                /**
                 * Format: date-time
                 * @description When a worker last announced it.
                 */
                announced_at: string;
                /**
                 * Format: date-time
                 * @description When a worker waited, or said something of a prediction.
                 */
                last_heard_at: string | null;
                /** @description `owner/name` */
                model: string;
                /** @description Predictions of all owners that are being made. */
                running: number;
                /** @description What an image takes with the default settings, by the median of recent runs; null if there were none. */
                seconds_per_image: number | null;
                /** @description The median of recent runs; null if there were none. */
                seconds_per_image_step: number | null;
                /** @description The part of the requests for the model's name that it gets. */
                share: number;
                /** @description Images that the GPU of the worker that announced it makes at once; null without one. */
                slots: number | null;
                /** @description SHA-256 of the checkpoint's files. */
                version: string;
                /** @description Predictions of all owners that wait, by priority. */
                waiting: {
                    high: number;
                    low: number;
                    normal: number;
                };
                /**
                 * @description Whether a worker waits for its jobs, or has lately said something of one.
                 * @enum {string}
                 */
                workers: "alive" | "none" | "unknown";
                /** @description Workers that wait for its jobs; null if the queue cannot be looked at. */
                workers_with_room: number | null;
            }[];
            /** @description The objects that keep predictions. */
            hubs: {
                answering: number;
                /** @description Those with predictions that have lost their connection to the queue. */
                cut_off: number;
                total: number;
            };
            /**
             * @description Whether the queue takes jobs: `unavailable` if it can be reached and does not.
             * @enum {string}
             */
            nats: "connected" | "unavailable" | "unreachable" | "unknown";
            /** @enum {string} */
            object: "list";
            /**
             * @description `unavailable`: no images are made now; `degraded`: a version that gets requests has no worker, or a hub does not answer or is cut off.
             * @enum {string}
             */
            status: "operational" | "degraded" | "unavailable";
        };
        Queued: {
            /** @enum {string} */
            status: "queued";
        };
        ReceiptFile: {
            /** @description A JSON Web Signature in compact form, EdDSA with Ed25519; its header names the key (`kid`). */
            receipt: string;
            /** @description The class ids the image began with, and after each step, as uint16 LE in base64. */
            states: string[];
        };
        ReceiptKeys: {
            keys: {
                /** @enum {string} */
                alg: "EdDSA";
                /** @enum {string} */
                crv: "Ed25519";
                /** @description Its thumbprint, as in RFC 7638. */
                kid: string;
                /** @enum {string} */
                kty: "OKP";
                /** @enum {string} */
                use: "sig";
                /** @description The public key, in base64url. */
                x: string;
            }[];
        };
        RotatedSecret: {
            key: string;
            /**
             * Format: date-time
             * @description Until then both secrets sign, so that receivers can be updated in the meantime.
             */
            old_key_signs_until: string;
        };
        Share: {
            /** @description The unguessable part of the links. */
            capability: string;
            /** @description The service's id of the prediction. */
            id: string;
            /**
             * Format: uri
             * @description The same in the playground.
             */
            page: string;
            /**
             * Format: uri
             * @description The prediction as others see it, without a key.
             */
            url: string;
        };
        SharedPrediction: {
            /** Format: date-time */
            completed_at: string | null;
            /** Format: date-time */
            created_at: string;
            /** @description True once the images have expired. */
            data_removed: boolean;
            error: string | null;
            /** @description The service's, or the caller's own. */
            id: string;
            input: components["schemas"]["Input"];
            metrics: {
                image_count: number;
                /** @description Identifies everything that determines the exact bits of the result. */
                numerics_id?: string;
                /** @description Seconds that the worker took. */
                predict_time?: number;
                /** @description Tokens of all prompts, before truncation. */
                prompt_tokens: number;
                /** @description True if a prompt exceeded the model's length and was truncated. */
                prompt_truncated: boolean;
                /** @description Steps completed. */
                steps: number;
                total_steps: number;
                /** @description Seconds from creation to completion. */
                total_time?: number;
            };
            /** @description `owner/name` */
            model: string;
            /** @description URLs of the images, which need no key; null until the first is available, and again once they have expired. */
            output: string[] | null;
            /**
             * Format: date-time
             * @description When its images expire; null until it has ended.
             */
            output_expires_at: string | null;
            /** Format: date-time */
            started_at: string | null;
            /** @enum {string} */
            status: "starting" | "processing" | "succeeded" | "failed" | "canceled" | "aborted";
            /** @description SHA-256 of the checkpoint's files. */
            version: string;
        };
        Status: {
            /**
             * Format: date-time
             * @description At most some seconds ago.
             */
            checked_at: string;
            /** @description The objects that keep predictions. */
            hubs: {
                answering: number;
                /** @description Those with predictions that have lost their connection to the queue. */
                cut_off: number;
                total: number;
            };
            /** @description The versions that get requests. */
            models: {
                /** @description `owner/name` */
                model: string;
                /** @description What an image takes with the default settings, by the median of recent runs; null if there were none. */
                seconds_per_image: number | null;
                /** @description SHA-256 of the checkpoint's files. */
                version: string;
                /**
                 * @description How many predictions wait, of all owners: the largest of these numbers that they reach.
                 * @enum {number}
                 */
                waiting_at_least: 0;
                /**
                 * @description Whether a worker waits for its jobs, or has lately said something of one.
                 * @enum {string}
                 */
                workers: "alive" | "none" | "unknown";
            }[];
            /**
             * @description Whether the queue takes jobs: `unavailable` if it can be reached and does not.
             * @enum {string}
             */
            nats: "connected" | "unavailable" | "unreachable" | "unknown";
            /** @enum {string} */
            object: "status";
            /**
             * @description `unavailable`: no images are made now; `degraded`: a version that gets requests has no worker, or a hub does not answer or is cut off.
             * @enum {string}
             */
            status: "operational" | "degraded" | "unavailable";
        };
        TestedWebhook: {
            /** @description Whether the receiver answered with a 2xx in time. */
            delivered: boolean;
            duration_ms: number;
            error: string | null;
            /** @description The webhook-id header. */
            id: string;
            /** @description Status of the receiver's response; null without one. */
            status: number | null;
        };
        TextToImage: {
            /** @description What the image should show, which is empty only for a model that is not conditioned, or with `class_label`; or, with `parameters.prompt`, an image to start from, in base64 or as a data URL. */
            inputs: string;
            options?: {
                /** @description Ignored, as `x-ignored-parameters` says: images are never cached. */
                use_cache?: boolean | null;
                /** @description The same as `x-wait-for-model: true`. */
                wait_for_model?: boolean | null;
            } | null;
            parameters?: {
                /** @description The label of a class, instead of a prompt; for models conditioned by class. */
                class_label?: number | null;
                /** @description Whether PNG files hold the prompt and the settings they were made with, as text for image browsers, AUTOMATIC1111 and ComfyUI. By default they do, unless the service is set otherwise. */
                embed_settings?: boolean | null;
                /** @description How strongly the prompt steers the image; up to 1, guidance is off. Defaults to the model's own value, or 5. */
                guidance_scale?: number | null;
                /** @description Height of the files in pixels; by itself it implies the width, and the width implies it. */
                height?: number | null;
                /** @description Of the scheduler original, which it implies: from 2 on timesteps are skipped, below 1 each has several passes. The number of steps follows from it. */
                infer_speed?: number | null;
                /** @description What the image should not show. Requires a guidance_scale above 1. */
                negative_prompt?: string | null;
                /** @description The response is one image. */
                num_images_per_prompt?: number | null;
                /** @description Number of denoising steps, at most as many as the model was trained with. Follows from infer_speed if that is given. */
                num_inference_steps?: number | null;
                /**
                 * @description Which masked pixels a step unmasks: those that the diffusion process draws, the most certain ones, or the next in a sequence that spreads over the image.
                 * @enum {string|null}
                 */
                order?: "posterior" | "confidence" | "halton" | null;
                /**
                 * @description Sets the steps and the sampler at once: draft, fast, best, or reference, which is diffusers' sampler. Fields given explicitly take precedence.
                 * @enum {string|null}
                 */
                preset?: "draft" | "fast" | "best" | "reference" | null;
                /**
                 * @description Purity sampling, with the order posterior: 0 turns it off, 1 unmasks the most certain pixels first, 2 also sharpens their distribution. With the scheduler original, 1 unmasks pixels in random order, and 2 the most certain first.
                 * @enum {integer|null}
                 */
                prior_rule?: 0 | 1 | 2 | null;
                /** @description How much prior rule 2 sharpens the distribution; 0 means not at all. */
                prior_weight?: number | null;
                /** @description Makes the request one of image to image. Empty for a model that is not conditioned, and with `class_label`. */
                prompt?: string | null;
                /**
                 * @description What to do with a prompt longer than the model's limit: truncate it (default; reported in `metrics` and `logs`) or answer with an error.
                 * @enum {string|null}
                 */
                prompt_too_long?: "truncate" | "error" | null;
                /** @description Share of the drawn pixels that a step masks again, preferring those that the model has become uncertain of. Not with the order posterior, unless prior_rule is 1 or 2. */
                remasking?: number | null;
                /**
                 * @description How the steps are distributed: over the end of the diffusion process, or over all of it; original does what the original code base's own sampler does.
                 * @enum {string|null}
                 */
                scheduler?: "reference" | "strided" | "original" | null;
                /** @description The same seed gives the same image; random if omitted or -1. Up to 2^64 - 1: seeds above 2^53 - 1 are returned as strings, and may be sent as strings or numbers. */
                seed?: number | string | null;
                /** @description One seed per image, instead of `seed`: all images of the first prompt, then of the second. */
                seeds?: (number | string)[] | null;
                /** @description How much of `image` or `tokens` is made anew: 0 keeps it, 1 ignores it. Defaults to 1 with a mask, else to 0.8. */
                strength?: number | null;
                /** @description Width and height at once; with `prompt` only. */
                target_size?: {
                    /** @description Height of the files in pixels; by itself it implies the width, and the width implies it. */
                    height?: number | null;
                    /** @description Width of the files in pixels, if not the model's own: the images are resampled to it, and keep their proportions. */
                    width?: number | null;
                } | null;
                /** @description Below 1 likely classes are drawn more often than the model says, above 1 less often. */
                temperature?: number | null;
                /** @description Share of the probability mass that sampling keeps, starting with the most likely classes. */
                truncation_rate?: number | null;
                /** @description Width of the files in pixels, if not the model's own: the images are resampled to it, and keep their proportions. */
                width?: number | null;
            } | null;
        };
        Usage: {
            /** @description By day, then model; none for days without predictions. */
            data: {
                /**
                 * Format: date
                 * @description The UTC day on which the predictions ended.
                 */
                date: string;
                /** @description For which workers had the predictions. */
                gpu_seconds: number;
                /** @description That were delivered. */
                images: number;
                /** @description `owner/name` */
                model: string;
                /** @description That ended, however they did. */
                predictions: number;
                /** @description Made, of all images: 25 steps of 4 images are 100. One that is repeated counts once. */
                steps: number;
            }[];
            /** Format: date */
            from: string;
            /** @enum {string} */
            object: "list";
            /** @description Monthly limits of the key, and how far its owner is now. */
            quotas: {
                limit: number;
                /** @enum {string} */
                name: "images" | "steps" | "gpu_seconds";
                /** @description For predictions that have not; seconds are estimated. */
                reserved: number;
                /** Format: date-time */
                resets_at: string;
                /** @description In this calendar month (UTC), by predictions that have ended. */
                used: number;
            }[];
            /** Format: date */
            to: string;
        };
        /** @description The model's owner. */
        User: {
            /** @description The same. */
            name: string;
            /** @enum {string} */
            type: "user";
            /** @description The name of the key's owner: keys with the same name share predictions. */
            username: string;
        };
        /** @description The version that serves the name, or most of its requests. */
        Version: {
            /**
             * @description Empty: models are not packaged with Cog.
             * @enum {string}
             */
            cog_version: "";
            /**
             * Format: date-time
             * @description When a worker last announced it.
             */
            created_at: string;
            /** @description SHA-256 of the checkpoint's files. */
            id: string;
            /** @description Schemas of input and output. */
            openapi_schema: {
                [key: string]: unknown;
            };
            /** @description The part of the requests for the model's name that this version gets: its operator decides. */
            share: number;
        };
        VersionList: {
            next: null;
            previous: null;
            results: components["schemas"]["Version"][];
        };
        Vocabulary: {
            model: string;
            version: string;
            /** @description In lower case. */
            words: string[];
        };
        WebhookAttempts: {
            results: {
                attempts: {
                    /** Format: date-time */
                    at: string;
                    duration_ms: number;
                    error: string | null;
                    /** @description Status of the receiver's response. */
                    status: number | null;
                }[];
                /** @enum {string} */
                event: "start" | "output" | "logs" | "completed";
                /** @description The webhook-id header, which is the same for all attempts. */
                id: string;
                /** Format: date-time */
                next_attempt_at: string | null;
                /** @enum {string} */
                state: "pending" | "delivered" | "failed" | "disabled";
            }[];
            webhook: string | null;
        };
        WebhookSecret: {
            /** @description `whsec_` followed by base64, as the libraries of Standard Webhooks expect it. */
            key: string;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
