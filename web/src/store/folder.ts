/** A model in a folder as Hugging Face has it: small files by name, and weights in one file or in shards. */

import { AloudError } from "../errors.ts";
import type { StoredFile } from "./file.ts";
import { nameOf, type RemoteModel } from "./open.ts";

const REQUIRED = ["config.json", "tokenizer.json"];
const OPTIONAL = ["tokenizer_config.json", "chat_template.jinja", "generation_config.json"];
const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

export async function openFolder(model: RemoteModel, folder: string) {
  const small = new Map<string, Uint8Array>();
  const read = async (name: string) => {
    const file = await model.file(new URL(name, folder).href);
    if (file) small.set(name, await file.read(0, file.size));
    else if (REQUIRED.includes(name)) throw missing(folder, name);
  };
  // The first failure ends the others: it closes the model.
  const [single] = await Promise.all([
    model.file(new URL(SINGLE, folder).href),
    ...[...REQUIRED, ...OPTIONAL].map(read),
  ]);
  const files = single ? [single] : await openShards(model, folder, () => read(INDEX), small);
  return { name: modelName(folder), files, small };
}

async function openShards(
  model: RemoteModel,
  folder: string,
  readIndex: () => Promise<void>,
  small: Map<string, Uint8Array>,
): Promise<StoredFile[]> {
  await readIndex();
  const index = small.get(INDEX);
  if (!index) throw missing(folder, SINGLE);
  const files: StoredFile[] = [];
  for (const name of shardNames(new TextDecoder().decode(index), folder)) {
    const file = await model.file(new URL(name, folder).href);
    if (!file) throw missing(folder, name);
    files.push(file);
  }
  return files;
}

/** The names of the weight files that an index lists, in order. */
export function shardNames(text: string, folder: string): string[] {
  let names: unknown[] = [];
  try {
    names = Object.values(JSON.parse(text)?.weight_map ?? {});
  } catch {
    // Told below.
  }
  const isName = (name: unknown): name is string =>
    typeof name === "string" && /^[\w-][\w.-]*\.safetensors$/.test(name);
  if (names.length > 0 && names.every(isName)) return [...new Set(names)].sort();
  const expected = "expected `weight_map` with names of safetensors files";
  throw new AloudError("not-a-model", `\`${folder}${INDEX}\`: ${expected}; look at the folder`);
}

function missing(folder: string, name: string): AloudError {
  const wayOut = `give the URL of a folder with ${[...REQUIRED, SINGLE].join(", ")}`;
  const message = `there is no such file (status 404); ${wayOut}`;
  return new AloudError("http-status", `\`${new URL(name, folder).href}\`: ${message}`);
}

/** The repository's name on a hub, or else the folder's. */
function modelName(folder: string): string {
  const [, repo] = /^\/[^/]+\/([^/]+)\/resolve\//.exec(new URL(folder).pathname) ?? [];
  return repo ?? nameOf(folder);
}
