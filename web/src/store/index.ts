/** How model files get into the browser: downloaded once, kept, verified, and read while they come. See `layout.ts`. */

import { here } from "../base.ts";
import { AloudError, throwIfAborted } from "../errors.ts";
import type { ExpectedHashes, ModelSource, Progress } from "../types.ts";
import { BlobSource } from "./blob.ts";
import { openDisk, readJson, type Disk } from "./disk.ts";
import type { ByteSource } from "./file.ts";
import { openFolder } from "./folder.ts";
import { CHUNK_BYTES, keyOf, modelFolder, parseModelRecord, ROOT } from "./layout.ts";
import { ifUnused } from "./locks.ts";
import { inspect, RemoteModel, type Tuning, versionsIn } from "./open.ts";
import { ProgressReporter } from "./progress.ts";
import { resolveSource, type ResolveOptions } from "./resolve.ts";

export type { ByteSource } from "./file.ts";
export { resolveSource, type Resolved } from "./resolve.ts";
export { clearPhase, lastCrash, markPhase, type Crash } from "./tombstone.ts";
export { keepTuning, readTunings } from "./tunings.ts";

export interface OpenedModel {
  kind: "gguf" | "folder";
  name: string;
  /** The parts of a GGUF in order, or the weight files of a folder. */
  files: ByteSource[];
  /** Of a folder, the JSON and template files by name. */
  small?: Map<string, Uint8Array>;
  /** Until everything is on the disk and checked as a whole. At once where nothing is kept. */
  complete(): Promise<void>;
  /** Stops downloads, releases locks. What came is kept. */
  close(): Promise<void>;
}

export interface OpenOptions extends ResolveOptions {
  /** Ends opening, downloads and reads, until `close`. */
  signal?: AbortSignal;
  storage: "auto" | "none";
  onProgress?: (progress: Progress) => void;
  /** What is known of files, by file name. */
  hashes?: Record<string, ExpectedHashes>;
  tuning?: Partial<Tuning>;
}

export interface StoredModel {
  /** What `openModel` and `deleteModel` take. */
  source: string;
  /** On the disk. */
  bytes: number;
  totalBytes: number;
  complete: boolean;
  lastUsed: Date;
}

const TUNING: Tuning = {
  chunkBytes: CHUNK_BYTES,
  connections: 4,
  cachedChunks: 4,
  attempts: 5,
  pauseMs: 500,
  stallMs: 30_000,
};

export async function openModel(source: ModelSource, options: OpenOptions): Promise<OpenedModel> {
  throwIfAborted(options.signal);
  const { signal, storage, hub, hashes = {} } = options;
  const resolved = resolveSource(source, { hub, base: options.base ?? here() });
  const progress = new ProgressReporter(options.onProgress);
  progress.update("connect", 0, 0);
  if (resolved.source === "") return openBlobs(resolved.kind === "gguf" ? resolved.parts : [], options);
  const tuning = { ...TUNING, ...options.tuning };
  const model = await RemoteModel.open(resolved.source, { tuning, storage, signal, progress, hub, hashes });
  try {
    const opened = await (resolved.kind === "folder"
      ? openFolder(model, resolved.url)
      : openParts(model, resolved.parts));
    await model.start();
    const complete = () => model.session.complete();
    return { kind: resolved.kind, ...opened, complete, close: () => model.close() };
  } catch (thrown) {
    const error = model.session.reasonFor(thrown);
    await model.close();
    throw error;
  }
}

async function openParts(model: RemoteModel, parts: (string | Blob | FileSystemFileHandle)[]) {
  const files: ByteSource[] = [];
  for (const part of parts) {
    const file =
      typeof part === "string"
        ? await model.file(part)
        : await BlobSource.open(part, () => model.session.throwIfFailed());
    if (!file) {
      throw new AloudError("http-status", `\`${part}\`: there is no such file (status 404); look at the URL`);
    }
    files.push(file);
  }
  return { name: files[0]!.name, files };
}

/** Files from disk alone. */
async function openBlobs(
  parts: (string | Blob | FileSystemFileHandle)[],
  { signal }: OpenOptions,
): Promise<OpenedModel> {
  let isClosed = false;
  const check = () => {
    throwIfAborted(signal);
    if (isClosed) throw new AloudError("disposed", "the model was closed");
  };
  const blobs = parts.filter((part) => typeof part !== "string");
  const files = await Promise.all(blobs.map((blob) => BlobSource.open(blob, check)));
  const close = async () => void (isClosed = true);
  return { kind: "gguf", name: files[0]!.name, files, complete: async () => check(), close };
}

interface Entry extends StoredModel {
  key: string;
}

/** The models on the disk, the latest used first. */
export async function listModels(): Promise<StoredModel[]> {
  const entries = await listEntries();
  return entries.map(({ key: _, ...model }) => model);
}

async function listEntries(): Promise<Entry[]> {
  const disk = await openDisk();
  if (!disk) return [];
  const entries = await Promise.all((await disk.folders("models")).map((key) => entryOf(disk, key)));
  return entries.sort((a, b) => b.lastUsed.getTime() - a.lastUsed.getTime());
}

async function entryOf(disk: Disk, key: string): Promise<Entry> {
  const folder = modelFolder(key);
  const record = await readJson(disk, `${folder}/model`, parseModelRecord);
  const files = record?.files.length ? record.files : await versionsIn(disk, folder);
  const found = await Promise.all(files.map((path) => inspect(disk, `${folder}/${path}`)));
  const bytes = found.reduce((sum, file) => sum + file.bytes, 0);
  const missing = found.reduce((sum, file) => sum + file.missing, 0);
  return {
    key,
    source: record?.source ?? found[0]?.record?.url ?? key,
    bytes,
    totalBytes: bytes + missing,
    complete: !!record?.files.length && missing === 0 && found.every((file) => file.record !== null),
    lastUsed: new Date(record?.lastUsedMs ?? 0),
  };
}

/**
 * Removes a model from the disk. While any tab has it open nothing is removed, and the error's code is `busy`.
 */
export async function deleteModel(source: string, options: ResolveOptions = {}): Promise<void> {
  const disk = await openDisk();
  if (!disk) return;
  const entries = await listEntries();
  const listed = entries.find((entry) => entry.source === source || entry.key === source)?.key;
  const key = listed ?? (await keyOf(resolveSource(source, { base: here(), ...options }).source));
  const isDeleted = await ifUnused(`${ROOT} use ${key}`, () => disk.remove(modelFolder(key)));
  if (isDeleted) return;
  const message = `\`${source}\`: the model is open in this tab or another one; close it there, then delete it`;
  throw new AloudError("busy", message);
}

/** How full the browser's storage is, and whether the browser promised to keep it. */
export async function storageEstimate(): Promise<{ usage: number; quota: number; persisted: boolean }> {
  const { usage = 0, quota = 0 } = (await navigator.storage?.estimate?.()) ?? {};
  return { usage, quota, persisted: (await navigator.storage?.persisted?.()) ?? false };
}

/** Asks the browser to keep what is stored. A page can, a worker cannot. */
export async function askPersistence(): Promise<boolean> {
  return (await navigator.storage?.persist?.()) ?? false;
}
