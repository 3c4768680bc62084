export declare function encodeBase64(bytes: Uint8Array): string;
export declare function encodeHex(bytes: Uint8Array): string;
/** Bytes of well-formed hexadecimal digits. */
export declare function decodeHex(hex: string): Uint8Array<ArrayBuffer>;
