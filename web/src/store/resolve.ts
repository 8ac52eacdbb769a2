/** What a caller means by a model: which URLs, or which files from disk. */

import { AloudError } from "../errors.ts";
import type { ModelSource } from "../types.ts";

export const HUB = "https://huggingface.co";

export type Part = string | Blob | FileSystemFileHandle;

/** A folder by its URL, or GGUF files in order. `source` is its name for `listModels` and `deleteModel`; "" if none. */
export type Resolved =
  | { kind: "folder"; source: string; url: string }
  | { kind: "gguf"; source: string; parts: Part[] };

export interface ResolveOptions {
  /** The origin that `hf:` means. */
  hub?: string;
  /** What relative URLs are relative to. */
  base?: string;
}

/** Names of an array's URLs are separated by this. */
const SEPARATOR = "\n";

export function resolveSource(model: ModelSource, options: ResolveOptions = {}): Resolved {
  if (typeof model === "string" && model.includes(SEPARATOR)) return resolveSource(model.split(SEPARATOR), options);
  if (!Array.isArray(model)) {
    const one = partOf(model, options);
    if (typeof one !== "string") return { kind: "gguf", source: "", parts: [one] };
    if (new URL(one).pathname.endsWith("/")) return { kind: "folder", source: one, url: one };
    const parts = splitSiblings(one);
    return { kind: "gguf", source: parts[0]!, parts };
  }
  const parts = model.map((part) => partOf(part, options));
  if (parts.length === 0)
    throw new AloudError("invalid-request", "model: expected one file or more, found an empty array");
  if (parts.length === 1) return resolveSource(parts[0]!, options);
  const urls = parts.filter((part) => typeof part === "string");
  const folder = urls.find((url) => new URL(url).pathname.endsWith("/"));
  if (folder) throw new AloudError("invalid-request", `model: \`${folder}\` is a folder; give it alone`);
  return { kind: "gguf", source: urls.join(SEPARATOR), parts };
}

function partOf(part: unknown, options: ResolveOptions): Part {
  if (typeof part === "string")
    return part.startsWith("hf:") ? hubUrl(part, options.hub ?? HUB) : absolute(part, options.base);
  if (part instanceof URL) return absolute(part.href, options.base);
  if (part instanceof Blob) return part;
  if (typeof FileSystemFileHandle !== "undefined" && part instanceof FileSystemFileHandle) return part;
  const expected = "a URL, `hf:org/repo/file.gguf`, a File, a Blob or a FileSystemFileHandle";
  throw new AloudError("invalid-request", `model: expected ${expected}, found: ${typeof part}`);
}

function absolute(text: string, base: string | undefined): string {
  const url = URL.parse(text, base);
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new AloudError(
      "invalid-request",
      `model: expected a URL that begins with http: or https:, found \`${text}\``,
    );
  }
  url.hash = "";
  return url.href;
}

/** `hf:org/repo[@revision][/path]`, with a folder's path ending with `/` or empty. A `/` in a revision is `%2F`. */
function hubUrl(text: string, hub: string): string {
  const match = /^hf:([\w.-]+)\/([\w.-]+)(?:@([^/]+))?(?:\/(.*))?$/.exec(text);
  const path = match?.[4]?.split("/") ?? [""];
  if (!match || path.some((step, i) => step === "." || step === ".." || (step === "" && i < path.length - 1))) {
    throw new AloudError(
      "invalid-request",
      `model: expected \`hf:org/repo/file.gguf\` or \`hf:org/repo/\`, found \`${text}\``,
    );
  }
  const [, org, repo, revision = "main"] = match;
  return `${new URL(hub).origin}/${org}/${repo}/resolve/${encoded(revision)}/${path.map(encoded).join("/")}`;
}

/** Percent-encoded once, whether or not it was before. */
function encoded(step: string): string {
  try {
    return encodeURIComponent(decodeURIComponent(step));
  } catch {
    return encodeURIComponent(step);
  }
}

/** All parts of `…-00002-of-00003.gguf`, in order; a file that is not split alone. */
function splitSiblings(href: string): string[] {
  const url = new URL(href);
  const match = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/.exec(url.pathname);
  const [count, nth] = [Number(match?.[3]), Number(match?.[2])];
  if (!match || nth < 1 || nth > count) return [href];
  return Array.from({ length: count }, (_, i) => {
    url.pathname = `${match[1]}-${String(i + 1).padStart(5, "0")}-of-${match[3]}.gguf`;
    return url.href;
  });
}

/** Where the hub tells a large file's SHA-256 and length, if this is a file of the hub. */
export function pointerUrl(href: string, hub: string = HUB): string | null {
  const url = new URL(href);
  const match = /^(\/[^/]+\/[^/]+)\/resolve(\/[^/]+\/.+)$/.exec(url.pathname);
  return match && url.origin === new URL(hub).origin ? `${url.origin}${match[1]}/raw${match[2]}` : null;
}

/** The SHA-256 and length that a Git LFS pointer tells, or null if this is none. */
export function parsePointer(text: string): { sha256: string; size: number } | null {
  const [, sha256] = /^oid sha256:([0-9a-f]{64})$/m.exec(text) ?? [];
  const [, size] = /^size (\d{1,15})$/m.exec(text) ?? [];
  return text.startsWith("version https://git-lfs.github.com/") && sha256 && size
    ? { sha256, size: Number(size) }
    : null;
}
