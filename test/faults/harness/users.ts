import { type ChatClientError, createChatClient, type Room, type RoomEventFrame, type SentMessage } from '#libs/client/index.ts'
import type { Frame } from '../../support/chat-socket.ts'
import { PersistentUser } from '../../support/persistent-user.ts'
import { changeOf, type HistoryEntry } from '../checker/history.ts'
import type { UserPlan } from './client-plan.ts'
import { RawList } from './raw-list.ts'

export type SimulatedUser = {
  readonly userId: string
  readonly rooms: readonly string[]
  readonly everyMs: number
  readonly unacked: number
  lastSeq(room: string): number
  /** Up to where its own list is there. */
  readonly listCursor: number
  /** Whether it has seen that the room is there. */
  isIn(room: string): boolean
  /** False: it has too many messages waiting, and takes no more for now. */
  send(room: string, text: string): boolean
  /** From now on it only finishes what it has begun. */
  quiet(): void
  stop(): Promise<void>
}

type Record = (entry: HistoryEntry) => void
/** An entry as who writes it knows it: time, user and room are added. */
type Bare = HistoryEntry extends infer E ? (E extends HistoryEntry ? Omit<E, 'at' | 'user' | 'room'> : never) : never

/** Of acked messages, how many a raw user sends again. */
const REPEATS = 0.05
/** Of acked messages, how many a raw user then edits, deletes, reacts to, or marks as seen. */
const CHANGES = { edit: 0.08, delete: 0.03, react: 0.05, mark: 0.08 } as const

/** A bare WebSocket in one room. */
export function rawUser(edgeUrl: string, { userId, token, everyMs }: UserPlan, room: string, record: Record): SimulatedUser {
  const own = new Map<string, string>()
  let isQuiet = false
  const note = (entry: Bare) => record({ at: Date.now(), user: userId, room, ...entry })
  const user: PersistentUser = new PersistentUser({
    userId,
    roomId: room,
    token,
    edgeUrls: [edgeUrl],
    repeats: REPEATS,
    observer: {
      sent: (id, text) => {
        own.set(id, text)
        note({ what: 'send', id, text })
      },
      repeating: (id) => note({ what: 'repeat', id }),
      changing: (id, request) => note({ what: 'change', id, type: (request as { type: string }).type }),
      acked: (ack) => {
        note(ackEntry(ack))
        if (!isQuiet && own.has(ack['clientMessageId'] as string) && ack['repeated'] !== true) changeSometimes(user, ack)
      },
      failed: (id, error) => note({ what: 'failed', id, code: error['code'] as string }),
      saw: (frame, kind) => note(sawEntry(frame.type === 'ack' ? { ...frame, senderId: userId, content: own.get(frame['clientMessageId'] as string) } : frame, kind)),
    },
  })
  const list = new RawList({ edgeUrl, token, onUpToDate: (state) => record({ at: Date.now(), user: userId, room: '', what: 'list', ...state }), onAnomaly: (text) => note({ what: 'anomaly', text }) })
  user.start()
  list.start()
  return {
    userId,
    rooms: [room],
    everyMs,
    get unacked() {
      return user.unacked
    },
    lastSeq: () => user.lastSeq,
    get listCursor() {
      return list.cursor
    },
    isIn: () => user.lastSeq > 0,
    send: (_, text) => {
      void user.send(text)
      return true
    },
    quiet: () => {
      isQuiet = true
      user.repeatNoMore()
    },
    stop: async () => {
      await user.stop()
      list.stop()
      for (const text of user.anomalies) note({ what: 'anomaly', text })
    },
  }
}

