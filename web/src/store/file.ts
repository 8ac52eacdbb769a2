/** A file of a model: chunks that are on the disk, or come from a server. */

import { AloudError } from "../errors.ts";
import { readSealed, writeSealed, type Disk } from "./disk.ts";
import { RunningHash, sha256, toHex } from "./hashes.ts";
import { chunkCount, chunkRange, piecesOf, SEAL_BYTES, type FileRecord } from "./layout.ts";
import type { RemoteFile } from "./remote.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A file that can be read at any place. */
export interface ByteSource {
  readonly name: string;
  readonly size: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** Who brings the chunks that are not on the disk. */
export interface Fetcher {
  /** The chunk's bytes, or undefined when another tab has stored it. */
  want(file: StoredFile, n: number): Promise<Bytes | undefined>;
  throwIfFailed(): void;
  /** Hears that a reader goes on to another chunk. */
  reading(file: StoredFile, n: number): void;
  /** Hears that a chunk was read from the disk and is right. */
  verified(bytes: number): void;
}

/** The few chunks in memory: what was read last is kept. */
export class ChunkCache {
  private readonly chunks = new Map<string, Bytes>();

  constructor(private readonly capacity: number) {}

  get(key: string): Bytes | undefined {
    const bytes = this.chunks.get(key);
    if (bytes) this.put(key, bytes);
    return bytes;
  }

  put(key: string, bytes: Bytes): void {
    this.chunks.delete(key);
    this.chunks.set(key, bytes);
    if (this.chunks.size > this.capacity) this.chunks.delete(this.chunks.keys().next().value!);
  }

  clear(): void {
    this.chunks.clear();
  }
}

export interface Place {
  disk: Disk;
  /** The folder of this version of the file. */
  folder: string;
}

export class StoredFile implements ByteSource {
  readonly size: number;
  readonly count: number;
  /** 1 for each chunk that the disk has. */
  readonly stored: Uint8Array;
  /** The list of hashes was written, so nothing is left to do but to read. */
  sealed: boolean;
  /** Chunks whose bytes on the disk were found to be wrong. */
  readonly damaged = new Set<number>();
  private readonly seen: Uint8Array;
  private readonly loading = new Map<number, Promise<Bytes>>();
  private readonly whole: RunningHash | null;
  private nextWhole = 0;
  private hashing = Promise.resolve();
  private lastRead = -1;

  constructor(
    readonly name: string,
    readonly remote: RemoteFile,
    private record: FileRecord,
    private readonly place: Place | null,
    private readonly manifest: string[] | undefined,
    private readonly cache: ChunkCache,
    private readonly fetcher: Fetcher,
  ) {
    this.size = record.size;
    this.count = chunkCount(record.size, record.chunkBytes);
    this.stored = new Uint8Array(this.count);
    this.seen = new Uint8Array(this.count);
    this.sealed = record.hashes !== null;
    this.whole = record.sha256 && !this.sealed ? new RunningHash() : null;
  }

  async read(offset: number, length: number): Promise<Bytes> {
    if (!(offset >= 0 && length >= 0 && offset + length <= this.size)) {
      const found = `found ${length} bytes from ${offset} on`;
      throw new AloudError("invalid-request", `\`${this.name}\`: expected a range in its ${this.size} bytes, ${found}`);
    }
    const bytes = new Uint8Array(length);
    for (const { n, from, to, at } of piecesOf(offset, length, this.record.chunkBytes)) {
      this.fetcher.throwIfFailed();
      const chunk = this.chunk(n);
      this.readAhead(n);
      bytes.set((await chunk).subarray(from, to), at);
    }
    return bytes;
  }

  range(n: number) {
    return chunkRange(n, this.size, this.record.chunkBytes);
  }

  storedBytes(): number {
    return this.stored.reduce((sum, is, n) => sum + (is ? this.range(n).length : 0), 0);
  }

  /** Whether a chunk came already: to the disk, or where there is none, through memory. */
  has(n: number): boolean {
    return (this.place ? this.stored : this.seen)[n] === 1;
  }

  isCached(n: number): boolean {
    return this.cache.get(this.cacheKey(n)) !== undefined;
  }

  chunk(n: number): Promise<Bytes> {
    const cached = this.cache.get(this.cacheKey(n));
    if (cached) return Promise.resolve(cached);
    const loading = this.loading.get(n) ?? this.load(n).finally(() => this.loading.delete(n));
    this.loading.set(n, loading);
    return loading;
  }

  private async load(n: number): Promise<Bytes> {
    for (;;) {
      const bytes = (await this.readStored(n)) ?? (await this.fetcher.want(this, n));
      if (bytes) this.cache.put(this.cacheKey(n), bytes);
      const found = bytes ?? this.cache.get(this.cacheKey(n));
      if (found) return found;
    }
  }

  /** While one chunk is taken, the next one is read from the disk, or ordered. */
  private readAhead(n: number): void {
    if (n === this.lastRead) return;
    const goesOn = n === this.lastRead + 1;
    this.lastRead = n;
    this.fetcher.reading(this, n);
    if (goesOn && this.stored[n + 1]) this.chunk(n + 1).catch(() => {});
  }

