import type { LastMessage } from '#libs/domain/inbox.ts'
import type { HistoryRule, Participant, RoomEvent } from '#libs/domain/room.ts'

/** What a user's own list has to say of one room, by the room's events alone; what he sets himself is not here. */
export type FoldedChat = {
  readonly status: 'in' | 'invited' | 'left'
  readonly kind: string
  readonly role?: string
  readonly name?: string
  readonly messageCount: number
  readonly seen: number
  readonly mentions: readonly number[]
  readonly lastActivityMs: number
  readonly last?: LastMessage
  readonly closed: boolean
}

type Version = { readonly seq: number; readonly chat: FoldedChat }

/** One room as those see it who are, or were, or may come in it: what each has of it behind each `seq`. */
export class RoomChats {
  readonly #versions = new Map<string, Version[]>()
  /** Up to which message each has seen all, also while he is not in. */
  readonly #seen = new Map<string, number>()
  #kind = 'order'
  #name: string | undefined
  #history: HistoryRule = 'all'
  #messageCount = 0
  readonly #messages: (RoomEvent & { readonly type: 'messageSent' })[] = []

  get users(): Iterable<string> {
    return this.#versions.keys()
  }

  at(userId: string, seq: number): FoldedChat | undefined {
    return this.#versions.get(userId)?.findLast((version) => version.seq <= seq)?.chat
  }

  /** When others said something that he may see. */
  callsBetween(userId: string, afterSeq: number, upToSeq: number): readonly number[] {
    const calls = this.#messages.filter(({ seq, senderId, hiddenFor = [] }) => seq > afterSeq && seq <= upToSeq && senderId !== userId && !hiddenFor.some((other) => other === userId))
    return calls.map(({ timestampMs }) => timestampMs)
  }

  take(event: RoomEvent): void {
    switch (event.type) {
      case 'roomOpened': {
        const { kind = 'order', name, history = 'all', participants } = event
        this.#kind = kind
        this.#name = name || undefined
        this.#history = history
        for (const participant of participants) this.#enter(event, participant)
        return
      }
      case 'participantAdded':
        return this.#enter(event, event.participant)
      case 'participantRemoved':
        return this.#change(event, [event.participant.userId], (chat) => ({ ...chat, status: 'left', mentions: [], lastActivityMs: event.timestampMs }))
      case 'messageSent':
        return this.#message(event)
      case 'receiptMoved':
        return this.#see(event, event.userId, event.seen)
      case 'roomChanged':
        if (event.name === undefined) return
        this.#name = event.name || undefined
        return this.#change(event, this.#versions.keys(), ({ name: _, ...chat }) => ({ ...chat, ...this.#named }))
      case 'mediatorInvited':
        if (this.#isIn(event.userId)) return
        return this.#put(event, event.userId, { status: 'invited', kind: this.#kind, messageCount: 0, seen: 0, mentions: [], lastActivityMs: event.timestampMs, closed: false })
      case 'roomClosed':
        for (const [userId, versions] of this.#versions) {
          const { chat } = versions.at(-1)!
          if (chat.status !== 'left') this.#put(event, userId, { ...chat, closed: true, lastActivityMs: event.timestampMs })
        }
    }
  }

  get #named() {
    return this.#name !== undefined && { name: this.#name }
  }

  #isIn(userId: string): boolean {
    return this.#versions.get(userId)?.at(-1)!.chat.status === 'in'
  }

  #enter(event: RoomEvent, { userId, role }: Participant): void {
    if (this.#isIn(userId)) return this.#change(event, [userId], (chat) => ({ ...chat, role }))
    // What was before him in a room that shows it to nobody is not his to read.
    if (this.#history === 'fromJoin') this.#seen.set(userId, this.#messageCount)
    const numbers = { messageCount: this.#messageCount, seen: this.#seen.get(userId) ?? 0 }
    this.#put(event, userId, { status: 'in', kind: this.#kind, role, ...this.#named, ...numbers, mentions: [], lastActivityMs: event.timestampMs, closed: false })
  }

  #message(event: RoomEvent & { readonly type: 'messageSent' }): void {
    const { seq, messageIndex, messageId, senderId, timestampMs, hiddenFor = [], mentions = [] } = event
    this.#messageCount = messageIndex
    this.#messages.push(event)
    const last = { seq, messageIndex, messageId, senderId, timestampMs }
    this.#change(event, this.#versions.keys(), (chat, userId) => {
      const isShown = !hiddenFor.some((other) => other === userId)
      const isMentioned = isShown && mentions.some((other) => other === userId)
      return { ...chat, messageCount: messageIndex, ...(isMentioned && { mentions: [...chat.mentions, messageIndex] }), ...(isShown && { last, lastActivityMs: timestampMs }) }
    })
    this.#see(event, senderId, messageIndex)
  }

  #see(event: RoomEvent, userId: string, upTo: number): void {
    const seen = Math.max(upTo, this.#seen.get(userId) ?? 0)
    this.#seen.set(userId, seen)
    this.#change(event, [userId], (chat) => ({ ...chat, seen, mentions: chat.mentions.filter((index) => index > seen) }))
  }

  /** Of those who are in. */
  #change(event: RoomEvent, userIds: Iterable<string>, change: (chat: FoldedChat, userId: string) => FoldedChat): void {
    for (const userId of userIds) if (this.#isIn(userId)) this.#put(event, userId, change(this.#versions.get(userId)!.at(-1)!.chat, userId))
  }

  #put({ seq }: RoomEvent, userId: string, chat: FoldedChat): void {
    const versions = this.#versions.get(userId) ?? []
    this.#versions.set(userId, versions)
    versions.push({ seq, chat })
  }
}
