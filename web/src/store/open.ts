/** Opens the files of a model: asks the server what they are, and looks what is on the disk. */

import { AloudError } from "../errors.ts";
import type { ExpectedHashes } from "../types.ts";
import { openDisk, readJson, writeJson, type Disk } from "./disk.ts";
import { ChunkCache, StoredFile } from "./file.ts";
import {
  chunkCount,
  chunkRange,
  keyOf,
  modelFolder,
  parseFileRecord,
  parseModelRecord,
  ROOT,
  SEAL_BYTES,
  versionOf,
  type FileRecord,
  type ModelRecord,
} from "./layout.ts";
import { countHolders, hold, ifUnused } from "./locks.ts";
import type { ProgressReporter } from "./progress.ts";
import { RemoteFile, type RemoteOptions } from "./remote.ts";
import { Session } from "./session.ts";

export interface Tuning extends RemoteOptions {
  chunkBytes: number;
  connections: number;
  /** Chunks that are kept in memory besides those that are coming. */
  cachedChunks: number;
}

export interface RemoteModelOptions {
  tuning: Tuning;
  storage: "auto" | "none";
  signal: AbortSignal | undefined;
  progress: ProgressReporter;
  hub: string | undefined;
  /** By file name. */
  hashes: Record<string, ExpectedHashes>;
}

/** A model that is whole on the disk is not kept waiting for a server that may be away. */
const BRIEF: Pick<RemoteOptions, "attempts" | "stallMs"> = { attempts: 1, stallMs: 5000 };

/** A model behind URLs. */
export class RemoteModel {
  private readonly paths: string[] = [];
  private readonly folder: string;

  private constructor(
    private readonly source: string,
    private readonly key: string,
    private readonly disk: Disk | null,
    /** What was written when all files were known. */
    private readonly known: ModelRecord | null,
    private readonly options: RemoteModelOptions,
    private readonly cache: ChunkCache,
    readonly session: Session,
    private readonly release: () => void,
  ) {
    this.folder = modelFolder(key);
  }

  static async open(source: string, options: RemoteModelOptions): Promise<RemoteModel> {
    const disk = options.storage === "none" ? null : await openDisk();
    const { connections, cachedChunks } = options.tuning;
    const key = await keyOf(source);
    const cache = new ChunkCache(cachedChunks);
    const session = new Session(key, disk, connections, cache, options.progress, options.signal);
    let release = () => {};
    try {
      if (disk) release = await hold(`${ROOT} use ${key}`, session.signal);
      session.throwIfFailed();
      const known = disk && (await readJson(disk, `${modelFolder(key)}/model`, parseModelRecord));
      return new RemoteModel(source, key, disk, known, options, cache, session, release);
    } catch (thrown) {
      const error = session.reasonFor(thrown);
      await session.close();
      release();
      throw error;
    }
  }

  /** A file by its URL; null if there is none. */
  async file(url: string): Promise<StoredFile | null> {
    const { tuning, hashes } = this.options;
    const name = nameOf(url);
    const fileKey = await keyOf(url);
    const remote = new RemoteFile(url, tuning);
    const kept = await this.newestWhole(fileKey);
    const isThere = await this.connect(remote, fileKey, kept);
    if (!isThere) return null;
    const version = `${fileKey}/${await versionOf(remote.identity, tuning.chunkBytes)}`;
    const folder = `${this.folder}/${version}`;
    const expected = hashes[name];
    const count = chunkCount(remote.identity.size, tuning.chunkBytes);
    if (expected?.chunks && expected.chunks.length !== count) {
      const found = `found ${expected.chunks.length}; give one per ${tuning.chunkBytes} bytes`;
      throw new AloudError("invalid-request", `hashes: \`${name}\`: expected ${count} hashes of chunks, ${found}`);
    }
    const before = this.disk && (await readJson(this.disk, `${folder}/record`, parseFileRecord));
    const record = await this.record(remote, before, expected?.sha256?.toLowerCase());
    const manifest = expected?.chunks?.map((hash) => hash.toLowerCase());
    const place = this.disk && { disk: this.disk, folder };
    const file = new StoredFile(name, remote, record, place, manifest, this.cache, this.session);
    if (!before && !this.known) await this.remember();
    if (!before) await file.writeRecord();
    if (!before) await this.removeOthers(version);
    await file.rescan();
    this.session.throwIfFailed();
    this.session.files.push(file);
    this.paths.push(version);
    return file;
  }

  /** Checks that there is room, and begins to download what is missing. */
  async start(): Promise<void> {
    if (this.disk) {
      await this.remember();
      await this.checkQuota(this.disk);
      // Firefox asks the user, who may take his time.
      void navigator.storage.persist?.().catch(() => {});
    }
    this.session.throwIfFailed();
    this.session.start();
  }

  async close(): Promise<void> {
    await this.session.close();
    this.release();
    if (this.disk && (await this.isEmpty(this.disk))) {
      await ifUnused(`${ROOT} use ${this.key}`, () => this.disk!.remove(this.folder));
    }
  }

  /** Whether no chunk is on the disk, of no version. */
  private async isEmpty(disk: Disk): Promise<boolean> {
    if (this.session.files.some((file) => file.storedBytes() > 0)) return false;
    const versions = await versionsIn(disk, this.folder);
    const found = await Promise.all(versions.map((path) => inspect(disk, `${this.folder}/${path}`)));
    return found.every(({ bytes }) => bytes === 0);
  }

