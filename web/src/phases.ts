/** One way through loading, of works that overlap. */
import type { Phase, Progress } from "./types.ts";

const ORDER: Phase[] = ["connect", "download", "verify", "upload", "compile", "ready"];

/**
 * Tells progress so that phases never go back: bytes are uploaded while they come, so uploading is told once all of them
 * are there. `onPhase` hears of each phase once, before it is told.
 */
export function inOrder(tell: (progress: Progress) => void, onPhase: (phase: Phase) => unknown): (progress: Progress) => void {
  let reached = -1;
  let isComing = false;
  return (progress) => {
    const { phase, loaded, total } = progress;
    const rank = ORDER.indexOf(phase);
    if (phase === "download" || phase === "verify") isComing = loaded < total;
    if (rank < reached || (phase === "upload" && isComing)) return;
    if (rank > reached) onPhase(phase);
    reached = rank;
    tell(progress);
  };
}
