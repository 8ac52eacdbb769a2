/** A model of ours where a page expects Chrome's `LanguageModel`. */
import { languageModel } from "aloud/prompt-api";

export async function converse(model: string, first: string, second: string) {
  const LanguageModel = languageModel({ model, contextLength: 1024, reasoning: { budget_tokens: 300 } });
  const before = await LanguageModel.availability();
  const loaded: number[] = [];
  const session = await LanguageModel.create({
    monitor: (monitor) => monitor.addEventListener("downloadprogress", (e) => loaded.push((e as ProgressEvent).loaded)),
  });
  const branch = await session.clone();
  let streamed = "";
  const reader = session.promptStreaming(first).getReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) streamed += read.value;
  const next = await session.prompt(second);
  const branched = await branch.prompt(second);
  session.destroy();
  const refused = await session.prompt(second).catch((error: DOMException) => error.name);
  return { before, after: await LanguageModel.availability(), loaded, streamed, next, branched, refused };
}
