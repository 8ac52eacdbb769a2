/** SHA-256: WebCrypto's for what is in memory, a bundled one for what comes piece by piece. */

import { sha256 as incremental } from "@noble/hashes/sha2.js";

/** Bytes that the incremental hash takes in one go, before it lets the thread do other things: some 20 ms. */
const PIECE_BYTES = 4 << 20;

export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  if (!globalThis.crypto?.subtle) return incremental(bytes); // A page without HTTPS.
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

export const toHex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** The SHA-256 of a file that comes in chunks, in order. */
export class RunningHash {
  private readonly hash = incremental.create();

  async update(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      this.hash.update(bytes.subarray(at, at + PIECE_BYTES));
      if (at + PIECE_BYTES < bytes.length) await new Promise((resolve) => setTimeout(resolve));
    }
  }

  hex(): string {
    return toHex(this.hash.digest());
  }
}
