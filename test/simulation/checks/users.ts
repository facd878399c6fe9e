import { isDeepStrictEqual } from 'node:util'
import type { RoomId, UserId } from '#libs/domain/ids.ts'
import { type Chat, type ChatChanged, ENDED_CHAT_KEPT_MS, type InboxEntry, type InboxInput, type InboxTotals } from '#libs/domain/inbox.ts'
import { inboxCommandFromAvro, inboxUpdateFromAvro, userDecisionFromAvro } from '#libs/streams/inbox-shapes.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { feedInputTopics, topics } from '#libs/streams/topics.ts'
import type { Kafka } from '../world/kafka.ts'
import { decodeValue } from '../world/registry.ts'
import type { World } from '../world/world.ts'
import { RoomChats } from './chat-fold.ts'
import type { Truth } from './truth.ts'
import { type Source, ValidLog } from './valid-log.ts'

/** One user's feed as the valid log has it. */
export type TrueUser = {
  readonly partition: number
  /** By userSeq, from 1. */
  readonly events: ChatChanged[]
  /** Offset of each event's record. */
  readonly offsets: number[]
  /** His list as it is now; what was let go of is not in it. */
  readonly chats: Map<RoomId, Chat>
}

const NOTHING: InboxTotals = { unread: 0, mentions: 0, chats: 0 }

/**
 * The valid log of user-events, by the reader's rule, and beside it what each user's list must say by the rooms' own logs:
 * nothing of the inbox's code is asked.
 */
export class Users {
  readonly users = new Map<UserId, TrueUser>()
  readonly rooms = new Map<RoomId, RoomChats>()
  readonly log: ValidLog
  readonly #world: World
  readonly #kafka: Kafka

  constructor(world: World, kafka: Kafka, truth: Truth) {
    this.#world = world
    this.#kafka = kafka
    truth.onEvent((roomId, event) => {
      const room = this.rooms.get(roomId) ?? new RoomChats()
      this.rooms.set(roomId, room)
      room.take(event)
    })
    this.log = new ValidLog(world, kafka, topics.userEvents.name, feedInputTopics, (partition, record, source) => this.#take(partition, record, source))
  }

  /** His list as it was behind a `userSeq`. */
  chatsAt(userId: UserId, userSeq: number): ReadonlyMap<RoomId, Chat> {
    const chats = new Map<RoomId, Chat>()
    for (const event of this.users.get(userId)?.events.slice(0, userSeq) ?? []) put(chats, event)
    return chats
  }

  headOf(userId: UserId): number {
    return this.users.get(userId)?.events.length ?? 0
  }

  /** The head of his list behind a `userSeq`. */
  totalsAt(userId: UserId, userSeq: number): InboxTotals {
    return this.users.get(userId)?.events[userSeq - 1]?.totals ?? NOTHING
  }

  /** What has to be in a list by now and is not, or is otherwise than it has to be. */
  difference(): string | undefined {
    for (const [roomId, room] of this.rooms) {
      for (const userId of room.users as Iterable<UserId>) {
        const due = room.at(userId, Number.MAX_SAFE_INTEGER)!
        const user = this.users.get(userId)
        const chat = user?.chats.get(roomId)
        if (!chat && user && wasLetGo(user, roomId)) continue
        if (!chat || !isDeepStrictEqual(byRoom(chat), due)) return `${userId} has of ${roomId} ${JSON.stringify(chat)}, the room says ${JSON.stringify(due)}`
      }
    }
    return undefined
  }

  #take(partition: number, { key, offset, value }: InRecord, source: Source): void {
    const place = `${topics.userEvents.name}/${partition} @${offset} (of ${source.topic}:${source.offset})`
    const decision = userDecisionFromAvro(decodeValue(value!))
    if (!decision) return
    const input = this.#inputOf(partition, source)
    const { userId, entries } = decision
    if (entries.length !== 1 || key !== userId) this.#world.fail('user-events', `${place} has the key ${key} and ${entries.length} entries for ${userId}`)
    if (input && input.userId !== userId) this.#world.fail('user-events', `${place} is of ${userId}, its input of ${input.userId}`)
    const user = this.#userOf(userId, partition)
    const problem = this.#problemOf(userId, user, input, entries[0]!)
    if (problem) this.#world.fail(problem[0], `${place}, ${userId}: ${problem[1]}`)
    for (const entry of entries) {
      if (entry.type !== 'chatChanged') continue
      put(user.chats, entry)
      user.events.push(entry)
      user.offsets.push(Number(offset))
      this.#checkTotals(place, user, entry)
    }
  }

