/** A file from disk that the user picked: nothing is downloaded or kept. */

import { AloudError } from "../errors.ts";
import type { ByteSource } from "./file.ts";

export class BlobSource implements ByteSource {
  private constructor(
    readonly name: string,
    private readonly blob: Blob,
    private readonly check: () => void,
  ) {}

  /** `check` is called before every read, and throws when there shall be no more. */
  static async open(from: Blob | FileSystemFileHandle, check: () => void): Promise<BlobSource> {
    if (from instanceof Blob) return new BlobSource(from instanceof File ? from.name : "file", from, check);
    try {
      return new BlobSource(from.name, await from.getFile(), check);
    } catch (cause) {
      throw unreadable(from.name, cause);
    }
  }

  get size(): number {
    return this.blob.size;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    this.check();
    if (!(offset >= 0 && length >= 0 && offset + length <= this.size)) {
      const found = `found ${length} bytes from ${offset} on`;
      throw new AloudError("invalid-request", `\`${this.name}\`: expected a range in its ${this.size} bytes, ${found}`);
    }
    try {
      const bytes = new Uint8Array(await this.blob.slice(offset, offset + length).arrayBuffer());
      this.check();
      return bytes;
    } catch (cause) {
      if (cause instanceof AloudError) throw cause;
      throw unreadable(this.name, cause);
    }
  }
}

function unreadable(name: string, cause: unknown): AloudError {
  const message = `the file cannot be read (${cause}); it was moved or changed since it was picked; pick it again`;
  return new AloudError("storage", `\`${name}\`: ${message}`, { cause });
}
