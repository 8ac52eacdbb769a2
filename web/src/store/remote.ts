/** A file behind a URL, read by HTTP ranges. */

import { AloudError, throwIfAborted } from "../errors.ts";
import type { Identity } from "./layout.ts";
import { Passing, retrying, type RetryOptions } from "./retry.ts";
import { parsePointer, pointerUrl } from "./resolve.ts";

export interface RemoteOptions extends RetryOptions {
  /** Without a byte for this long, a request is given up and made again. */
  stallMs: number;
}

/** From this size on, the hub keeps every file as a large one, with a pointer; weights it always does. */
const LARGE_BYTES = 10e6;

/** `Content-Range: bytes 0-99/320`, with null for `*`; null if it is none (RFC 9110, section 14.4). */
export function parseContentRange(text: string | null): { first: number; last: number; total: number | null } | null {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/.exec(text?.trim() ?? "");
  if (!match) return null;
  return { first: Number(match[1]), last: Number(match[2]), total: match[3] === "*" ? null : Number(match[3]) };
}

export class RemoteFile {
  identity: Identity = { size: 0, etag: null, lastModified: null };
  /** Where the last redirect led to. */
  private direct: string | null = null;
  /** What the server said of the file's hash: `X-Linked-ETag`, and `ETag` if it was not another server's. */
  private linked: { etag: string | null; ownEtag: string | null } = { etag: null, ownEtag: null };

  constructor(
    readonly url: string,
    private readonly options: RemoteOptions,
  ) {}

  /** Asks what the file is. Null if there is none (404). */
  connect(signal: AbortSignal, options: RemoteOptions = this.options): Promise<Identity | null> {
    return retrying(options, signal, async () => {
      const watch = new StallWatch(signal, options.stallMs);
      try {
        const response = await this.request("bytes=0-0", watch);
        discard(response);
        if (response.status === 404) return null;
        const tags = tagsOf(response);
        this.linked = { etag: response.headers.get("x-linked-etag"), ownEtag: response.redirected ? null : tags.etag };
        return (this.identity = { size: await this.sizeOf(response, watch), ...tags });
      } finally {
        watch.end();
      }
    });
  }

  /**
   * The SHA-256 of the whole file, if the hub tells it. `hub` is its origin. It is the hub's own ETag; that of the
   * server to which it redirects is another hash, of 64 hex digits too, so then the pointer is asked for.
   */
  async wholeHash(signal: AbortSignal, hub: string | undefined): Promise<string | null> {
    const url = pointerUrl(this.url, hub);
    const told = parseHashTag(this.linked.etag) ?? (url && parseHashTag(this.linked.ownEtag));
    const isLarge = /\.(gguf|safetensors)$/.test(url ?? "") || this.identity.size >= LARGE_BYTES;
    if (told || !url || !isLarge) return told;
    const watch = new StallWatch(signal, this.options.stallMs);
    try {
      const response = await fetch(url, { headers: { range: "bytes=0-1023" }, signal: watch.signal });
      const isSmall = Number(response.headers.get("content-length") ?? 1025) <= 1024;
      if (!response.ok || !isSmall) discard(response);
      const pointer = response.ok && isSmall ? parsePointer(await response.text()) : null;
      return pointer?.size === this.identity.size ? pointer.sha256 : null;
    } catch {
      throwIfAborted(signal);
      return null; // The file can be had without.
    } finally {
      watch.end();
    }
  }

  /** The bytes of a range. `onBytes` hears how many came. What came before a lost connection is not asked for again. */
  async fetchRange(first: number, length: number, signal: AbortSignal, onBytes: (count: number) => void) {
    const bytes = new Uint8Array(length);
    let filled = 0;
    const take = (piece: Uint8Array) => {
      bytes.set(piece, filled);
      filled += piece.length;
      onBytes(piece.length);
    };
    const attempt = () => this.stream(first + filled, length - filled, signal, take);
    await retrying(this.options, signal, attempt, () => filled);
    return bytes;
  }

  private async stream(first: number, length: number, signal: AbortSignal, take: (piece: Uint8Array) => void) {
    const watch = new StallWatch(signal, this.options.stallMs);
    try {
      const response = await this.request(`bytes=${first}-${first + length - 1}`, watch);
      this.check(response, first, length);
      const reader = response.body!.getReader();
      let got = 0;
      for (;;) {
        const value = await reader.read().then(
          ({ value }) => value,
          () => undefined,
        ); // A lost connection is an end.
        watch.throwIfEnded();
        if (!value) break;
        watch.touch();
        if (got + value.length > length) throw this.otherBytes(`more than ${length} bytes`);
        take(value);
        got += value.length;
      }
      if (got < length) {
        const found = `expected ${length} bytes from ${first} on, the server ended after ${got}; try again`;
        throw new Passing(new AloudError("truncated", `\`${this.url}\`: ${found}`));
      }
    } finally {
      watch.end(); // Also ends a body that is not read to its end.
    }
  }

