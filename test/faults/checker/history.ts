import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'

/** What one user of one client process did and saw, in the order in which it happened. One JSON object a line. */
export type HistoryEntry = { readonly at: number; readonly user: string; readonly room: string } & (
  | { readonly what: 'send'; readonly id: string; readonly text: string }
  /** Anything but a message is asked for: an edit, a deletion, a reaction, a mark. */
  | { readonly what: 'change'; readonly id: string; readonly type: string }
  /** A message that was acked before is sent again under its id. */
  | { readonly what: 'repeat'; readonly id: string }
  | { readonly what: 'ack'; readonly id: string; readonly seq: number; readonly messageId?: string; readonly timestamp?: number; readonly repeated: boolean; readonly unchanged?: boolean }
  | SawEntry
  /** His own list, each time that it is up to date up to `cursor`; `room` is empty. */
  | { readonly what: 'list'; readonly cursor: number; readonly unread: number; readonly chats: readonly (readonly [roomId: string, unread: number])[] }
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
  readonly change?: Change
}

/** What an event has done to a message or a cursor, apart from texts: those of an edit may be shown or not. */
export type Change = Readonly<Record<string, string | number | boolean>>

/** The fields that are compared, by the event's type. */
export const changeFields: Readonly<Record<string, readonly string[]>> = {
  messageEdited: ['messageId', 'messageSeq', 'by', 'revision'],
  messageDeleted: ['messageId', 'messageSeq', 'by'],
  reactionSet: ['messageId', 'messageSeq', 'by', 'emoji', 'on'],
  receiptMoved: ['userId', 'delivered', 'seen'],
}

export function changeOf(type: string, fields: Readonly<Record<string, unknown>>): { readonly change?: Change } {
  const names = changeFields[type]
  return names ? { change: Object.fromEntries(names.map((name) => [name, fields[name] as string])) } : {}
}

export async function readHistory(files: readonly string[]): Promise<HistoryEntry[]> {
  const entries: HistoryEntry[] = []
  for (const file of files) {
    for await (const line of createInterface({ input: createReadStream(file) })) entries.push(JSON.parse(line) as HistoryEntry)
  }
  return entries
}