function changeSometimes(user: PersistentUser, { messageId, messageIndex }: Frame): void {
  let dice = Math.random()
  const requests = { edit: { type: 'editMessage', messageId, message: `edited at ${Date.now()}` }, delete: { type: 'deleteMessage', messageId }, react: { type: 'react', messageId, emoji: '+1' }, mark: { type: 'mark', seen: messageIndex } }
  for (const name of Object.keys(CHANGES) as (keyof typeof CHANGES)[]) {
    dice -= CHANGES[name]
    if (dice >= 0) continue
    void user.change(requests[name])
    return
  }
}

/** The SDK on one socket, in all rooms. */
export function sdkUser(edgeUrl: string, { userId, token, rooms, everyMs }: UserPlan, record: Record): SimulatedUser {
  const client = createChatClient({ url: `${edgeUrl.replace('http', 'ws')}/ws/chat`, token: () => token })
  let unacked = 0
  const note = (room: string, entry: Bare) => record({ at: Date.now(), user: userId, room, ...entry })
  const joined = new Map(
    rooms.map((roomId) => {
      const room = client.join(roomId)
      room.on('event', (frame) => note(roomId, sawEntry(frame, kindOf(frame))))
      room.on('left', ({ code }) => note(roomId, { what: 'anomaly', text: `left the room: ${code}` }))
      return [roomId, room]
    }),
  )
  client.on('state', (state) => {
    if (state.state === 'closed' && state.reason?.code !== 'client_closed') for (const room of rooms) note(room, { what: 'anomaly', text: `closed: ${JSON.stringify(state)}` })
  })
  const showList = () => {
    const { phase, cursor, totals, chats } = client.inbox
    if (phase === 'live') note('', { what: 'list', cursor, unread: totals.unread, chats: chats.map(({ roomId, unread }) => [roomId, unread]) })
  }
  client.inbox.on('synced', showList)
  client.inbox.on('change', showList)
  client.inbox.start()
  client.connect().catch(() => {
    // Tried again, or told by its state.
  })
  return {
    userId,
    rooms,
    everyMs,
    get unacked() {
      return unacked
    },
    lastSeq: (room) => joined.get(room)!.lastSeq,
    get listCursor() {
      return client.inbox.phase === 'live' ? client.inbox.cursor : -1
    },
    isIn: (room) => joined.get(room)!.lastSeq > 0,
    send: (room, text) => {
      const message = sendOrNothing(joined.get(room)!, text)
      if (!message) return false
      unacked++
      const { clientMessageId: id, done } = message
      note(room, { what: 'send', id, text })
      done
        .then((ack) => note(room, ackEntry(ack)))
        .catch((err: { code: string }) => note(room, { what: 'failed', id, code: err.code }))
        .finally(() => unacked--)
      return true
    },
    quiet: () => {},
    stop: async () => client.close(),
  }
}

function sendOrNothing(room: Room, text: string): SentMessage | undefined {
  try {
    return room.send(text)
  } catch (err) {
    if ((err as ChatClientError).code === 'outbox_full') return undefined
    throw err
  }
}

type AckLike = Frame | { readonly clientMessageId: string; readonly seq: number; readonly messageId: string; readonly timestamp: number; readonly repeated: boolean }

function ackEntry(ack: AckLike): Bare {
  const { clientMessageId, id, seq, messageId, timestamp, repeated, unchanged } = ack as Frame
  return { what: 'ack', id: clientMessageId ?? id, seq, messageId, timestamp, repeated: repeated === true, ...(unchanged === true && { unchanged }) }
}

const kindOf = (frame: RoomEventFrame): string => (frame.type === 'newMessage' ? frame.type : frame.event)

/** Frames call a message `newMessage`, the log `messageSent`. */
function sawEntry(frame: Frame | RoomEventFrame, kind: string): Bare {
  const { seq, timestamp, clientMessageId: id, messageId, senderId, content } = frame as Frame
  if (kind !== 'newMessage') return { what: 'saw', seq, type: kind, timestamp, ...changeOf(kind, frame as Frame) }
  return { what: 'saw', seq, type: 'messageSent', timestamp, message: { id, messageId, senderId, text: content } }
}