  private async request(range: string, watch: StallWatch, method = "GET"): Promise<Response> {
    for (;;) {
      const url = this.direct ?? this.url;
      const headers: HeadersInit = method === "GET" ? { range } : {};
      let response;
      try {
        response = await fetch(url, { method, headers, cache: "no-store", signal: watch.signal });
      } catch (cause) {
        watch.throwIfEnded();
        if (this.forget(url)) continue;
        const message = `\`${this.url}\`: the server was not reached, or does not let pages of this origin read (CORS)`;
        throw new Passing(
          new AloudError("network", `${message}; look at the connection, or use another server`, { cause }),
        );
      }
      watch.touch();
      // Signed URLs expire; the original one leads to a new one.
      if ([401, 403, 404, 410].includes(response.status) && this.forget(url)) {
        discard(response);
        continue;
      }
      if (response.redirected) this.direct = response.url;
      return response;
    }
  }

  /** Forgets where a redirect led to; false if this is the original URL. */
  private forget(url: string): boolean {
    if (url === this.url) return false;
    if (this.direct === url) this.direct = null;
    return true;
  }

  private async sizeOf(response: Response, watch: StallWatch): Promise<number> {
    const text = response.headers.get("content-range");
    if (response.status === 416 && text === "bytes */0") return 0;
    if (response.status !== 206) throw this.refusal(response);
    const total = parseContentRange(text)?.total;
    if (typeof total === "number") return total;
    // Another origin's header, unless its server shows it to pages; the length it always does.
    const head = await this.request("", watch, "HEAD");
    const length = head.ok ? head.headers.get("content-length") : null;
    if (length !== null && /^\d{1,15}$/.test(length)) return Number(length);
    const wayOut = "have it send `Access-Control-Expose-Headers: Content-Range, ETag`";
    throw new AloudError("no-range", `\`${this.url}\`: the server does not tell the file's length; ${wayOut}`);
  }

  /** Refuses an answer that is not a part of the file that was begun. */
  private check(response: Response, first: number, length: number): void {
    const range = parseContentRange(response.headers.get("content-range"));
    const { etag, lastModified } = tagsOf(response);
    const known = this.identity;
    const isOther = (mine: string | null, found: string | null) => mine !== null && found !== null && mine !== found;
    const changed =
      isOther(known.etag, etag) ||
      (known.etag === null && isOther(known.lastModified, lastModified)) ||
      (range !== null && range.total !== null && range.total !== known.size);
    const isPart = response.status === 206 || response.status === 416 || response.status === 200;
    if (isPart && (changed || response.status === 416)) {
      throw new AloudError(
        "changed",
        `\`${this.url}\`: the file on the server is not the one that was begun; load it again`,
      );
    }
    if (response.status !== 206) throw this.refusal(response);
    if (range && (range.first !== first || range.last >= first + length)) {
      throw this.otherBytes(`bytes ${range.first} to ${range.last}`);
    }
    const sent = response.headers.get("content-length");
    if (!range && sent !== null && Number(sent) > length) throw this.otherBytes(`${sent} bytes`);
  }

  private otherBytes(found: string): AloudError {
    return new AloudError(
      "no-range",
      `\`${this.url}\`: the server sent ${found} for another range; use another server`,
    );
  }

  private refusal({ status, headers }: Response): AloudError | Passing {
    if (status === 200) {
      const found = "the server does not know ranges (expected status 206, found 200)";
      return new AloudError("no-range", `\`${this.url}\`: ${found}; use one that does, or open the file from disk`);
    }
    const wayOut = status === 401 || status === 403 ? "the file is not public" : "look at the URL, or try later";
    const error = new AloudError("http-status", `\`${this.url}\`: expected status 206, found ${status}; ${wayOut}`);
    if (status !== 408 && status !== 429 && status < 500) return error;
    return new Passing(error, 1000 * (Number(headers.get("retry-after")) || 0));
  }
}

/** No tag if the server hides it from pages of other origins. Weak and strong ones of a file are taken for the same. */
function tagsOf(response: Response): Omit<Identity, "size"> {
  const etag = response.headers.get("etag")?.replace(/^W\//, "") ?? null;
  return { etag, lastModified: response.headers.get("last-modified") };
}

/** The SHA-256 in a tag of the hub. */
export function parseHashTag(tag: string | null): string | null {
  return /^(?:W\/)?"?([0-9a-f]{64})"?$/.exec(tag ?? "")?.[1] ?? null;
}

/** Ends a response whose body nobody reads. */
function discard(response: Response): void {
  response.body?.cancel().catch(() => {});
}

/** Aborts a request with the caller, or when nothing comes any more. */
class StallWatch {
  private readonly controller = new AbortController();
  private stalled = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly abort = () => this.controller.abort();

  constructor(
    private readonly caller: AbortSignal,
    private readonly stallMs: number,
  ) {
    caller.addEventListener("abort", this.abort);
    if (caller.aborted) this.abort();
    this.touch();
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  touch(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.stalled = true;
      this.abort();
    }, this.stallMs);
  }

  throwIfEnded(): void {
    throwIfAborted(this.caller);
    if (!this.stalled) return;
    const message = `the server sent nothing for ${this.stallMs / 1000} s; look at the connection and try again`;
    throw new Passing(new AloudError("network", message));
  }

  end(): void {
    clearTimeout(this.timer);
    this.caller.removeEventListener("abort", this.abort);
    this.abort();
  }
}
