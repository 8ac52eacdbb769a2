/**
 * One opened model: which chunk is fetched next, by which tab. The tab that holds the model's write lock downloads, in
 * file order, what readers wait for first; the others read what it stored, and take over when it ends.
 */

import { AloudError, toAloudError } from "../errors.ts";
import type { Disk } from "./disk.ts";
import type { ChunkCache, Fetcher, StoredFile } from "./file.ts";
import { parseFileRecord, ROOT } from "./layout.ts";
import { readJson } from "./disk.ts";
import type { ProgressReporter } from "./progress.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type Message = { type: "stored" | "want"; folder: string; n: number };

/** Connections beyond the usual ones, for chunks that a reader waits for, here or in another tab. */
const URGENT_CONNECTIONS = 2;
/** Without a disk: chunks that are fetched before they are asked for. */
const AHEAD_CHUNKS = 3;

interface Task {
  file: StoredFile;
  n: number;
  /** Bytes that came so far. */
  loaded: number;
}

export class Session implements Fetcher {
  readonly files: StoredFile[] = [];
  private readonly controller = new AbortController();
  private readonly waiters = new Map<string, Task & PromiseWithResolvers<Bytes | undefined>>();
  private readonly active = new Map<string, Task>();
  /** What other tabs wait for. */
  private readonly orders: Task[] = [];
  /** Without a disk: what a reader will want next. */
  private ahead: Task[] = [];
  /** Files whose whole hash is under way; true if there is more to look at. */
  private readonly finishing = new Map<StoredFile, boolean>();
  private readonly running = new Set<Promise<void>>();
  private readonly whole = Promise.withResolvers<void>();
  private readonly channel: BroadcastChannel | null;
  private leadership: Promise<void> | undefined;
  private idle: PromiseWithResolvers<void> | undefined;
  private leading = false;
  private started = false;
  private failure: AloudError | undefined;
  private verifiedBytes = 0;
  private fetched = false;

