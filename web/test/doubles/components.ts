/** The components and the scripted engine, for pages under test. */
import { MarkdownStream } from "../../src/components/markdown/stream.ts";
import * as components from "../../src/components/index.ts";
import { AloudError } from "../../src/errors.ts";
import { ScriptedEngine } from "./engine.ts";

Object.assign(globalThis, { components, AloudError, MarkdownStream, ScriptedEngine });
