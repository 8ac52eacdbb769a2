/** The components; importing this module makes their elements known to the page. */
import { AloudChat } from "./aloud-chat.ts";
import { AloudComposer } from "./aloud-composer.ts";
import { AloudMarkdown } from "./aloud-markdown.ts";
import { AloudProgress } from "./aloud-progress.ts";
import { AloudThought } from "./aloud-thought.ts";
import { AloudTurn } from "./aloud-turn.ts";

export type { Suggestion } from "./aloud-chat.ts";
export type { Turn, TurnState } from "./conversation.ts";
export { AloudChat, AloudMarkdown, AloudProgress, AloudThought };

const ELEMENTS = {
  "aloud-chat": AloudChat,
  "aloud-composer": AloudComposer,
  "aloud-markdown": AloudMarkdown,
  "aloud-progress": AloudProgress,
  "aloud-thought": AloudThought,
  "aloud-turn": AloudTurn,
};

for (const [name, element] of Object.entries(ELEMENTS)) {
  if (!customElements.get(name)) customElements.define(name, element);
}

declare global {
  interface HTMLElementTagNameMap {
    "aloud-chat": AloudChat;
    "aloud-composer": AloudComposer;
    "aloud-markdown": AloudMarkdown;
    "aloud-progress": AloudProgress;
    "aloud-thought": AloudThought;
    "aloud-turn": AloudTurn;
  }
}
