import type { ChatFields, ClientFrame, InboxFrame } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import type { InboxTotals } from '#libs/domain/inbox.ts'
import type { ServerConnection } from './server-model.ts'

type Change = { readonly userSeq: number; readonly chat: ChatFields }
type List = { userSeq: number; readonly chats: Map<RoomId, Change> }

const PAGE_CHATS = 3

/** Users' own lists as an edge shows them: pages above a cursor, `synced`, then each change; an ack of one's own in its place. */
export class InboxModel {
  readonly #lists = new Map<UserId, List>()
  /** Who is synced. */
  readonly #synced = new Set<ServerConnection>()
  readonly #connections: ReadonlySet<ServerConnection>
  readonly #nowMs: () => number
  /** False: it does not reach the connection, though the server believes so. */
  readonly #onPush: (frame: { readonly type: string }) => boolean

  constructor(connections: ReadonlySet<ServerConnection>, nowMs: () => number, onPush: (frame: { readonly type: string }) => boolean) {
    this.#connections = connections
    this.#nowMs = nowMs
    this.#onPush = onPush
  }

  list(userId: string): List {
    const list = this.#lists.get(userId as UserId) ?? { userSeq: 0, chats: new Map() }
    this.#lists.set(userId as UserId, list)
    return list
  }

  /** Those that an app shows. */
  chatsOf(userId: string): ChatFields[] {
    return [...this.list(userId).chats.values()].flatMap(({ chat }) => (chat.status === 'left' ? [] : [chat]))
  }

  totalsOf(userId: string): InboxTotals {
    const chats = this.chatsOf(userId)
    const sum = (of: (chat: ChatFields) => number) => chats.reduce((total, chat) => total + of(chat), 0)
    return { unread: sum(({ unread }) => unread), mentions: sum(({ mentions }) => mentions), chats: chats.length }
  }

  change(userId: string, roomId: string, type: InboxFrame['type'], change: Partial<ChatFields> = {}, asker?: { readonly connection: ServerConnection; readonly ack: object | undefined }): Change {
    const list = this.list(userId)
    const before = list.chats.get(roomId as RoomId)?.chat
    const chat: ChatFields = { roomId: roomId as RoomId, roomSeq: 1, status: 'in', kind: 'order', messageCount: 0, unread: 0, mentions: 0, lastActivityMs: this.#nowMs() + list.userSeq, ...before, ...change }
    const changed = { userSeq: ++list.userSeq, chat }
    list.chats.delete(chat.roomId)
    list.chats.set(chat.roomId, changed)
    const frame = { type, ...changed, timestamp: this.#nowMs(), totals: this.totalsOf(userId) }
    for (const connection of this.#connections) {
      if (connection.userId !== userId || connection === asker?.connection || !this.#synced.has(connection)) continue
      if (this.#onPush(frame)) connection.send(frame)
    }
    if (asker?.ack) asker.connection.send({ ...asker.ack, type: 'ack', roomId, ...changed, totals: frame.totals })
    return changed
  }

  sync(connection: ServerConnection, cursor: number, id: object | 'lost'): boolean {
    const { userId } = connection
    const list = this.list(userId)
    if (cursor > list.userSeq) return false
    this.#synced.add(connection)
    const changed = [...list.chats.values()].filter(({ userSeq }) => userSeq > cursor)
    for (let next = 0; next < changed.length; next += PAGE_CHATS) {
      connection.send({ type: 'inboxPage', chats: changed.slice(next, next + PAGE_CHATS).map(({ userSeq, chat }) => ({ userSeq, ...chat })) })
    }
    if (id !== 'lost') connection.send({ ...id, type: 'synced', userSeq: list.userSeq, totals: this.totalsOf(userId) })
    return true
  }

  setChat(connection: ServerConnection, { roomId, mutedUntilMs, archived }: ClientFrame & { readonly type: 'setChat' }, id: object | 'lost'): boolean {
    const { userId } = connection
    const chat = this.list(userId).chats.get(roomId)?.chat
    if (!chat) return false
    const wanted = { ...(mutedUntilMs !== undefined && { mutedUntilMs }), ...(archived !== undefined && { archived: archived as true }) }
    const ack = id === 'lost' ? undefined : id
    if (Object.entries(wanted).every(([name, value]) => (chat[name as keyof ChatFields] ?? (name === 'archived' ? false : 0)) === value)) {
      if (ack) connection.send({ ...ack, type: 'ack', roomId, unchanged: true, userSeq: this.list(userId).userSeq })
    } else this.change(userId, roomId, 'chatChanged', wanted, { connection, ack })
    return true
  }

  headOf(connection: ServerConnection): number | undefined {
    return this.#synced.has(connection) ? this.list(connection.userId).userSeq : undefined
  }

  closed(connection: ServerConnection): void {
    this.#synced.delete(connection)
  }
}
