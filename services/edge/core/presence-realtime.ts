import type { RequestId } from '#libs/domain/frames.ts'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { roomOf } from './command-bodies.ts'
import type { Connection } from './connection.ts'
import type { Realtime, RealtimeFrame } from './ports.ts'
import { type ChannelsOptions, LiveChannels } from './presence-channels.ts'
import { Presence, type PresenceNews, type PresenceOptions } from './presence.ts'
import type { LiveBus, LiveRooms } from './presence-ports.ts'
import { Viewers, type ViewersOptions } from './presence-viewers.ts'
import { ProductWatch, type ProductWatchOptions } from './product-watch.ts'
import { Typing, type TypingLimits, type TypingNews } from './typing.ts'

export type LiveRealtimeOptions = {
  readonly bus: LiveBus
  readonly rooms: LiveRooms
  readonly partitionOf: (roomId: RoomId) => number
  readonly nowMs: () => number
  readonly lingerMs: ChannelsOptions['lingerMs']
  readonly typingLimits: TypingLimits
  readonly viewersLimits: ViewersOptions['limits']
  readonly presence: Omit<PresenceOptions, 'partitionOf' | 'announce' | 'nowMs' | 'onTrouble' | 'onForgotten'>
  readonly products: ProductWatchOptions
  readonly onTrouble: (err: unknown) => void
}

/** Everything on this node that is nowhere in the log: typing, presence, and the cards that sockets show. */
export class LiveRealtime implements Realtime {
  readonly presence: Presence
  readonly channels: LiveChannels
  readonly products: ProductWatch
  readonly typing: Typing
  readonly #viewers: Viewers
  readonly #options: LiveRealtimeOptions
  #wasLost = false

  constructor(options: LiveRealtimeOptions) {
    const { bus, rooms, partitionOf, nowMs, onTrouble } = options
    this.#options = options
    this.channels = new LiveChannels({ bus, nowMs, lingerMs: options.lingerMs, onTrouble })
    this.typing = new Typing({
      rooms,
      publish: (roomId, news) => {
        bus.publish(partitionOf(roomId), JSON.stringify(news)).catch(onTrouble)
      },
      nowMs,
      limits: options.typingLimits,
    })
    this.presence = new Presence({
      ...options.presence,
      partitionOf,
      announce: (partition, news) => bus.publish(partition, JSON.stringify(news)),
      nowMs,
      onTrouble,
      onForgotten: () => this.#viewers.missed(),
    })
    this.#viewers = new Viewers({
      rooms,
      sockets: options.presence.sockets,
      store: options.presence.store,
      isHeard: (roomId) => this.channels.isOpen(partitionOf(roomId)),
      nowMs,
      limits: options.viewersLimits,
      onTrouble,
    })
    this.products = new ProductWatch(options.products)
  }

  async handle(connection: Connection, frame: RealtimeFrame): Promise<void> {
    switch (frame.type) {
      case 'typing': {
        const roomId = roomOf(connection, frame.roomId)
        this.typing.say(connection, roomId, frame.on)
        ack(connection, frame.id, { roomId })
        return
      }
      case 'setPresence':
        this.presence.set(connection, frame.status, frame.hideLastSeen)
        ack(connection, frame.id)
        return
      case 'watchProducts': {
        const cards = await this.products.watch(connection, frame.productIds)
        ack(connection, frame.id)
        for (const product of cards) connection.send({ type: 'cardUpdated', productId: product.productId, product })
      }
    }
  }

  opened(connection: Connection): void {
    this.presence.opened(connection)
  }

  closed(connection: Connection): void {
    this.presence.closed(connection)
    this.products.forget(connection)
  }

  joined(connection: Connection, roomId: RoomId): void {
    this.channels.joined(this.#options.partitionOf(roomId))
    this.presence.joined(connection, roomId)
    this.#viewers.joined(connection, roomId)
  }

  left(connection: Connection, roomId: RoomId): void {
    this.typing.left(connection, roomId)
    this.channels.left(this.#options.partitionOf(roomId))
  }

  /** A message of his is on its way. */
  sent(roomId: RoomId, userId: UserId): void {
    this.typing.sent(roomId, userId)
  }

  /** From the bus. What cannot be read is of a version that this one does not know. */
  heard(text: string): void {
    let news: TypingNews | PresenceNews
    try {
      news = JSON.parse(text) as TypingNews | PresenceNews
      if (news.type === 'typing') this.typing.heard(news)
      else if (news.type === 'presence') this.#viewers.heard(news)
    } catch (err) {
      this.#options.onTrouble(err)
    }
  }

  /** The connection of the bus is gone: what is published now is not heard here. */
  lost(): void {
    this.#wasLost = true
    this.channels.lost()
  }

  /** It is there, for the first time or again. */
  regained(): void {
    this.channels.tick()
    if (this.#wasLost) this.#viewers.missed()
    this.#wasLost = false
  }

  async tick(): Promise<void> {
    this.typing.tick()
    this.channels.tick()
    await Promise.all([this.presence.tick(), this.#viewers.tick()])
  }
}

function ack(connection: Connection, id: RequestId | undefined, fields: object = {}): void {
  if (id !== undefined) connection.send({ id, type: 'ack', ...fields })
}