  /** What the file is, as its server says, or as it was when all of it came if the server is away. */
  private async connect(remote: RemoteFile, fileKey: string, kept: FileRecord | null): Promise<boolean> {
    const { signal } = this.session;
    const { tuning } = this.options;
    try {
      return (await remote.connect(signal, kept ? { ...tuning, ...BRIEF } : tuning)) !== null;
    } catch (thrown) {
      const isAway = thrown instanceof AloudError && (thrown.code === "network" || thrown.code === "http-status");
      if (!isAway) throw thrown;
      if (kept) remote.identity = { size: kept.size, etag: kept.etag, lastModified: kept.lastModified };
      const wasAbsent = this.known !== null && this.known.files.length > 0 && !this.knows(fileKey);
      if (!kept && !wasAbsent) throw thrown;
      return kept !== null;
    }
  }

  private knows(fileKey: string): boolean {
    return this.known!.files.some((path) => path.startsWith(`${fileKey}/`));
  }

  private async record(remote: RemoteFile, before: FileRecord | null, expected?: string): Promise<FileRecord> {
    if (before && (!expected || expected === before.sha256)) return before;
    const { chunkBytes } = this.options.tuning;
    const told = await remote.wholeHash(this.session.signal, this.options.hub);
    if (expected && told && expected !== told) {
      const message = `expected SHA-256 ${expected}, the server says ${told}`;
      throw new AloudError("integrity", `\`${remote.url}\`: ${message}; correct \`hashes\`, or use another server`);
    }
    const sha256 = expected ?? told;
    return { url: remote.url, ...remote.identity, chunkBytes, sha256, hashes: null, createdMs: Date.now() };
  }

  /** Of the file's versions on the disk the latest one that is there from beginning to end. */
  private async newestWhole(fileKey: string): Promise<FileRecord | null> {
    if (!this.disk) return null;
    const { chunkBytes } = this.options.tuning;
    const folder = `${this.folder}/${fileKey}`;
    let newest: FileRecord | null = null;
    for (const version of await this.disk.folders(folder)) {
      const { record, missing } = await inspect(this.disk, `${folder}/${version}`);
      if (!record || missing > 0 || record.chunkBytes !== chunkBytes) continue;
      if (!newest || record.createdMs > newest.createdMs) newest = record;
    }
    return newest;
  }

  /** Removes what the server no longer has, unless another tab still reads it. */
  private async removeOthers(version: string): Promise<void> {
    const [fileKey, kept] = version.split("/");
    if (!this.disk || (await countHolders(`${ROOT} use ${this.key}`)) > 1) return;
    const folder = `${this.folder}/${fileKey}`;
    for (const other of await this.disk.folders(folder)) {
      if (other !== kept) await this.disk.remove(`${folder}/${other}`);
    }
  }

  private async remember(): Promise<void> {
    if (!this.disk) return;
    const record = { source: this.source, lastUsedMs: Date.now(), files: this.paths } satisfies ModelRecord;
    await writeJson(this.disk, `${this.folder}/model`, record);
  }

  /** Refuses what cannot fit. While another tab downloads, that one did. */
  private async checkQuota(disk: Disk): Promise<void> {
    const missing = this.session.files.reduce((sum, file) => sum + file.size - file.storedBytes(), 0);
    if (missing === 0 || (await countHolders(`${ROOT} write ${this.key}`)) > 0) return;
    const { quota = Infinity, usage = 0 } = await navigator.storage.estimate();
    const room = Math.max(quota - usage, 0);
    // Chromium tells whole GiB, 10 at most, instead of the room that there is.
    const isMadeUp = room > 0 && room % 2 ** 30 === 0;
    if (isMadeUp ? await disk.hasRoom(missing) : missing <= room) return;
    const found = isMadeUp ? "less" : `${room}`;
    const wayOut = 'delete models or free disk space, or load with storage "none"';
    throw new AloudError(
      "quota",
      `the browser's storage: expected room for ${missing} bytes, found ${found}; ${wayOut}`,
    );
  }
}

/** A file's record, and how many of its bytes are on the disk and missing. */
export async function inspect(disk: Disk, folder: string) {
  const record = await readJson(disk, `${folder}/record`, parseFileRecord);
  let [bytes, missing] = [0, 0];
  if (!record) return { record, bytes, missing };
  const files = await disk.files(folder);
  for (let n = 0; n < chunkCount(record.size, record.chunkBytes); n++) {
    const { length } = chunkRange(n, record.size, record.chunkBytes);
    if (files.get(String(n)) === length + SEAL_BYTES) bytes += length;
    else missing += length;
  }
  return { record, bytes, missing };
}

/** The folders of a model's files, `<file>/<version>`. */
export async function versionsIn(disk: Disk, folder: string): Promise<string[]> {
  const files = await disk.folders(folder);
  const versions = await Promise.all(files.map((file) => disk.folders(`${folder}/${file}`)));
  return files.flatMap((file, i) => versions[i]!.map((version) => `${file}/${version}`));
}

/** The last step of a URL's path. */
export function nameOf(url: string): string {
  const step = new URL(url).pathname.split("/").filter(Boolean).at(-1) ?? url;
  try {
    return decodeURIComponent(step);
  } catch {
    return step;
  }
}
