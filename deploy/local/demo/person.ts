import type { ChatClient, PresenceFields, ProductFields, Room, RoomEventFrame } from '#libs/client/index.ts'
import { eventLine } from '../event-line.ts'

/** One room as one person has it in front of him. */
export type Seat = {
  readonly room: Room
  readonly events: RoomEventFrame[]
  readonly typing: Set<string>
  readonly presence: Map<string, PresenceFields>
  /** Why he is out, if he is. */
  leftBy: string | undefined
  participants: readonly string[]
}

/** Somebody with a device, who tells what he sees. */
export class Person {
  readonly name: string
  readonly userId: string
  readonly client: ChatClient
  readonly seats = new Map<string, Seat>()
  readonly cards = new Map<string, ProductFields>()
  readonly #saw: (line: string) => void

  constructor(name: string, userId: string, client: ChatClient, saw: (line: string) => void) {
    this.name = name
    this.userId = userId
    this.client = client
    this.#saw = saw
    client.on('cardUpdated', ({ product }) => {
      this.cards.set(product.productId, product)
      const { name: what, priceMinor = 0, currency, available } = product
      saw(`[card] ${what}, ${(priceMinor / 100).toFixed(2)} ${currency}, ${available ? 'available' : 'not available'}`)
    })
    client.inbox.on('synced', ({ totals }) => saw(`[list] ${totals.chats} chats, ${totals.unread} unread`))
    client.inbox.on('change', ({ chats, totals }) => {
      // What a sync brings comes as one line.
      if (client.inbox.phase !== 'live') return
      for (const chat of chats) saw(`[list] ${chat.roomId}: ${chat.unread} unread${chat.mutedUntilMs === undefined ? '' : ', muted'}; ${totals.unread} in all`)
    })
  }

  join(roomId: string): Seat {
    const room = this.client.join(roomId)
    const known = this.seats.get(roomId)
    if (known) return known
    const seat: Seat = { room, events: [], typing: new Set(), presence: new Map(), leftBy: undefined, participants: [] }
    this.seats.set(roomId, seat)
    room.on('joined', ({ participants }) => (seat.participants = participants.map(({ userId }) => userId)))
    room.on('event', (event) => {
      seat.events.push(event)
      this.#saw(`#${event.seq} ${eventLine(event)}`)
    })
    room.on('left', ({ code }) => {
      seat.leftBy = code
      this.#saw(`(out: ${code})`)
    })
    room.on('typing', ({ userId, on }) => {
      if (on) seat.typing.add(userId)
      else seat.typing.delete(userId)
      this.#saw(on ? `${userId} is typing…` : `${userId} is not typing any more`)
    })
    room.on('presence', ({ users }) => {
      for (const user of users) {
        seat.presence.set(user.userId, user)
        this.#saw(`${user.userId} is ${user.status}${user.lastSeenMs === undefined ? '' : `, last seen at ${new Date(user.lastSeenMs).toISOString().slice(11, 19)}`}`)
      }
    })
    room.on('unread', ({ unread }) => this.#saw(`(unread: ${unread})`))
    return seat
  }

  seat(roomId: string): Seat {
    const seat = this.seats.get(roomId)
    if (!seat) throw new Error(`${this.name} is not in ${roomId}`)
    return seat
  }
}