  /** Invariant and message. */
  #problemOf(userId: UserId, { events, chats }: TrueUser, input: InboxInput | undefined, entry: InboxEntry): [string, string] | undefined {
    if (!input) return entry.type === 'inboxIgnored' || entry.type === 'inboxRefused' ? undefined : ['user-events', `what cannot be read becomes ${JSON.stringify(entry)}`]
    const before = chats.get(input.roomId)
    if (entry.type === 'inboxRefused') return before ? ['user-events', `refuses ${JSON.stringify(input)} with ${entry.code}, he has ${JSON.stringify(before)}`] : undefined
    if (entry.type !== 'chatChanged') return undefined
    const { userSeq, chat, timestampMs } = entry
    if (userSeq !== events.length + 1) return ['user-gapless', `userSeq ${userSeq} comes after ${events.length}`]
    if (timestampMs < (events.at(-1)?.timestampMs ?? 0)) return ['user-gapless', 'time runs backwards']
    if (chat.roomId !== input.roomId) return ['user-events', `${chat.roomId} is changed by what is of ${input.roomId}`]
    const set = 'commandId' in input
    const isLater = set ? chat.roomSeq === before?.roomSeq : chat.roomSeq > (before?.roomSeq ?? 0)
    if (!isLater) return ['inbox', `${chat.roomId} is as of ${chat.roomSeq}, and was as of ${before?.roomSeq}`]
    const room = this.rooms.get(chat.roomId)?.at(userId, chat.roomSeq)
    if (!room || !isDeepStrictEqual(byRoom(chat), room)) return ['inbox', `is told ${JSON.stringify(chat)}, the room at ${chat.roomSeq} says ${JSON.stringify(room)}`]
    const own = this.#ownWords(userId, before, input, chat)
    const isOwn = chat.mutedUntilMs === own.mutedUntilMs && chat.archived === own.archived
    return isOwn ? undefined : ['inbox', `is told ${JSON.stringify(chat)}, and has set ${JSON.stringify(own)}`]
  }

  /** What he has set about a chat: leaving and coming again, and somebody else's message while it is not muted, bring it back. */
  #ownWords(userId: UserId, before: Chat | undefined, input: InboxInput, chat: Chat): { readonly mutedUntilMs: number; readonly archived: boolean } {
    const { mutedUntilMs = 0, archived = false } = before ?? {}
    if ('commandId' in input) return { mutedUntilMs: input.mutedUntilMs ?? mutedUntilMs, archived: input.archived ?? archived }
    if (!before || input.change.type === 'entered' || input.change.type === 'invited') return { mutedUntilMs, archived: false }
    const called = this.rooms.get(chat.roomId)!.callsBetween(userId, before.roomSeq, chat.roomSeq)
    return { mutedUntilMs, archived: archived && !called.some((atMs) => atMs >= mutedUntilMs) }
  }

  #checkTotals(place: string, { chats }: TrueUser, { totals, userSeq }: ChatChanged): void {
    const present = [...chats.values()].filter(({ status }) => status === 'in')
    const due: InboxTotals = {
      unread: present.reduce((sum, { messageCount, seen }) => sum + messageCount - seen, 0),
      mentions: present.reduce((sum, { mentions }) => sum + mentions.length, 0),
      chats: present.length,
    }
    if (!isDeepStrictEqual({ ...totals }, due)) this.#world.fail('inbox-totals', `${place}: userSeq ${userSeq} has ${JSON.stringify(totals)}, its chats ${JSON.stringify(due)}`)
  }

  /** Undefined for what cannot be read. */
  #inputOf(partition: number, { topic, offset }: Source): InboxInput | undefined {
    const { value } = this.#kafka.log(topic, partition).records[offset]!
    try {
      return topic === topics.inboxUpdates.name ? inboxUpdateFromAvro(decodeValue(value!)) : inboxCommandFromAvro(decodeValue(value!))
    } catch {
      return undefined
    }
  }

  #userOf(userId: UserId, partition: number): TrueUser {
    const user = this.users.get(userId) ?? { partition, events: [], offsets: [], chats: new Map() }
    this.users.set(userId, user)
    return user
  }
}

/** Who comes into a room lets go of what ended long ago. */
function put(chats: Map<RoomId, Chat>, { chat, cause, timestampMs }: ChatChanged): void {
  chats.set(chat.roomId, chat)
  if (cause !== 'added' && cause !== 'invited') return
  for (const [roomId, { status, closed, lastActivityMs }] of chats) {
    if (roomId !== chat.roomId && (closed || status === 'left') && lastActivityMs < timestampMs - ENDED_CHAT_KEPT_MS) chats.delete(roomId)
  }
}

const wasLetGo = ({ events }: TrueUser, roomId: RoomId): boolean => {
  const last = events.findLast(({ chat }) => chat.roomId === roomId)?.chat
  return last !== undefined && (last.closed || last.status === 'left')
}

/** What the room says of it. */
function byRoom({ roomId: _, roomSeq: __, mutedUntilMs: ___, archived: ____, ...chat }: Chat): object {
  return { ...chat, mentions: [...chat.mentions], ...(chat.last && { last: { ...chat.last } }) }
}
