import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'

/** What one user of one client process did and saw, in the order in which it happened. One JSON object a line. */
export type HistoryEntry = { readonly at: number; readonly user: string; readonly room: string } & (
  | { readonly what: 'send'; readonly id: string; readonly text: string }
  /** A message that was acked before is sent again under its id. */
  | { readonly what: 'repeat'; readonly id: string }
  | { readonly what: 'ack'; readonly id: string; readonly seq: number; readonly messageId: string; readonly timestamp: number; readonly repeated: boolean }
  | SawEntry
  /** The message will never be acked. */
  | { readonly what: 'failed'; readonly id: string; readonly code: string }
  /** What the protocol forbids. */
  | { readonly what: 'anomaly'; readonly text: string }
)

type SawEntry = {
  readonly what: 'saw'
  readonly seq: number
  /** As in the log: `messageSent`, `roomOpened`, … */
  readonly type: string
  readonly timestamp: number
  readonly message?: { readonly id: string; readonly messageId: string; readonly senderId: string; readonly text: string | null }
}

export async function readHistory(files: readonly string[]): Promise<HistoryEntry[]> {
  const entries: HistoryEntry[] = []
  for (const file of files) {
    for await (const line of createInterface({ input: createReadStream(file) })) entries.push(JSON.parse(line) as HistoryEntry)
  }
  return entries
}
