/** The browser's storage as a small file system: OPFS, or the Cache API where that is missing. */

import { AloudError } from "../errors.ts";
import { ROOT, SEAL_BYTES } from "./layout.ts";
import { sha256, toHex } from "./hashes.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export interface Disk {
  /** Writes a file, or replaces it. A failed write leaves nothing that has the full length. */
  write(path: string, parts: Bytes[]): Promise<void>;
  /** A file, without its bytes before `from` (from the end if negative); undefined if there is none. */
  read(path: string, from?: number): Promise<Bytes | undefined>;
  /** The files of a folder by name, with their lengths. */
  files(folder: string): Promise<Map<string, number>>;
  /** The names of the folders in a folder. */
  folders(folder: string): Promise<string[]>;
  /** A file, or a folder with all that is in it. Nothing happens if there is none. */
  remove(path: string): Promise<void>;
  /** False if so many bytes more would not be let in. */
  hasRoom(bytes: number): Promise<boolean>;
}

/** The storage that this browser has, or null. */
export async function openDisk(): Promise<Disk | null> {
  if (!navigator.locks || !globalThis.crypto?.subtle) return null;
  try {
    if (typeof navigator.storage?.getDirectory === "function") {
      const origin = await navigator.storage.getDirectory();
      return new OpfsDisk(await origin.getDirectoryHandle(ROOT, { create: true }));
    }
  } catch {
    // Private windows of some browsers have the function and refuse it.
  }
  try {
    return new CacheDisk(await caches.open(ROOT));
  } catch {
    return null;
  }
}

/** What the browser's storage threw, as ours. */
export function storageError(thrown: unknown, doing: string): AloudError {
  if (thrown instanceof AloudError) return thrown;
  if (isQuota(thrown)) {
    const wayOut = 'delete models or free disk space, or load with storage "none"';
    return new AloudError("quota", `${doing}: the browser's storage is full; ${wayOut}`, { cause: thrown });
  }
  const message = `${doing}: the browser's storage failed (${thrown}); reload the page, or load with storage "none"`;
  return new AloudError("storage", message, { cause: thrown });
}

/** Writes bytes with their SHA-256 behind them. */
export async function writeSealed(disk: Disk, path: string, bytes: Bytes, digest?: Bytes): Promise<void> {
  await disk.write(path, [bytes, digest ?? (await sha256(bytes))]);
}

/** The bytes of a file that is whole, with their hash; undefined if it is missing, cut or altered. */
export async function readSealed(disk: Disk, path: string): Promise<{ bytes: Bytes; hash: string } | undefined> {
  const file = await disk.read(path);
  if (!file || file.length < SEAL_BYTES) return undefined;
  const bytes = file.subarray(0, -SEAL_BYTES);
  const hash = toHex(await sha256(bytes));
  return hash === toHex(file.subarray(-SEAL_BYTES)) ? { bytes, hash } : undefined;
}

export async function writeJson(disk: Disk, path: string, value: unknown): Promise<void> {
  await writeSealed(disk, path, new TextEncoder().encode(JSON.stringify(value)));
}

export async function readJson<T>(disk: Disk, path: string, parse: (text: string) => T | null): Promise<T | null> {
  const file = await readSealed(disk, path);
  return file ? parse(new TextDecoder().decode(file.bytes)) : null;
}

/** Only in dedicated workers, and not among TypeScript's types of pages. */
interface SyncAccessHandle {
  write(bytes: Uint8Array, options: { at: number }): number;
  truncate(length: number): void;
  close(): void;
}
type FileHandle = FileSystemFileHandle & { createSyncAccessHandle?: () => Promise<SyncAccessHandle> };

/** Files up to this size are replaced at once, so that a tab may write while another reads. */
const SMALL_BYTES = 64 << 10;

class OpfsDisk implements Disk {
  constructor(private readonly root: FileSystemDirectoryHandle) {}

  async write(path: string, parts: Bytes[]): Promise<void> {
    try {
      const { folder, name } = await this.parent(path, true);
      const handle: FileHandle = await folder!.getFileHandle(name, { create: true });
      const length = parts.reduce((sum, part) => sum + part.length, 0);
      const replaces = typeof handle.createWritable === "function";
      const sync = typeof handle.createSyncAccessHandle === "function" && (length > SMALL_BYTES || !replaces);
      const write = () => (sync ? writeInPlace(handle, parts) : replace(handle, parts));
      // Another tab that looks whether there is room takes it for a moment.
      await write().catch(async (thrown) => {
        if (!isQuota(thrown)) throw thrown;
        await new Promise((resolve) => setTimeout(resolve, 300));
        await write();
      });
    } catch (thrown) {
      await this.remove(path).catch(() => {});
      throw storageError(thrown, `writing ${path}`);
    }
  }

  async read(path: string, from = 0): Promise<Bytes | undefined> {
    try {
      const { folder, name } = await this.parent(path);
      const handle = await folder?.getFileHandle(name);
      // What another tab replaces in the midst of this is read again.
      return await withPatience("NotReadableError", async () => {
        const file = await handle?.getFile();
        return file && new Uint8Array(await (from ? file.slice(from) : file).arrayBuffer());
      });
    } catch (thrown) {
      if (isMissing(thrown)) return undefined;
      throw storageError(thrown, `reading ${path}`);
    }
  }

  async files(path: string): Promise<Map<string, number>> {
    const found = new Map<string, number>();
    for (const entry of await this.entries(path)) {
      const file = entry.kind === "file" && (await (entry as FileSystemFileHandle).getFile().catch(() => null));
      if (file) found.set(entry.name, file.size);
    }
    return found;
  }

