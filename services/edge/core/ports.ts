import type { ClientFrame } from '#libs/domain/frames.ts'
import type { MessageId, RoomId, UserId } from '#libs/domain/ids.ts'
import type { Chat, InboxTotals } from '#libs/domain/inbox.ts'
import type { InRecord } from '#libs/streams/record.ts'
import type { Connection } from './connection.ts'
import type { StoredEvent } from './frames.ts'
import type { RoomView } from './room-view.ts'

export type LogPosition = { readonly nextOffset: bigint; readonly ownerEpoch: bigint }

/** What a user wants others not to see. */
export type UserSettings = { readonly hideReceipts: boolean; readonly hideLastSeen: boolean }

/** How far one log is in Postgres. @throws ChatError `unavailable` while it cannot be read */
export type Persisted = {
  /** Everything below `nextOffset` of a partition is in the history; (0, -1) before the first. */
  position(partition: number): Promise<LogPosition>
  /** `nextOffset` by partition. */
  nextOffsets(): Promise<ReadonlyMap<number, bigint>>
}

/** Where history rests; what was read once is never behind what was read before. @throws ChatError `unavailable` while it cannot be read */
export type History = Persisted & {
  /** The room and the position of its partition as of one moment. */
  room(partition: number, roomId: RoomId): Promise<{ readonly nextOffset: bigint; readonly view: RoomView | undefined }>
  /** Events of seq `after + 1 … upTo`, ascending, at most `limit`. */
  events(roomId: RoomId, after: number, upTo: number, limit: number): Promise<readonly StoredEvent[]>
  /** Undefined where the history has no such message. */
  messageSeq(roomId: RoomId, messageId: MessageId): Promise<number | undefined>
  settings(userId: UserId): Promise<UserSettings>
  /** Whether he has made as many conversations as he may, of those that he is in, `roomId` not being one of them. */
  hasConversationsMax(userId: UserId, roomId: RoomId): Promise<boolean>
}

/** Everybody's own list of chats, as Postgres has it. @throws ChatError `unavailable` while it cannot be read */
export type InboxHistory = Persisted & {
  /** As of one moment; the chats whose last change is above `after`, by that change, at most `limit`. */
  changes(partition: number, userId: UserId, after: number, limit: number): Promise<InboxChanges>
}

export type InboxChanges = {
  readonly nextOffset: bigint
  /** Of the user's last change. */
  readonly userSeq: number
  readonly totals: InboxTotals
  readonly chats: readonly { readonly userSeq: number; readonly chat: Chat }[]
}

/** The tail of a log. */
export type LogTail = {
  /** Records from `from` on, contiguous, in order. */
  open(partition: number, from: bigint, sink: (records: readonly InRecord[]) => void): void
  close(partition: number): void
  /** The offset that the next record will get, as of after the question. @throws ChatError `unavailable` */
  highWatermark(partition: number): Promise<bigint>
  /** Whether the log was heard from lately. */
  isHealthy(): boolean
}

export type RecordCodec = {
  decode(bytes: Buffer): unknown
  learn(bytes: Buffer): Promise<void> | undefined
}

export type EdgeClock = {
  nowMs(): number
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

/** Requests about what is not durable. */
export type RealtimeFrame = ClientFrame & { readonly type: 'typing' | 'setPresence' | 'watchProducts' }

/** Who is there and what he is doing: nothing of it is in the log. */
export type Realtime = {
  /** In its socket's turn; gives the request its reply. What it throws is the reply too. */
  handle(connection: Connection, frame: RealtimeFrame): Promise<void> | void
  /** After the frame `joined`. Each is followed by exactly one `left`, also where the room is joined anew. */
  joined(connection: Connection, roomId: RoomId): void
  /** Left, removed, or the socket has closed. */
  left(connection: Connection, roomId: RoomId): void
  /** Before everything else of this connection. */
  opened(connection: Connection): void
  /** After everything else of this connection. */
  closed(connection: Connection): void
}
