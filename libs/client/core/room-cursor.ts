/**
 * What the app has been given of one room, and what is to be done about each thing that arrives. Pure.
 *
 * Invariants (held by room-cursor.test.ts): the seqs that are answered with `deliver` are lastSeq+1, lastSeq+2, … without
 * a hole or a repeat, whatever arrives in whatever order and over however many sockets; and a hole is always followed by
 * a join from `lastSeq`. What a server says is not shown to this user (`visibleFrom`) is no hole: `lastSeq` moves past it
 * at the join, and nowhere else.
 */
export type RoomCursor = {
  readonly phase: RoomPhase
  /** The last seq that the app was given, or that it is not shown what lies up to it. Never goes down. */
  readonly lastSeq: number
  /** Joins on this socket since the last one that brought something: paces the next. */
  readonly fruitlessJoins: number
}

/**
 * away: not joined on any socket. joining: a join is due or on its way. replaying: admitted, history is coming. live: all
 * that was there at the join has come. left: lost or left; only the app brings it back.
 */
export type RoomPhase = 'away' | 'joining' | 'replaying' | 'live' | 'left'

export type RoomInput =
  /** The reply to our join (or, on a one-room socket, the join that the server did by itself). */
  | { readonly type: 'joined'; readonly since: number; readonly visibleFrom?: number | undefined }
  /** An event frame. */
  | { readonly type: 'event'; readonly seq: number }
  /** The ack of an own message: it stands in the log's order, in the place of its event; a repeat's does not. */
  | { readonly type: 'ownAck'; readonly seq: number; readonly repeated: boolean }
  | { readonly type: 'caughtUp'; readonly seq: number }
  /** From a heartbeat; undefined: the server does not count this room as joined. */
  | { readonly type: 'head'; readonly seq: number | undefined }
  /** The server says that we have not joined. */
  | { readonly type: 'notJoined' }
  | { readonly type: 'disconnected' }
  | { readonly type: 'left' }

/** deliver: give the event to the app now. join: send a join with `since: lastSeq`. live: replay has ended. */
export type RoomOutcome = 'nothing' | 'deliver' | 'join' | 'live'
export type RoomStep = { readonly cursor: RoomCursor; readonly outcome: RoomOutcome }

export const newCursor = (lastSeq: number): RoomCursor => ({ phase: 'away', lastSeq, fruitlessJoins: 0 })

/** To be called when a socket has come up, and for a room that was left when the app wants it again. */
export const startJoining = (cursor: RoomCursor): RoomCursor => ({ ...cursor, phase: 'joining', fruitlessJoins: 0 })

export function onRoomInput(cursor: RoomCursor, input: RoomInput): RoomStep {
  const { phase, lastSeq } = cursor
  if (phase === 'left' || (phase === 'away' && input.type !== 'left')) return nothing(cursor)
  switch (input.type) {
    case 'event':
      return arrived(cursor, input.seq)
    case 'ownAck':
      // A repeat tells an old place: what came between was never seen here, so it is fetched, never made up.
      if (!input.repeated) return arrived(cursor, input.seq)
      return phase === 'live' && input.seq > lastSeq ? rejoin(cursor) : nothing(cursor)
    case 'joined':
      return phase === 'joining' ? joined(cursor, input) : nothing(cursor)
    case 'caughtUp':
      if (phase !== 'replaying') return nothing(cursor)
      return input.seq > lastSeq ? rejoin(cursor) : { cursor: { ...cursor, phase: 'live' }, outcome: 'live' }
    case 'head':
      // While a join or a replay is under way the client knows that more is coming.
      return phase === 'live' && (input.seq === undefined || input.seq > lastSeq) ? rejoin(cursor) : nothing(cursor)
    case 'notJoined':
      return phase === 'joining' ? nothing(cursor) : rejoin(cursor)
    case 'disconnected':
      return nothing({ ...cursor, phase: 'away', fruitlessJoins: 0 })
    case 'left':
      return nothing({ ...cursor, phase: 'left' })
  }
}

/** Replayed is from `since` + 1 on: above what was asked for only where the room is not shown to this user from its start. */
function joined(cursor: RoomCursor, { since, visibleFrom = 0 }: RoomInput & { readonly type: 'joined' }): RoomStep {
  if (since > Math.max(cursor.lastSeq, visibleFrom - 1)) return rejoin(cursor)
  return nothing({ ...cursor, phase: 'replaying', lastSeq: Math.max(cursor.lastSeq, since) })
}

function arrived(cursor: RoomCursor, seq: number): RoomStep {
  const { lastSeq, phase } = cursor
  if (seq <= lastSeq) return nothing(cursor)
  if (seq === lastSeq + 1) return { cursor: { ...cursor, lastSeq: seq, fruitlessJoins: 0 }, outcome: 'deliver' }
  // The join that is under way will bring it.
  return phase === 'joining' ? nothing(cursor) : rejoin(cursor)
}

const nothing = (cursor: RoomCursor): RoomStep => ({ cursor, outcome: 'nothing' })

const rejoin = (cursor: RoomCursor): RoomStep => ({
  cursor: { ...cursor, phase: 'joining', fruitlessJoins: cursor.fruitlessJoins + 1 },
  outcome: 'join',
})
