/**
 * What lies on the disk of the browser, in OPFS below the folder `aloud-1` (or in the Cache API below `/aloud-1/`):
 *
 *     models/<model>/model                      which files the model has, and when it was last used (JSON)
 *     models/<model>/<file>/<version>/record    one downloaded file: URL, identity, chunk size, hashes (JSON)
 *     models/<model>/<file>/<version>/<n>       its n-th chunk, from 0
 *     phases/<session>                          what a tab is busy with, for as long as it is (JSON)
 *     tunings                                   which kernels are fastest on which GPU, as measured (JSON)
 *     room                                      for a moment, while it is tried whether a model fits
 *
 * - `<model>` is the hash of the source that was loaded, `<file>` of the file's URL, `<version>` of the server's ETag
 *   (or else Last-Modified), the length and the chunk size: a file that changed on the server goes into its own folder.
 * - Every file ends with the 32-byte SHA-256 of what is before it, written last. A file that was half written has
 *   either not its full length or a wrong hash, and counts as missing. No journal, renaming or flushing is relied on.
 * - A chunk on the disk is taken for whole by its length, and verified by its hash whenever it is read.
 * - `record` is written twice: at the beginning, and with the hash of every chunk once all are there and the hash of
 *   the whole file, if it is known, was right. From then on chunks are verified against that list.
 *
 * Web Locks: `aloud-1 use <model>` is shared by all tabs that have the model open, and taken alone to delete it;
 * `aloud-1 write <model>` is held by the one tab that downloads; `aloud-1 phase <session>` shows that a tab is alive.
 * BroadcastChannel `aloud-1 <model>`: which chunks came, and which ones a waiting tab needs first.
 */

import { sha256, toHex } from "./hashes.ts";

export const ROOT = "aloud-1";
export const CHUNK_BYTES = 16 << 20;
/** Of the SHA-256 at the end of every file. */
export const SEAL_BYTES = 32;

/** What tells a file from another one at the same URL. */
export interface Identity {
  size: number;
  etag: string | null;
  lastModified: string | null;
}

export interface FileRecord extends Identity {
  url: string;
  chunkBytes: number;
  /** Of the whole file, if the server told it or the caller did. */
  sha256: string | null;
  /** Of each chunk, once the file is whole. */
  hashes: string[] | null;
  createdMs: number;
}

export interface ModelRecord {
  source: string;
  lastUsedMs: number;
  /** Folders of its files, `<file>/<version>`, once all of them are known. */
  files: string[];
}

/** What is known of a GPU's kernels. */
export interface TuningRecord {
  /** The GPU and the browser, as far as it is shown. */
  device: string;
  /** The engine's own, of what it uses of the device and of its kernels. */
  key: string;
  text: string;
}

export const chunkCount = (size: number, chunkBytes: number): number => Math.ceil(size / chunkBytes);

/** Where the n-th chunk begins, and its length. */
export function chunkRange(n: number, size: number, chunkBytes: number): { first: number; length: number } {
  const first = n * chunkBytes;
  return { first, length: Math.min(chunkBytes, size - first) };
}

/** The pieces of chunks that make up a range: piece `[from, to)` of chunk `n` goes to `at` of the result. */
export function* piecesOf(offset: number, length: number, chunkBytes: number) {
  for (let done = 0; done < length; ) {
    const n = Math.floor((offset + done) / chunkBytes);
    const from = offset + done - n * chunkBytes;
    const to = Math.min(chunkBytes, from + length - done);
    yield { n, from, to, at: done };
    done += to - from;
  }
}

/** A name for a folder: half of the SHA-256 of a text. */
export async function keyOf(text: string): Promise<string> {
  return toHex(await sha256(new TextEncoder().encode(text))).slice(0, 32);
}

export const versionOf = (identity: Identity, chunkBytes: number): Promise<string> =>
  keyOf(JSON.stringify([identity.etag ?? identity.lastModified, identity.size, chunkBytes]));

export const modelFolder = (key: string): string => `models/${key}`;

const isHex64 = (value: unknown): value is string => typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isTextOrNull = (value: unknown): value is string | null => value === null || typeof value === "string";

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}

/** A file's record, or null if this is none. */
export function parseFileRecord(text: string): FileRecord | null {
  const o = parseObject(text);
  if (!o || typeof o.url !== "string" || !isTextOrNull(o.etag) || !isTextOrNull(o.lastModified)) return null;
  if (!isCount(o.size) || !isCount(o.chunkBytes) || o.chunkBytes === 0 || !isCount(o.createdMs)) return null;
  if (o.sha256 !== null && !isHex64(o.sha256)) return null;
  const { url, etag, lastModified, size, chunkBytes, createdMs, sha256: whole, hashes } = o;
  if (hashes !== null) {
    if (!Array.isArray(hashes) || !hashes.every(isHex64)) return null;
    if (hashes.length !== chunkCount(size, chunkBytes)) return null;
  }
  return { url, etag, lastModified, size, chunkBytes, createdMs, sha256: whole, hashes };
}

/** A model's record, or null if this is none. */
export function parseModelRecord(text: string): ModelRecord | null {
  const o = parseObject(text);
  if (!o || typeof o.source !== "string" || !isCount(o.lastUsedMs) || !Array.isArray(o.files)) return null;
  if (!o.files.every((file) => typeof file === "string" && /^[0-9a-f]{32}\/[0-9a-f]{32}$/.test(file))) return null;
  return { source: o.source, lastUsedMs: o.lastUsedMs, files: o.files as string[] };
}

/** Characters of them at most: more than are ever written. */
const MOST_TUNINGS = 64 << 10;

/** What is known of GPUs' kernels, or null if this is none. */
export function parseTunings(text: string): TuningRecord[] | null {
  const known = text.length <= MOST_TUNINGS && parseObject(text)?.known;
  const isRecord = (value: unknown): value is TuningRecord => {
    const { device, key, text } = (value ?? {}) as Record<string, unknown>;
    return [device, key, text].every((part) => typeof part === "string");
  };
  return Array.isArray(known) && known.every(isRecord) ? known : null;
}
