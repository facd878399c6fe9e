import type { PresenceFields } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { isBlocked } from '#libs/domain/room.ts'
import type { NodeId, PresenceChange, PresenceEvent, Stance } from '#libs/domain/presence.ts'
import type { Connection } from './connection.ts'
import type { RoomView } from './room-view.ts'
import type { Subscription } from './subscription.ts'

/** What a node says of one of its users. */
export type Said = {
  readonly userId: UserId
  /** undefined: none of his devices is here any more. */
  readonly stance: Stance | undefined
  /** Rooms that his sockets have joined since the last time. */
  readonly rooms: readonly RoomId[]
  /** Answer with a change even if there was none: an earlier answer was lost. */
  readonly repeat: boolean
}

/**
 * Where all nodes keep together who is there. Each call is one moment there, so of what two nodes say at once exactly one
 * is told that it made the change. Rejects while it cannot be reached; nothing durable may wait for it.
 */
export type PresenceStore = {
  /** This node lives. `isNew`: nothing was known of it, or no more: all that it has must be said again. `dead`: nodes that were silent for `deadMs`. */
  beat(node: NodeId, deadMs: number): Promise<{ readonly isNew: boolean; readonly dead: readonly NodeId[] }>
  /** undefined: the node is not known, and nothing was done. */
  say(node: NodeId, said: readonly Said[]): Promise<readonly PresenceChange[] | undefined>
  /** Takes up to `limit` users off a node that is still dead. `left`: how many it has yet. */
  reap(dead: NodeId, deadMs: number, limit: number): Promise<{ readonly changes: readonly PresenceChange[]; readonly left: number }>
  /** A word that one node alone may act upon, for a while. True for that one. */
  claim(what: string, node: NodeId, forMs: number): Promise<boolean>
  /** What the users of some rooms are, at `atMs`; from then on changes of theirs name the room. */
  watch(rooms: readonly { readonly roomId: RoomId; readonly userIds: readonly UserId[] }[]): Promise<{ readonly atMs: number; readonly users: ReadonlyMap<UserId, PresenceFields> }>
  /** When users were last there; undefined: forget it. */
  setLastSeen(seen: readonly { readonly userId: UserId; readonly atMs: number | undefined }[]): Promise<void>
  /** Comings and goings that nobody has reported as published for `olderThanMs`. */
  overdue(olderThanMs: number, limit: number): Promise<readonly PresenceEvent[]>
  published(events: readonly PresenceEvent[]): Promise<void>
  /** Without a word more from this node it counts as dead in `inMs`. */
  abandon(node: NodeId, deadMs: number, inMs: number): Promise<void>
}

/** What goes to all nodes at once, by partition of the room; at most once, and not at all while it cannot be reached. */
export type LiveBus = {
  publish(partition: number, text: string): Promise<void>
  subscribe(partition: number): Promise<void>
  unsubscribe(partition: number): Promise<void>
}

/** The rooms that this node follows, as far as they matter here. */
export type LiveRooms = {
  room(roomId: RoomId): LiveRoom | undefined
}

export type LiveRoom = { readonly view: RoomView; readonly subscriptions: ReadonlySet<Subscription> }

/** The rooms in which a connection is. */
export type Connections = { readonly connections: Iterable<Connection> }

/** Sends what is said of a user to the live subscriptions of the others, but for those with whom there is a block; encoded once. */
export function push(room: LiveRoom, frame: object, about: UserId): void {
  let text: string | undefined
  for (const { mode, connection } of room.subscriptions) {
    const { userId } = connection.speaker
    if (mode === 'live' && userId !== about && !isBlocked(room.view.blocks, userId, about)) connection.sendText((text ??= JSON.stringify(frame)))
  }
}