  constructor(
    private readonly key: string,
    private readonly disk: Disk | null,
    private readonly connections: number,
    private readonly cache: ChunkCache,
    private readonly progress: ProgressReporter,
    private readonly caller: AbortSignal | undefined,
  ) {
    this.channel = disk && new BroadcastChannel(`${ROOT} ${key}`);
    if (this.channel) this.channel.onmessage = ({ data }: MessageEvent<Message>) => this.hear(data);
    this.whole.promise.catch(() => {});
    caller?.addEventListener("abort", this.abort);
    if (caller?.aborted) this.abort();
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  private readonly abort = () =>
    this.fail(new AloudError("aborted", "aborted by the caller", { cause: this.caller?.reason }));

  throwIfFailed(): void {
    if (this.failure) throw this.failure;
  }

  /** Why the session ended, or else what was thrown. */
  reasonFor(thrown: unknown): AloudError {
    return this.failure ?? toAloudError(thrown);
  }

  /** Begins with what no reader asked for yet. All files are known by now. */
  start(): void {
    this.started = true;
    this.report();
    if (this.needsLead()) this.lead();
    this.settle();
  }

  /** Until every file is on the disk and checked as a whole. */
  complete(): Promise<void> {
    return this.whole.promise;
  }

  want(file: StoredFile, n: number): Promise<Bytes | undefined> {
    if (this.failure) return Promise.reject(this.failure);
    const key = keyOf(file, n);
    let waiter = this.waiters.get(key);
    if (!waiter) {
      waiter = { file, n, loaded: 0, ...Promise.withResolvers<Bytes | undefined>() };
      this.waiters.set(key, waiter);
      if (this.disk && !this.leading) this.say("want", file, n);
      this.lead();
    }
    return waiter.promise;
  }

  reading(file: StoredFile, n: number): void {
    if (this.disk) return;
    this.ahead = [];
    for (let next = n + 1; next <= n + AHEAD_CHUNKS && next < file.count; next++) {
      if (!file.isCached(next)) this.ahead.push({ file, n: next, loaded: 0 });
    }
    this.pump();
  }

  verified(bytes: number): void {
    this.verifiedBytes += bytes;
    this.report();
  }

  /** Stops downloads; what came is written to its end. */
  async close(): Promise<void> {
    this.fail(new AloudError("disposed", "the model was closed"));
    await Promise.allSettled([...this.running, this.leadership]);
    this.channel?.close();
    this.cache.clear();
  }

  fail(error: AloudError): void {
    if (this.failure) return;
    this.failure = error;
    this.caller?.removeEventListener("abort", this.abort);
    this.controller.abort();
    for (const waiter of this.waiters.values()) waiter.reject(error);
    this.waiters.clear();
    this.whole.reject(error);
    this.idle?.resolve();
    this.progress.stop();
  }

  /** Becomes the tab that downloads, as soon as no other one is. */
  private lead(): void {
    if (!this.disk) this.leading = true;
    if (!this.disk || this.leadership) return this.pump();
    const name = `${ROOT} write ${this.key}`;
    const request = navigator.locks.request(name, { signal: this.signal }, async () => {
      await this.catchUp();
      this.idle = Promise.withResolvers();
      this.leading = true;
      for (const file of this.files) this.finish(file);
      this.pump();
      if (!this.failure) await this.idle.promise;
      await Promise.allSettled(this.running);
    });
    this.leadership = request
      .catch((thrown) => this.fail(toAloudError(thrown)))
      .finally(() => {
        this.leading = false;
        this.leadership = undefined;
        if (!this.failure && this.needsLead()) this.lead();
      });
  }

  private needsLead(): boolean {
    const isUnfinished = (file: StoredFile) => !file.isWhole() || !file.sealed;
    return this.waiters.size > 0 || (this.disk !== null && this.started && this.files.some(isUnfinished));
  }

  /** Looks what other tabs stored. */
  private async catchUp(): Promise<void> {
    for (const file of this.files) {
      const record = file.sealed ? null : await readJson(this.disk!, `${file.folder}/record`, parseFileRecord);
      await file.rescan(record);
    }
    for (const [key, { file, n }] of this.waiters) if (file.stored[n]) this.deliver(key, undefined);
    this.report();
    this.settle();
  }

  private pump(): void {
    while (this.leading && !this.failure) {
      const task = this.nextTask();
      if (!task) break;
      this.track(this.run(task));
    }
    const isBusy = this.active.size > 0 || this.finishing.size > 0;
    if (this.leading && !isBusy && !this.needsLead()) this.idle?.resolve();
  }

  private nextTask(): Task | undefined {
    const isOpen = ({ file, n }: Task) => !file.stored[n] && !this.active.has(keyOf(file, n));
    if (this.active.size < this.connections + URGENT_CONNECTIONS) {
      for (const waiter of this.waiters.values()) if (isOpen(waiter)) return waiter;
      for (let order = this.orders.shift(); order; order = this.orders.shift()) if (isOpen(order)) return order;
    }
    if (this.active.size >= this.connections) return undefined;
    for (let next = this.ahead.shift(); next; next = this.ahead.shift()) if (isOpen(next)) return next;
    if (!this.disk || !this.started) return undefined;
    for (const file of this.files) {
      for (let n = 0; n < file.count; n++) if (isOpen({ file, n, loaded: 0 })) return { file, n, loaded: 0 };
    }
    return undefined;
  }

  private async run({ file, n }: Task): Promise<void> {
    const key = keyOf(file, n);
    const task = { file, n, loaded: 0 };
    this.active.set(key, task);
    this.fetched = true;
    try {
      const { first, length } = file.range(n);
      const bytes = await file.remote.fetchRange(first, length, this.signal, (count) => {
        task.loaded += count;
        this.report();
      });
      await file.accept(n, bytes, () => this.deliver(key, bytes));
      this.say("stored", file, n);
    } catch (thrown) {
      this.fail(toAloudError(thrown));
    }
    this.active.delete(key);
    this.deliver(key, undefined); // Who came after the first delivery reads it from the disk.
    if (this.disk) this.finish(file);
    this.report();
    this.pump();
  }

  /** Goes on with the whole file's hash, and seals the file when it is done. */
  private finish(file: StoredFile): void {
    if (file.sealed || this.failure || !this.leading) return;
    const isRunning = this.finishing.has(file);
    this.finishing.set(file, isRunning);
    if (!isRunning) this.track(this.hashAndSeal(file));
  }

  private async hashAndSeal(file: StoredFile): Promise<void> {
    try {
      do {
        this.finishing.set(file, false);
        if ((await file.advance(this.signal)) && !file.sealed) await file.seal();
      } while (this.finishing.get(file) && !this.failure);
    } catch (thrown) {
      this.fail(toAloudError(thrown));
    }
    this.finishing.delete(file);
    this.settle();
    this.pump();
  }

  private settle(): void {
    if (this.started && (!this.disk || !this.needsLead())) this.whole.resolve();
  }

  private deliver(key: string, bytes: Bytes | undefined): void {
    this.waiters.get(key)?.resolve(bytes);
    this.waiters.delete(key);
  }

  private track(work: Promise<void>): void {
    this.running.add(work);
    void work.finally(() => this.running.delete(work));
  }

  private say(type: Message["type"], file: StoredFile, n: number): void {
    if (this.disk && !this.failure) this.channel?.postMessage({ type, folder: file.folder, n } satisfies Message);
  }

  private hear({ type, folder, n }: Message): void {
    const file = this.files.find((file) => file.folder === folder);
    if (!file || this.failure || !(n < file.count)) return;
    if (type === "stored") {
      file.stored[n] = 1;
      this.deliver(keyOf(file, n), undefined);
      this.report();
    } else if (this.leading) {
      this.orders.push({ file, n, loaded: 0 });
      this.pump();
    }
  }

  private report(): void {
    if (!this.started || this.failure) return;
    const total = this.files.reduce((sum, file) => sum + file.size, 0);
    const coming = [...this.active.values()].reduce((sum, { file, n, loaded }) => sum + (file.has(n) ? 0 : loaded), 0);
    const stored = this.disk ? this.files.reduce((sum, file) => sum + file.storedBytes(), 0) : this.verifiedBytes;
    const isVerifying = stored === total && (!this.fetched || this.verifiedBytes < total);
    if (isVerifying) this.progress.update("verify", this.verifiedBytes, total);
    else this.progress.update("download", Math.min(stored + coming, total), total);
  }
}

const keyOf = (file: StoredFile, n: number): string => `${n} ${file.remote.url}`;
