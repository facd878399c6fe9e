import { hasCode } from '#libs/domain/errors.ts'
import type { FollowedPartition, FollowedRoom } from './followed-partition.ts'
import { encoderOf, type StoredEvent } from './frames.ts'
import { type Changes, changesIn, masked } from './masks.ts'
import type { EdgeClock, History } from './ports.ts'
import type { Subscription } from './subscription.ts'

export type ReplayLimits = {
  readonly replayPageEvents: number
  /** Bytes that a socket may have waiting before a replay pauses. */
  readonly replayBufferBytes: number
  /** How long a replay may find no next event before the socket is closed. */
  readonly replayStallMs: number
}

export type ReplayDeps = {
  readonly history: History
  readonly clock: EdgeClock
  readonly limits: ReplayLimits
  readonly onTrouble: (err: unknown) => void
}

/**
 * Brings a subscription to its room's head, at the pace of its socket, and goes live. Never shows more than this edge has
 * read, and nothing that was deleted when it asked.
 */
export async function replay(deps: ReplayDeps, room: FollowedRoom, subscription: Subscription): Promise<void> {
  const { clock, limits } = deps
  const { connection } = subscription
  let stalledSinceMs: number | undefined
  while (subscription.mode === 'replaying' && !connection.closed) {
    if (subscription.lastSeq >= room.view.headSeq) {
      subscription.mode = 'live'
      connection.send({ type: 'caughtUp', roomId: room.roomId, seq: subscription.lastSeq })
      return
    }
    if (connection.socket.bufferedBytes() > limits.replayBufferBytes) {
      await connection.drained()
      continue
    }
    const before = subscription.lastSeq
    await replayPage(deps, room, subscription)
    if (subscription.lastSeq > before) {
      stalledSinceMs = undefined
      continue
    }
    stalledSinceMs ??= clock.nowMs()
    if (clock.nowMs() - stalledSinceMs > limits.replayStallMs) {
      connection.close('history_unavailable', 2_000)
      return
    }
    await clock.sleep(100)
  }
}

async function replayPage(deps: ReplayDeps, room: FollowedRoom, subscription: Subscription): Promise<void> {
  const { roomId, partition } = room
  const { connection } = subscription
  // Where the room was read ahead of the tail, the history alone knows all that was done to what it shows.
  const buffered = partition.position >= room.knownTo ? [...partition.bufferedEvents(roomId)] : []
  const { floor } = partition.buffer
  const changes = changesIn(buffered)
  let found = false
  connection.socket.cork(() => {
    for (const event of buffered) {
      if (hasEnough(deps, subscription)) break
      if (event.seq <= room.view.headSeq && offer(room, subscription, event, changes)) found = true
    }
  })
  if (found) return
  try {
    await replayHistory(deps, room, subscription, floor, changes)
  } catch (err) {
    if (!hasCode(err, 'unavailable')) throw err
    // Counts as a page that brought nothing: tried again for a while.
    deps.onTrouble(err)
  }
}

async function replayHistory(deps: ReplayDeps, room: FollowedRoom, subscription: Subscription, floor: bigint, changes: Changes): Promise<void> {
  const { history, limits } = deps
  const { connection } = subscription
  const events = await connection.historyReads.take(async () => {
    // Joined anew, left or closed while it waited.
    if (subscription.mode !== 'replaying' || connection.closed) return []
    // Between the history and the buffer no edit or deletion may be unknown.
    if (!(await reaches(history, room.partition, floor))) return []
    return history.events(room.roomId, subscription.lastSeq, room.view.headSeq, limits.replayPageEvents)
  })
  // A page of long messages is more than a socket may have waiting.
  for (let next = 0; next < events.length && !connection.closed; ) {
    if (hasEnough(deps, subscription)) {
      await connection.drained()
      continue
    }
    const before = next
    connection.socket.cork(() => {
      while (next < events.length && !hasEnough(deps, subscription) && offer(room, subscription, events[next]!, changes)) next++
    })
    // Left meanwhile, or joined anew from elsewhere.
    if (next === before) return
  }
}

async function reaches(history: History, partition: FollowedPartition, floor: bigint): Promise<boolean> {
  if (partition.persistedTo >= floor) return true
  partition.persisted((await history.position(partition.partition)).nextOffset)
  return partition.persistedTo >= floor
}

function offer({ roomId, view }: FollowedRoom, subscription: Subscription, event: StoredEvent, changes: Changes): boolean {
  return subscription.offer(event.seq, () => encoderOf(roomId, masked(event, changes, view.headSeq), view)(subscription.connection.speaker)())
}

const hasEnough = ({ limits }: ReplayDeps, { connection }: Subscription): boolean => connection.socket.bufferedBytes() > limits.replayBufferBytes