  /** A chunk from the disk if it is there and right. */
  private async readStored(n: number): Promise<Bytes | undefined> {
    if (!this.place || !this.stored[n]) return undefined;
    const sealed = await readSealed(this.place.disk, this.path(n));
    const expected = this.expected(n);
    if (!sealed || sealed.bytes.length !== this.range(n).length || (expected && expected !== sealed.hash)) {
      this.stored[n] = 0;
      this.damaged.add(n);
      return undefined;
    }
    this.damaged.delete(n);
    this.see(n);
    return sealed.bytes;
  }

  private see(n: number): void {
    if (this.seen[n]) return;
    this.seen[n] = 1;
    this.fetcher.verified(this.range(n).length);
  }

  /** Takes a chunk that came from the server: checks it, hands it to `deliver`, stores it. */
  async accept(n: number, bytes: Bytes, deliver: () => void): Promise<void> {
    const digest = await sha256(bytes);
    const expected = this.expected(n);
    if (expected && expected !== toHex(digest)) {
      if (this.record.hashes) await this.wipe();
      const { first, length } = this.range(n);
      throw this.integrity(`its bytes ${first} to ${first + length - 1}`, expected, toHex(digest));
    }
    if (!this.place) {
      this.cache.put(this.cacheKey(n), bytes);
      this.see(n);
      await (this.hashing = this.hashing.then(() => this.hashWhole(n, bytes)));
      return deliver();
    }
    deliver();
    await writeSealed(this.place.disk, this.path(n), bytes, digest);
    this.stored[n] = 1;
    this.damaged.delete(n);
    this.see(n);
  }

  /** The folder of this version of the file; "" without a disk. */
  get folder(): string {
    return this.place?.folder ?? "";
  }

  /** Looks what the disk has by now, and takes over the list of hashes if another tab wrote it. */
  async rescan(record: FileRecord | null = null): Promise<void> {
    if (!this.place) return;
    if (record?.hashes && record.sha256 === this.record.sha256) {
      this.record = record;
      this.sealed = true;
    }
    const files = await this.place.disk.files(this.folder);
    for (let n = 0; n < this.count; n++) {
      this.stored[n] = Number(files.get(String(n)) === this.range(n).length + SEAL_BYTES);
      if (this.damaged.has(n)) await this.readStored(n);
    }
  }

  isWhole(): boolean {
    return !this.stored.includes(0);
  }

  /** Takes up the whole file's hash where it was, as far as chunks are there. True once it reached the end. */
  async advance(signal: AbortSignal): Promise<boolean> {
    while (this.whole && this.nextWhole < this.count && !signal.aborted) {
      const bytes = await this.readStored(this.nextWhole);
      if (!bytes) return false;
      await this.whole.update(bytes);
      this.nextWhole++;
    }
    return this.isWhole() && !signal.aborted;
  }

  /** Compares the whole file's hash, and writes the list of all hashes. */
  async seal(): Promise<void> {
    if (!this.place) return;
    await this.checkWhole();
    const hashes: string[] = [];
    for (let n = 0; n < this.count; n++) {
      const tail = await this.place.disk.read(this.path(n), -SEAL_BYTES);
      if (!tail) return void (this.stored[n] = 0);
      hashes.push(toHex(tail));
    }
    this.record = { ...this.record, hashes };
    await this.writeRecord();
    this.sealed = true;
  }

  async writeRecord(): Promise<void> {
    if (!this.place) return;
    const bytes = new TextEncoder().encode(JSON.stringify(this.record));
    await writeSealed(this.place.disk, `${this.folder}/record`, bytes);
  }

  /** Without a disk: the hash grows by each chunk whose turn it is, as long as it is still in memory then. */
  private async hashWhole(n: number, bytes: Bytes): Promise<void> {
    if (!this.whole || n !== this.nextWhole) return;
    for (let next: Bytes | undefined = bytes; next; next = this.cache.get(this.cacheKey(this.nextWhole))) {
      await this.whole.update(next);
      this.nextWhole++;
    }
    if (this.nextWhole === this.count) await this.checkWhole();
  }

  private async checkWhole(): Promise<void> {
    const found = this.whole?.hex();
    if (!found || found === this.record.sha256) return;
    await this.wipe();
    throw this.integrity("the file", this.record.sha256!, found);
  }

  /** Nothing of the file is kept. */
  private async wipe(): Promise<void> {
    await this.place?.disk.remove(this.folder);
    this.stored.fill(0);
  }

  private integrity(what: string, expected: string, found: string): AloudError {
    const hashes = `expected SHA-256 ${expected}, found ${found}`;
    return new AloudError("integrity", `\`${this.name}\`: ${what}: ${hashes}; load it again, or from another server`);
  }

  private expected(n: number): string | undefined {
    return this.manifest?.[n] ?? this.record.hashes?.[n];
  }

  private path(n: number): string {
    return `${this.folder}/${n}`;
  }

  private cacheKey(n: number): string {
    return `${n} ${this.remote.url}`;
  }
}
