import WebSocket from 'ws'
import type { Frame } from '../../support/chat-socket.ts'

export type RawListOptions = {
  readonly edgeUrl: string
  readonly token: string
  /** Called each time that everything up to `cursor` is there. */
  readonly onUpToDate: (list: { readonly cursor: number; readonly unread: number; readonly chats: readonly (readonly [roomId: string, unread: number])[] }) => void
  readonly onAnomaly: (text: string) => void
}

const RECONNECT_MS = 300
/** Heartbeats that may be missed. */
const SILENT_BEATS = 3
const LIVE = new Set(['roomAdded', 'roomRemoved', 'unreadChanged', 'roomRead', 'chatChanged'])

/** A user's own list over a bare WebSocket of its own: syncs from what it has, again after every close. */
export class RawList {
  cursor = 0
  readonly #options: RawListOptions
  readonly #chats = new Map<string, number>()
  #unread = 0
  #isLive = false
  #stopped = false
  #socket: WebSocket | undefined
  #silence: NodeJS.Timeout | undefined

  constructor(options: RawListOptions) {
    this.#options = options
  }

  start(): void {
    const { edgeUrl, token } = this.#options
    const socket = new WebSocket(`${edgeUrl.replace('http', 'ws')}/ws/chat`, { headers: { authorization: `Bearer ${token}` } })
    this.#socket = socket
    this.#isLive = false
    socket.on('open', () => socket.send(JSON.stringify({ id: 1, type: 'sync', cursor: this.cursor })))
    socket.on('message', (data) => this.#take(socket, JSON.parse(data.toString()) as Frame))
    socket.on('error', () => {
      // A close follows.
    })
    socket.on('close', () => {
      clearTimeout(this.#silence)
      this.#isLive = false
      if (!this.#stopped) setTimeout(() => this.#stopped || this.start(), RECONNECT_MS)
    })
  }

  stop(): void {
    this.#stopped = true
    this.#socket?.close()
  }

  #take(socket: WebSocket, frame: Frame): void {
    if (frame.type === 'connected') this.#watch(socket, frame['heartbeatMs'] * SILENT_BEATS)
    this.#silence?.refresh()
    if (frame.type === 'inboxPage') for (const chat of frame['chats']) this.#put(chat['userSeq'], chat)
    else if (frame.type === 'synced') this.#synced(frame)
    else if (frame.type === 'error') socket.close()
    else if (LIVE.has(frame.type)) this.#change(frame)
  }

  /** What is cut without a word is noticed by its silence. */
  #watch(socket: WebSocket, ms: number): void {
    clearTimeout(this.#silence)
    this.#silence = setTimeout(() => socket.terminate(), ms)
  }

  #put(userSeq: number, { roomId, status, unread }: Frame | Record<string, any>): void {
    if (status === 'left') this.#chats.delete(roomId)
    else this.#chats.set(roomId, unread)
    this.cursor = userSeq
  }

  #synced({ userSeq, totals }: Frame): void {
    if (userSeq < this.cursor) this.#options.onAnomaly(`synced at ${userSeq}, after ${this.cursor}`)
    this.cursor = userSeq
    this.#unread = totals.unread
    this.#isLive = true
    this.#tell()
  }

  #change({ type, userSeq, chat, totals }: Frame): void {
    if (!this.#isLive || userSeq !== this.cursor + 1) return this.#options.onAnomaly(`${type} ${userSeq} comes after ${this.cursor}${this.#isLive ? '' : ', and the list is not synced'}`)
    this.#put(userSeq, chat)
    this.#unread = totals.unread
    this.#tell()
  }

  #tell(): void {
    this.#options.onUpToDate({ cursor: this.cursor, unread: this.#unread, chats: [...this.#chats] })
  }
}
