import type { PresenceFields } from './frames.ts'
import type { RoomId, UserId } from './ids.ts'

/**
 * Who is there. Ephemeral: nothing of it has a seq or is in the log, and all of it may be lost and is then said again.
 * A node is one life of an edge process: started again, it is another one.
 */
export type NodeId = string
export type PresenceStatus = PresenceFields['status']

/** What one node has of a user: his devices there, taken together. */
export type Stance = {
  /** away: all of his devices there are. */
  readonly status: 'online' | 'away'
  /** When he goes offline, nobody is to be told when that was. */
  readonly hidesLastSeen: boolean
}

/** What a user is, from what each of his nodes (or devices) has of him. */
export function statusOf(stances: Iterable<Pick<Stance, 'status'>>): PresenceStatus {
  let status: PresenceStatus = 'offline'
  for (const stance of stances) {
    if (stance.status === 'online') return 'online'
    status = 'away'
  }
  return status
}

/** A user has become another thing than he was, over all nodes; told to exactly one node. */
export type PresenceChange = {
  readonly userId: UserId
  readonly before: PresenceStatus
  readonly after: PresenceStatus
  /** By the one clock that all nodes share: of two changes of a user the later one counts. */
  readonly atMs: number
  /** A session of the node that has let go of him has asked not to show it. */
  readonly hidesLastSeen: boolean
  /** Where somebody may want to know: rooms that he or others who share them have joined lately. */
  readonly rooms: readonly RoomId[]
}

/** He has come with his first device, or gone with his last. Topic presence-events, at least once: the later `atMs` counts. */
export type PresenceEvent = {
  readonly userId: UserId
  readonly status: 'online' | 'offline'
  readonly atMs: number
  /** Of the node that noticed: the one that he came to or left, or one that found that dead. */
  readonly edgeId: string
}

/** The event that a change is; undefined where he only went away, or came back. */
export function presenceEventOf({ userId, before, after, atMs }: Pick<PresenceChange, 'userId' | 'before' | 'after' | 'atMs'>, edgeId: string): PresenceEvent | undefined {
  if ((before === 'offline') === (after === 'offline')) return undefined
  return { userId, status: after === 'offline' ? 'offline' : 'online', atMs, edgeId }
}
