import type { RoomId } from '#libs/domain/ids.ts'
import type { InRecord } from '#libs/streams/record.ts'
import type { StoredEvent } from './frames.ts'
import type { RoomView } from './room-view.ts'

export type LogPosition = { readonly nextOffset: bigint; readonly ownerEpoch: bigint }

/** Where history rests. @throws ChatError `unavailable` while it cannot be read */
export type History = {
  /** Everything below `nextOffset` of a partition is in the history; (0, -1) before the first. */
  position(partition: number): Promise<LogPosition>
  /** `nextOffset` by partition. */
  nextOffsets(): Promise<ReadonlyMap<number, bigint>>
  /** The room and the position of its partition as of one moment. */
  room(partition: number, roomId: RoomId): Promise<{ readonly nextOffset: bigint; readonly view: RoomView | undefined }>
  /** Events of seq `after + 1 … upTo`, ascending, at most `limit`. */
  events(roomId: RoomId, after: number, upTo: number, limit: number): Promise<readonly StoredEvent[]>
}

/** The tail of the log. */
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