  async folders(path: string): Promise<string[]> {
    return (await this.entries(path)).filter(({ kind }) => kind === "directory").map(({ name }) => name);
  }

  async remove(path: string): Promise<void> {
    try {
      const { folder, name } = await this.parent(path);
      await folder?.removeEntry(name, { recursive: true });
    } catch (thrown) {
      if (!isMissing(thrown)) throw storageError(thrown, `removing ${path}`);
    }
  }

  async hasRoom(bytes: number): Promise<boolean> {
    try {
      const handle = await this.root.getFileHandle("room", { create: true });
      const writable = await handle.createWritable();
      await writable.truncate(bytes);
      await writable.abort();
      return true;
    } catch (thrown) {
      return !isQuota(thrown);
    } finally {
      await this.remove("room").catch(() => {});
    }
  }

  private async entries(path: string): Promise<FileSystemHandle[]> {
    const { folder, name } = await this.parent(path);
    const found: FileSystemHandle[] = [];
    try {
      if (folder) for await (const entry of (await folder.getDirectoryHandle(name)).values()) found.push(entry);
      return found;
    } catch (thrown) {
      if (isMissing(thrown)) return [];
      throw storageError(thrown, `listing ${path}`);
    }
  }

  /** The folder of a path, if it is there, and the name in it. */
  private async parent(path: string, create = false) {
    const names = path.split("/");
    const name = names.pop()!;
    let folder: FileSystemDirectoryHandle | undefined = this.root;
    try {
      for (const step of names) folder = await folder.getDirectoryHandle(step, { create });
    } catch (thrown) {
      if (!isMissing(thrown)) throw thrown;
      folder = undefined;
    }
    return { folder, name };
  }
}

const isQuota = (thrown: unknown) => thrown instanceof Error && thrown.name === "QuotaExceededError";
const isMissing = (thrown: unknown) => thrown instanceof DOMException && thrown.name === "NotFoundError";

async function replace(handle: FileHandle, parts: Bytes[]): Promise<void> {
  const writable = await handle.createWritable();
  try {
    for (const part of parts) await writable.write(part);
    await writable.close();
  } catch (thrown) {
    await writable.abort().catch(() => {});
    throw thrown;
  }
}

/** Nothing waits for the disk itself: what a power cut leaves out is found by its hash. */
async function writeInPlace(handle: FileHandle, parts: Bytes[]): Promise<void> {
  // A tab that was just killed holds its files for a moment longer.
  const access = await withPatience("NoModificationAllowedError", () => handle.createSyncAccessHandle!());
  try {
    access.truncate(0);
    let at = 0;
    for (const part of parts) {
      const written = access.write(part, { at });
      if (written !== part.length) throw new DOMException(`${written} of ${part.length} bytes`, "QuotaExceededError");
      at += written;
    }
  } finally {
    access.close();
  }
}

/** Tries again, for some two seconds, while what is thrown has this name. */
async function withPatience<T>(name: string, work: () => Promise<T>): Promise<T> {
  for (let waits = 0; ; waits++) {
    try {
      return await work();
    } catch (thrown) {
      if (!(thrown instanceof DOMException && thrown.name === name) || waits === 20) throw thrown;
      await new Promise((resolve) => setTimeout(resolve, Math.min(10 * 2 ** waits, 100)));
    }
  }
}

const LENGTH_HEADER = "x-aloud-bytes";

/** Files are responses at URLs that no server is asked for. */
class CacheDisk implements Disk {
  private readonly prefix = new URL(`/${ROOT}/`, globalThis.location.origin).href;

  constructor(private readonly cache: Cache) {}

  async write(path: string, parts: Bytes[]): Promise<void> {
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    try {
      const response = new Response(new Blob(parts), { headers: { [LENGTH_HEADER]: String(length) } });
      await this.cache.put(this.prefix + path, response);
    } catch (thrown) {
      throw storageError(thrown, `writing ${path}`);
    }
  }

  async read(path: string, from = 0): Promise<Bytes | undefined> {
    try {
      const blob = await (await this.cache.match(this.prefix + path))?.blob();
      return blob && new Uint8Array(await (from ? blob.slice(from) : blob).arrayBuffer());
    } catch (thrown) {
      throw storageError(thrown, `reading ${path}`);
    }
  }

  async files(folder: string): Promise<Map<string, number>> {
    const found = new Map<string, number>();
    for (const name of (await this.below(folder)).filter((name) => !name.includes("/"))) {
      const response = await this.cache.match(`${this.prefix}${folder}/${name}`);
      if (response) found.set(name, Number(response.headers.get(LENGTH_HEADER)));
    }
    return found;
  }

  async folders(folder: string): Promise<string[]> {
    const names = await this.below(folder);
    return [...new Set(names.filter((name) => name.includes("/")).map((name) => name.split("/")[0]!))];
  }

  async remove(path: string): Promise<void> {
    await this.cache.delete(this.prefix + path);
    for (const name of await this.below(path)) await this.cache.delete(`${this.prefix}${path}/${name}`);
  }

  async hasRoom(): Promise<boolean> {
    return true; // Nothing tells before it is written.
  }

  private async below(folder: string): Promise<string[]> {
    const start = `${this.prefix}${folder}/`;
    const urls = (await this.cache.keys()).map((request) => request.url);
    return urls.filter((url) => url.startsWith(start)).map((url) => url.slice(start.length));
  }
}
